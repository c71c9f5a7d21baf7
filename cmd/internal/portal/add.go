package portal

import (
	"context"
	"errors"
	"net/http"

	"gatemilter/policy"
	"gatemilter/policy/identity"
)

// addPage asks for the address: the first step. Who has had to log in again finds the one that he
// had entered.
func (v *visit) addPage() {
	v.showAdd(http.StatusOK, []*field{v.addressField(firstOf(v.query("address"), maxAddress)), v.nameField("")}, nil)
}

// addAgain is for who comes to the second step without the first.
func (v *visit) addAgain() { v.redirect("/add") }

func (v *visit) showAdd(status int, fields []*field, n *notice) {
	v.show(status, &page{Name: "add", Title: v.lang.t("add.title"), Step: 1, Fields: fields, Notice: n})
}

// add takes the address, and goes on to its server, or sends the code where there is none.
func (v *visit) add() {
	r, ok := v.newRecord()
	switch {
	case !ok:
	case v.facts.AllowUserGateways:
		v.showServer(http.StatusOK, &serverPage{Record: r, Suggested: v.suggest(r.Address)}, nil, outcome{})
	default:
		v.addWithout(r)
	}
}

// newRecord reads the first step, which comes along with the second, too. Where something is
// wrong with it, the page says so, and ok is false.
func (v *visit) newRecord() (r identity.Record, ok bool) {
	login := v.session.login
	r = identity.Record{Login: login, Account: v.account(login)}
	if r.Account == "" {
		v.refuse(http.StatusForbidden, "noAccount", "login", login)
		return r, false
	}
	fields := []*field{v.addressField(firstOf(v.value("address"), maxAddress)), nil}
	r.Name, fields[1] = v.readName()
	address, err := parseAddress(v.value("address"))
	r.Address = address
	if fields[0].Error = v.addressError(login, address, err); fields[0].Error != "" || fields[1].Error != "" {
		v.showAdd(http.StatusUnprocessableEntity, fields, nil)
		return r, false
	}
	_, err = v.Store.Get(v.r.Context(), login, address)
	if errors.Is(err, identity.ErrNotFound) {
		return r, true
	}
	if err == nil {
		fields[0].Error = v.lang.t("store.exists")
		v.showAdd(http.StatusUnprocessableEntity, fields, nil)
		return r, false
	}
	status, n := v.failed(err)
	v.showAdd(status, fields, n)
	return r, false
}

// addressError says why a user can't have an address. Of our own domains it is the same for
// all that aren't his: whether they exist is not for everybody.
func (v *visit) addressError(login, address string, err error) string {
	u := v.configured(login)
	switch {
	case v.value("address") == "":
		return v.lang.t("field.address.missing")
	case err != nil && hasForeignLocal(v.value("address")):
		return v.lang.t("field.address.ascii")
	case err != nil:
		return v.lang.t("field.address.bad")
	case address == v.account(login):
		return v.lang.t("add.account")
	case u != nil && u.Has(address):
		return v.lang.t("add.given")
	case !v.mayHave(login, address):
		return v.lang.t("add.ourDomain", "domain", policy.UnicodeDomain(policy.Domain(address)))
	}
	return ""
}

// addWithout adds an address without a server of its own.
func (v *visit) addWithout(r identity.Record) {
	o := v.sendLetter(r, func(ctx context.Context) error { return v.Store.Add(ctx, v.by(), r) })
	v.logSaved(r, o)
	if !o.saved {
		v.showAdd(o.status, []*field{v.addressField(r.Address), v.nameField(r.Name)}, o.notice)
		return
	}
	v.toConfirm(r.Address, o)
}

// toConfirm goes on to where the code is entered.
func (v *visit) toConfirm(address string, o outcome) {
	n := &notice{Kind: "good", Text: v.lang.t("code.sent", "address", address)}
	if !o.sent {
		n = &notice{Kind: "bad", Text: v.lang.t("code.notSent", "address", address)}
		if o.trouble != nil {
			n.More = append([]string{o.trouble.Title}, o.trouble.Advice...)
			if o.trouble.Said != "" {
				n.More = append(n.More, v.lang.t("said", "text", o.trouble.Said))
			}
		} else if o.notice != nil {
			n.More = append([]string{o.notice.Text}, o.notice.More...)
		}
	}
	v.session.keep(n)
	v.redirect("/confirm", "address", address)
}

// A serverPage is the second step: the server of a new address.
type serverPage struct {
	Record    identity.Record
	Suggested suggestion
	// Version is that of a record which is being changed, and Stored whether it has a server.
	Version string
	Stored  bool
}

// showServer asks for the server.
func (v *visit) showServer(status int, body *serverPage, fields []*field, o outcome) {
	if fields == nil {
		s := body.Suggested
		g := policy.UserGateway{Host: s.Host, Port: s.Port, TLS: s.TLS, Username: body.Record.Address}
		if fields = v.serverFields(g, false); s.Host != "" {
			fieldOf(fields, "port").Hint = v.lang.t("field.port.suggested")
		}
	}
	p := &page{Name: "server", Title: v.lang.t("server.title"), Step: 2, Fields: fields, Notice: o.notice, Trouble: o.trouble, Body: body}
	v.show(status, p)
}

// addServer takes the server, tries it, and has it send the code.
func (v *visit) addServer() {
	r, ok := v.newRecord()
	switch {
	case !ok:
		return
	case !v.facts.AllowUserGateways || v.value("without") != "":
		v.addWithout(r)
		return
	}
	g, fields := v.readServer(nil)
	if g == nil {
		v.showServer(http.StatusUnprocessableEntity, &serverPage{Record: r}, fields, outcome{})
		return
	}
	r.Gateway = g
	o := v.sendLetter(r, func(ctx context.Context) error { return v.Store.Add(ctx, v.by(), r) })
	v.logSaved(r, o)
	if !o.saved {
		v.showServer(o.status, &serverPage{Record: r}, fields, o)
		return
	}
	v.toConfirm(r.Address, o)
}
