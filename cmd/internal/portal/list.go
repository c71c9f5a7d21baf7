package portal

import (
	"html/template"
	"net/http"

	"gatemilter/policy"
	"gatemilter/policy/identity"
)

// A listing is what the list of addresses shows.
type listing struct {
	Account string
	Own     []item
	Given   []item // by the administrator
	Away    bool   // the database can't be used
	Full    bool
}

// An item is an address with its state in words.
type item struct {
	Address, Name string
	Kind          string // of the state: good, warn, bad or plain
	State         string
	Way           template.HTML
	// What can be done.
	Change, Test, Code bool
}

// list shows all addresses of the user.
func (v *visit) list() {
	login := v.session.login
	l := listing{Account: v.account(login)}
	if l.Account == "" {
		v.refuse(http.StatusForbidden, "noAccount", "login", login)
		return
	}
	if u := v.configured(login); u != nil {
		for _, i := range u.Identities {
			l.Given = append(l.Given, v.given(i, u.Account))
		}
	}
	p := &page{Name: "list", Title: v.lang.t("list.title")}
	records, err := v.Store.List(v.r.Context(), login)
	status := http.StatusOK
	if err != nil {
		status, p.Notice = v.failed(err)
		l.Away = true
	}
	for _, r := range records {
		l.Own = append(l.Own, v.item(r, l.Account))
	}
	l.Full = len(records) >= identity.MaxAddresses
	p.Body = l
	v.show(status, p)
}

// item describes a record.
func (v *visit) item(r identity.Record, account string) item {
	i := item{Address: r.Address, Name: r.Name, Change: !r.Disabled, Way: v.way(r.Identity, account)}
	own := r.Gateway != nil && v.facts.AllowUserGateways
	i.Test = own && !r.Disabled
	u := v.configured(r.Login)
	switch {
	case u != nil && u.Has(r.Address):
		i.Kind, i.State = "plain", v.lang.t("state.overruled")
	case r.Disabled:
		i.Kind, i.State, i.Way = "bad", v.lang.t("state.disabled"), v.lang.html("way.disabled")
	case r.State == identity.Pending:
		i.Kind, i.State, i.Code, i.Test = "warn", v.lang.t("state.pending"), true, false
		if i.Way = v.lang.html("way.pending.ours"); own {
			i.Way = v.lang.html("way.pending", "server", serverOf(r.Gateway))
		}
	case own && r.Gateway.Password.Reveal() == "":
		i.Kind, i.State, i.Test, i.Way = "bad", v.lang.t("state.noPassword"), false, v.lang.html("way.noPassword")
	case r.Gateway != nil && !own:
		i.Kind, i.State = "warn", v.lang.t("state.notUsed")
	default:
		i.Kind, i.State = "good", v.lang.t("state.active")
	}
	return i
}

// given describes an address that the administrator has given.
func (v *visit) given(i policy.Identity, account string) item {
	g := item{Address: i.Address, Kind: "plain", State: v.lang.t("state.given"), Way: v.way(i, account)}
	switch {
	case i.Disabled:
		g.Kind, g.State, g.Way = "bad", v.lang.t("state.disabled"), v.lang.html("way.disabled")
	case i.Address == account:
		g.State, g.Way = v.lang.t("state.account"), v.lang.html("way.account")
	}
	return g
}

// way says how mail from an address leaves. Of our own domains none names the account.
func (v *visit) way(i policy.Identity, account string) template.HTML {
	ours := v.facts.Domains[policy.Domain(i.Address)]
	switch g := i.Gateway; {
	case g != nil && v.facts.AllowUserGateways:
		return v.lang.html("way.own", "server", serverOf(g), "username", g.Username)
	case g != nil && v.facts.SenderHeader && !ours:
		return v.lang.html("way.notUsed.sender", "server", serverOf(g), "account", account)
	case g != nil:
		return v.lang.html("way.notUsed", "server", serverOf(g))
	case ours:
		return v.lang.html("way.account")
	case v.facts.SenderHeader:
		return v.lang.html("way.ours.sender", "account", account)
	}
	return v.lang.html("way.ours")
}

// help explains what all this is about.
func (v *visit) help() {
	v.show(http.StatusOK, &page{Name: "help", Title: v.lang.t("help.title")})
}
