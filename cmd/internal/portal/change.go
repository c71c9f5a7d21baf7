package portal

import (
	"context"
	"net/http"
	"slices"
	"strconv"

	"gatemilter/cmd/internal/visible"
	"gatemilter/milter/tlsprobe"
	"gatemilter/policy"
	"gatemilter/policy/identity"
)

// changePage shows what is stored of an address, but no password.
func (v *visit) changePage() {
	r, ok := v.record(v.query("address"))
	if ok {
		v.showChange(http.StatusOK, r, v.changeFields(r), outcome{})
	}
}

func (v *visit) changeFields(r identity.Record) []*field {
	fields := []*field{v.nameField(r.Name)}
	if !v.facts.AllowUserGateways {
		return fields
	}
	g := policy.UserGateway{Username: r.Address}
	if r.Gateway != nil {
		g = *r.Gateway
	}
	return append(fields, v.serverFields(g, r.Gateway != nil)...)
}

func (v *visit) showChange(status int, r identity.Record, fields []*field, o outcome) {
	body := &serverPage{Record: r, Version: version(r), Stored: r.Gateway != nil}
	v.show(status, &page{Name: "change", Title: v.lang.t("change.title"), Fields: fields, Notice: o.notice, Trouble: o.trouble, Body: body})
}

// version tells a record from what it was.
func version(r identity.Record) string { return strconv.FormatInt(r.Changed.UnixNano(), 36) }

// change takes what was entered. A new server is tried first; an address that waits for its code
// is sent another, by that server. So is one that is to have no server any more, by ours: that a
// code came by the user's own shows nothing to them, as he may run it himself, and read there what
// it should have delivered.
func (v *visit) change() {
	old, ok := v.record(v.value("address"))
	if !ok {
		return
	}
	if v.value("version") != version(old) {
		v.showChange(http.StatusConflict, old, v.changeFields(old), outcome{notice: &notice{Kind: "bad", Text: v.lang.t("store.changed")}})
		return
	}
	r, fields := v.readChange(old)
	if slices.ContainsFunc(fields, func(f *field) bool { return f.Error != "" }) {
		v.showChange(http.StatusUnprocessableEntity, old, fields, outcome{})
		return
	}
	save := func(ctx context.Context) error { return v.Store.Change(ctx, v.by(), old, r) }
	var o outcome
	given := old.Gateway != nil && r.Gateway == nil // to our servers
	switch tried := r.Gateway != nil && v.facts.AllowUserGateways && !(sameServer(r.Gateway, old.Gateway) && v.r.PostFormValue("password") == ""); {
	case given, tried && r.State == identity.Pending:
		o = v.sendLetter(r, save)
	case tried:
		o = v.verify(r, save)
	default:
		o = v.save(save)
	}
	v.logSaved(r, o)
	switch {
	case !o.saved:
		v.showChange(o.status, old, fields, o)
	case given, r.State == identity.Pending && r.Gateway != nil:
		v.toConfirm(r.Address, o)
	default:
		key := "change.done"
		if v.facts.Observe {
			key = "change.done.observe"
		}
		v.session.keep(&notice{Kind: "good", Text: v.lang.t(key, "address", r.Address)})
		v.home()
	}
}

// readChange reads the form into a copy of the record.
func (v *visit) readChange(old identity.Record) (identity.Record, []*field) {
	r := old
	fields := []*field{nil}
	r.Name, fields[0] = v.readName()
	switch {
	case !v.facts.AllowUserGateways:
		return r, fields
	case v.value("without") != "":
		r.Gateway = nil
		return r, fields
	case old.Gateway == nil && v.value("host") == "" && v.r.PostFormValue("password") == "":
		return r, append(fields, v.serverFields(policy.UserGateway{Username: old.Address}, false)...)
	}
	g, more := v.readServer(old.Gateway)
	if g != nil && old.Gateway != nil {
		g.Slot = old.Gateway.Slot
	}
	r.Gateway = g
	return r, append(fields, more...)
}

// save stores what needs no trial. It is limited, too: the history of changes has room for only so
// many, and one user must not drive those of all others out.
func (v *visit) save(save func(context.Context) error) outcome {
	if wait := try(attempt{v.limits.changeAccount, v.session.login}); wait > 0 {
		v.log(Event{Kind: Limited, Result: string(Saved)})
		return outcome{status: http.StatusTooManyRequests, notice: v.tooOften(wait)}
	}
	err := save(v.r.Context())
	o := outcome{sent: err == nil}
	if o.stored(err); err != nil {
		o.status, o.notice = v.failed(err)
	}
	return o
}

// verify logs in to the server of an address that is active already, and asks whether it would
// take mail from it. Then it is stored.
func (v *visit) verify(r identity.Record, save func(context.Context) error) outcome {
	o, _ := v.ask(r)
	if !o.sent {
		return o
	}
	return v.save(save)
}

// ask tries the server of an address without sending anything.
func (v *visit) ask(r identity.Record) (outcome, tlsprobe.Report) {
	if wait := v.limitTests(r.Login); wait != nil {
		return outcome{status: http.StatusTooManyRequests, notice: wait}, tlsprobe.Report{}
	}
	report, err := v.reach(r.Gateway, &tlsprobe.Letter{From: r.Address, To: r.Address})
	v.logTest(r, &report, err)
	return v.conclude(r, &report, err, nil), report
}

// A trial is what came of testing a server, step by step.
type trial struct {
	Record identity.Record
	Server string
	Steps  []trialStep
}

type trialStep struct {
	Kind, Text, Detail string // good, bad, or plain where it was not come to
}

// test tries the server of an address, and shows what it does.
func (v *visit) test() {
	r, ok := v.record(v.value("address"))
	switch {
	case !ok:
		return
	case !v.usesOwn(r):
		v.home()
		return
	case r.Gateway.Password.Reveal() == "":
		v.session.keep(&notice{Kind: "bad", Text: v.lang.t("field.password.again")})
		v.redirect("/change", "address", r.Address)
		return
	}
	o, report := v.ask(r)
	body := &trial{Record: r, Server: serverOf(r.Gateway)}
	switch {
	case o.sent:
		o.notice = &notice{Kind: "good", Text: v.lang.t("test.good")}
		fallthrough
	case o.trouble != nil:
		body.Steps = v.steps(r.Gateway, &report)
		o.status = http.StatusOK
	}
	v.show(o.status, &page{Name: "test", Title: v.lang.t("test.title"), Notice: o.notice, Trouble: o.trouble, Body: body})
}

// steps are the checks in the order in which a delivery meets them.
func (v *visit) steps(g *policy.UserGateway, r *tlsprobe.Report) []trialStep {
	kind := map[bool]string{true: "good", false: "bad"}
	reached := r.Address.IsValid()
	list := []trialStep{{kind[reached], v.lang.t("test.reached"), serverOf(g)}}
	for _, step := range []struct {
		key, detail string
		tlsprobe.Check
	}{
		{"test.tls", "", r.TLS},
		{"test.trust", "", r.Trust},
		{"test.name", g.Host, r.Name},
		{"test.login", g.Username, r.Accepted},
		{"test.sender", "", r.Sent},
	} {
		s := trialStep{kind[step.Holds], v.lang.t(step.key), visible.Text(step.detail, 120)}
		if step.key == "test.tls" && step.Holds {
			s.Detail = "TLS " + r.Version.String()
		}
		if last := list[len(list)-1].Kind; last != "good" && step.key != "test.name" || step.Problem == tlsprobe.NotChecked {
			s = trialStep{Kind: "plain", Text: s.Text, Detail: v.lang.t("test.notReached")}
		}
		list = append(list, s)
	}
	return list
}
