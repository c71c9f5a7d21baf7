package policy

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
)

// Users whom the database knows, beside Alice and Bob of the configuration: Dora has an address
// with a server of hers, one without, and one that the administrator has disabled. Erin's account
// is all that is left of hers. Alice has attached one herself.
var (
	dorasGateway = &UserGateway{Host: "smtp.club.example", Port: 587, Username: "dora", Password: NewSecret("hunter4")}
	dora         = &User{Login: "dora", Account: "dora@example.com", Open: true, Identities: []Identity{
		{Address: "dora@example.com"}, {Address: "dora@club.example", Gateway: dorasGateway}, {Address: "dora@elsewhere.example"},
		{Address: "dora@bad.example", Gateway: dorasGateway, Disabled: true}}}
	aliceOfBoth = &User{Login: alice.Login, Account: alice.Account, Identities: append(slices.Clone(alice.Identities),
		Identity{Address: "alice@club.example", Gateway: dorasGateway}, Identity{Address: "alice@bad.example", Gateway: dorasGateway, Disabled: true})}
)

// A selfRule is a rule of a policy with the database's users, or with none of them yet.
type selfRule struct {
	what    string
	message Message
	want    string
}

func runSelf(t *testing.T, known bool, s Settings, rules []selfRule) {
	t.Helper()
	s.Outbound.SelfService = true
	p := New(s)
	if known {
		p = p.WithDirectory(p.Directory().With(dora, aliceOfBoth))
	}
	for _, r := range rules {
		if got := told(p.Evaluate(context.Background(), &r.message, nil)); got != r.want {
			t.Errorf("%s:\n%s\nwant\n%s", r.what, got, r.want)
		}
	}
}

const clubRoute = "; add X-Gatemilter-Route: gatemilter-user:[smtp.club.example]:587; delete X-Gatemilter-Route 1 | exempt-login user-gateway"

// O5, O6, U1: an identity of the database is one like those of the configuration.
func TestU1OwnGateway(t *testing.T) {
	runSelf(t, true, outgoing(), []selfRule{
		{"by her own server", as("dora", "dora@example.com", "From: Dora <DORA@club.example>", "Sender: dora@example.com"), "accept outbound; delete Sender 1" + changedTo + "dora@club.example" + clubRoute},
		{"with an extension", as("DORA", "dora+x@club.example", "From: dora+x@club.example"), "accept outbound" + changedTo + "dora@club.example" + clubRoute},
		{"a user of the configuration", as("alice@example.com", "alice@example.com", "From: alice@club.example"), "accept outbound" + changedTo + "alice@club.example" + clubRoute},
		{"who keeps those of the configuration", as("alice@example.com", "alice@example.com", "From: alice@partner.example"), "accept outbound" + changedTo + "alice@partner.example" + routeFirst},
		{"no field: it would be the envelope sender", as("dora", "dora@club.example"), "accept outbound; add From: dora@club.example" + clubRoute},
		{"an author who is not she, in the name of her envelope sender, does not take its way", as("dora", "dora@club.example", "From: x@other.example"),
			"accept outbound" + changedTo + "dora@example.com | exempt-login"},
		{"nor does her account", as("dora", "dora@club.example", "From: dora@example.com"), "accept outbound" + changedTo + "dora@example.com | exempt-login"},
	})
}

// O3, U1: by default, the domain's servers send everything.
func TestU1NotAllowed(t *testing.T) {
	runSelf(t, true, outgoing(notAllowed), []selfRule{
		{"on behalf of her", as("dora", "dora@club.example", "From: dora@club.example"), "accept outbound; add Sender: dora@example.com" + changedTo + "dora@example.com" + notAllowing},
	})
}

// O7: an address without a server is delivered by the domain's servers.
func TestU1OnBehalf(t *testing.T) {
	runSelf(t, true, outgoing(), []selfRule{
		{"on behalf of her", as("dora", "dora@elsewhere.example", "From: dora@elsewhere.example"), "accept outbound; add Sender: dora@example.com" + changedTo + "dora@example.com" + onBehalf},
		{"the account is the envelope sender", as("dora", "dora+x@example.com", "From: dora@elsewhere.example"), "accept outbound; add Sender: dora@example.com" + onBehalf},
		{"another foreign one is not", as("dora", "x@other.example", "From: dora@elsewhere.example"), "accept outbound; add Sender: dora@example.com" + changedTo + "dora@example.com" + onBehalf},
	})
}

// O8: who is only in the database is left alone as other addresses than his own; but nobody has
// the address of another, and nobody a disabled one.
func TestO8Open(t *testing.T) {
	rewritten := "accept outbound; change From: dora@example.com" + changedTo + "dora@example.com | exempt-login unknown-sender"
	runSelf(t, true, outgoing(), []selfRule{
		{"the account", as("dora", "dora@example.com", "From: dora@example.com", "Sender: boss@other.example"), unchanged},
		{"an address of nobody's", as("dora", "d@other.example", "From: d@other.example"), unchanged},
		{"one that can be read in two ways, of nobody's", as("dora", "dora@example.com", "From: x@other.example <y@other.example>"), unchanged},
		{"or with one of hers", as("dora", "dora@example.com", "From: dora@club.example <y@other.example>"), notHis},
		{"another user's", as("dora", "dora@example.com", "From: bob@example.com"), notHis},
		{"another user's, of the database", as("bob", "bob@example.com", "From: dora@club.example"), notHis},
		{"another user's, with another point at its end", as("carol", "carol@example.com", "From: dora@club.example\u3002"), notHis},
		{"as a login that nobody knows", as("carol", "carol@example.com", "From: dora+x@club.example"), notHis},
		{"her account", as("carol", "carol@example.com", "From: dora@example.com"), notHis},
		{"the envelope sender", as("dora", "bob@example.com", "From: dora@example.com"), notHis},
		{"another user's as Sender", as("dora", "dora@example.com", "From: dora@example.com", "Sender: bob@example.com"), "accept outbound; delete Sender 1 | exempt-login"},
		{"disabled", as("dora", "dora@example.com", "From: dora@bad.example"), notHis},
		{"disabled, with an extension", as("dora", "dora@example.com", "From: dora+x@bad.example"), notHis},
		{"disabled, as envelope sender", as("dora", "dora@bad.example", "From: dora@example.com"), notHis},
		{"disabled, for others too", as("carol", "carol@example.com", "From: dora@bad.example"), notHis},
		{"disabled, of a user of the configuration", as("alice@example.com", "alice@example.com", "From: alice@bad.example"), notHis},
		{"who may have nobody's", as("alice@example.com", "alice@example.com", "From: x@other.example"), notHis},
	})
	runSelf(t, true, outgoing(rewriting), []selfRule{
		{"rewritten", as("dora", "dora@bad.example", "From: dora@bad.example"), rewritten},
		{"another's", as("dora", "dora@example.com", "From: bob@example.com"), strings.Replace(rewritten, changedTo+"dora@example.com", "", 1)},
	})
	runSelf(t, true, outgoing(accepting), []selfRule{
		{"let through, on her behalf", as("dora", "dora@bad.example", "From: dora@bad.example"), "accept outbound; add Sender: dora@example.com" + changedTo + "dora@example.com | exempt-login unknown-sender on-behalf"},
	})
}

// O8: of one user who logs in by two names, the database knows one. By the other his account's
// address stays his, but none of those that he has attached; and nobody else gets it by that.
func TestO8OtherLogin(t *testing.T) {
	bare := outgoing(func(o *Outbound) { o.AccountDomain = "example.com" })
	runSelf(t, true, outgoing(), []selfRule{
		{"the address as login", as("DORA@example.com", "dora@example.com", "From: Dora <dora@example.com>", "Sender: dora@example.com"), unchanged},
		{"with an extension", as("dora@example.com", "dora+x@example.com", "From: dora+x@example.com"), unchanged},
		{"an address that she has attached", as("dora@example.com", "dora@example.com", "From: dora@club.example"), notHis},
		{"a user's of the configuration", as("alice", "alice@example.com", "From: alice@example.com"), notHis},
		{"another login", as("carol@example.com", "carol@example.com", "From: dora@example.com"), notHis},
		{"one that ends in her address", as("carol@dora@example.com", "carol@example.com", "From: dora@example.com"), notHis},
	})
	known := New(bare)
	frank := &User{Login: "frank@example.com", Account: "frank@example.com", Open: true, Identities: []Identity{{Address: "frank@example.com"}, {Address: "frank@club.example"}}}
	grace := &User{Login: "grace@example.com", Account: "grace@example.com", Open: true, Identities: []Identity{{Address: "grace@example.com", Disabled: true}}}
	known = known.WithDirectory(known.Directory().With(frank, grace, dora))
	for _, r := range []selfRule{
		{"a login that the account's domain completes", as("Frank", "frank@example.com", "From: frank@example.com"), unchanged},
		{"an address that he has attached", as("frank", "frank@example.com", "From: frank@club.example"), notHis},
		{"an account that is disabled", as("grace", "grace@example.com", "From: grace@example.com"), notHis},
		{"by its own login, too", as("grace@example.com", "grace@example.com", "From: grace@example.com"), notHis},
		{"one of the configuration", as("alice", "alice@example.com", "From: alice@example.com"), notHis},
	} {
		if got := told(known.Evaluate(context.Background(), &r.message, nil)); got != r.want {
			t.Errorf("%s:\n%s\nwant\n%s", r.what, got, r.want)
		}
	}
}

// U8: before the database's users are known for the first time, mail that may be one's of theirs
// waits, and all other mail does not.
func TestU8Unknown(t *testing.T) {
	const waits = "tempfail 451 4.3.0 outbound | exempt-login identities-unknown"
	for what, s := range map[string]Settings{"reject": outgoing(), "rewrite": outgoing(rewriting), "accept": outgoing(accepting)} {
		t.Run(what, func(t *testing.T) {
			runSelf(t, false, s, []selfRule{
				{"of a user of the database", as("dora", "dora@example.com", "From: dora@club.example"), waits},
				{"or of nobody's: who knows", as("carol", "carol@example.com", "From: carol@example.com"), waits},
				{"of a user of the configuration", as("alice@example.com", "alice@example.com", "From: alice@partner.example"), "accept outbound" + changedTo + "alice@partner.example" + routeFirst},
				{"who may have attached one", as("alice@example.com", "alice@example.com", "From: alice@club.example"), waits},
				{"nobody logged in", as("", "x@other.example", "From: dora@club.example"), "accept from external 198.51.100.99 | source-external"},
			})
		})
	}
	// Also where the configuration has no user.
	runSelf(t, false, Settings{}, []selfRule{{"no user", as("dora", "dora@example.com", "From: dora@example.com"), waits}})
	p := New(Settings{Outbound: Outbound{SelfService: true}})
	none := p.WithDirectory(p.Directory())
	m := as("dora", "dora@example.com", "From: dora@example.com")
	if got := told(none.Evaluate(context.Background(), &m, nil)); got != unchanged {
		t.Errorf("a database without users: %s", got)
	}
}

// O5, U8: what a mail server without our header is told: the server of an identity; that mail has
// to wait; or that it is none of ours.
func TestU8Waits(t *testing.T) {
	s := outgoing()
	s.Outbound.SelfService = true
	unknown := New(s)
	known := unknown.WithDirectory(unknown.Directory().With(dora, aliceOfBoth))
	s.Outbound.AllowUserGateways = false
	forbidden := New(s).WithDirectory(known.Directory())
	for _, c := range []struct {
		p             *Policy
		login, sender string
		want          *UserGateway
		waits         string
	}{
		{known, "dora", "dora@club.example", dorasGateway, ""},
		{known, "dora", "dora@example.com", nil, ""},
		{known, "dora", "x@other.example", nil, ""},
		{known, "dora", "dora+x@bad.example", nil, "the identity dora dora+x@bad.example is disabled"},
		{known, "carol", "dora@bad.example", nil, ""},
		{forbidden, "dora", "dora@club.example", nil, ""},
		{forbidden, "dora", "dora@bad.example", nil, ""},
		{unknown, "dora", "dora@club.example", nil, "the identities in the database are not known yet"},
		{unknown, "alice@example.com", "alice@partner.example", alicesGateway, ""},
		{unknown, "alice@example.com", "alice@club.example", nil, "the identities in the database are not known yet"},
		{unknown, "dora", "", nil, ""},
		{unknown, "", "dora@club.example", nil, ""},
	} {
		if got, waits := c.p.UserGatewayOf(c.login, c.sender), c.p.Waits(c.login, c.sender); got != c.want || waits != c.waits {
			t.Errorf("%q as %q: %v, waits %q; want %v, %q", c.sender, c.login, got, waits, c.want, c.waits)
		}
	}
	if w := known.WayOf("dora", "dora@club.example", ""); w.Gateway != dorasGateway || w.Why != (Reason{ByUserGateway, "the identity dora dora@club.example in the database"}) {
		t.Errorf("way %+v", w)
	}
	if w := known.WayOf("alice@example.com", "alice@partner.example", ""); w.Why != (Reason{ByUserGateway, "[user-gateway alice@example.com alice@partner.example]"}) {
		t.Errorf("way %+v", w)
	}
	if w := unknown.WayOf("dora", "dora@club.example", ""); w.Gateway != nil || w.Route != nil || w.Why.Code != IdentitiesUnknown {
		t.Errorf("way %+v", w)
	}
	if got := len(slices.Collect(maps.Keys(s.Outbound.Users))); got != 2 || known.Directory().Len() != 3 || unknown.Directory().Len() != 2 {
		t.Errorf("%d users of the configuration, directories of %d and %d", got, known.Directory().Len(), unknown.Directory().Len())
	}
}
