package policy

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// The users of these tests. Alice writes as two addresses of our own and two of others'
// servers, one of which has a server of hers; Bob has one there too; a service has no
// address for a login.
var (
	alicesGateway = &UserGateway{Host: "smtp.partner.example", Port: 587, Username: "alice", Password: NewSecret("hunter2")}
	bobsGateway   = &UserGateway{Host: "smtp.partner.example", Port: 465, TLS: ImplicitTLS, Username: "bob", Password: NewSecret("hunter3"), Slot: 1}
	alice         = &User{Login: "alice@example.com", Account: "alice@example.com", Identities: []Identity{
		{Address: "alice@example.com"}, {Address: "a.smith@example.org"}, {Address: "alice@partner.example", Gateway: alicesGateway}, {Address: "alice@elsewhere.example"}}}
	bob = &User{Login: "bob", Account: "bob@example.com", Identities: []Identity{
		{Address: "bob@example.com"}, {Address: "alice@partner.example", Gateway: bobsGateway}}}
)

func outgoing(change ...func(*Outbound)) Settings {
	o := Outbound{
		Users:             map[string]*User{"alice@example.com": alice, "bob": bob},
		Domains:           map[string]bool{"example.com": true, "example.org": true},
		AllowUserGateways: true,
		SenderHeader:      true,
	}
	for _, f := range change {
		f(&o)
	}
	return Settings{Outbound: o}
}

func notAllowed(o *Outbound) { o.AllowUserGateways = false }
func rewriting(o *Outbound)  { o.UnknownSender = RewriteSender }
func accepting(o *Outbound)  { o.UnknownSender = AcceptSender }
func noSender(o *Outbound)   { o.SenderHeader = false }

// extended gives Bob an address of Alice's with an extension.
func extended(o *Outbound) {
	o.Users = map[string]*User{"alice@example.com": alice, "bob": {Login: "bob", Account: "bob@example.com", Identities: []Identity{{Address: "bob@example.com"}, {Address: "alice+team@example.com"}}}}
}

// as is a message of that login.
func as(login, sender string, lines ...string) Message {
	m := mail(outside, lines...).login(login).to("far@remote.example")
	m.Sender = sender
	return m
}

const (
	routeFirst  = "; add X-Gatemilter-Route: gatemilter-user:[smtp.partner.example]:587; delete X-Gatemilter-Route 1 | exempt-login user-gateway"
	changedTo   = "; change-from : "
	toAccount   = "; add Sender: alice@example.com" + changedTo + "alice@example.com"
	notHis      = "reject 553 5.7.1 outbound | exempt-login unknown-sender"
	unchanged   = "accept outbound | exempt-login"
	onBehalf    = " | exempt-login on-behalf"
	notAllowing = " | exempt-login user-gateway-ignored on-behalf"
)

func TestO4OwnGateway(t *testing.T) {
	run(t, []rule{
		{"the address with a server of hers", outgoing(), as("alice@example.com", "alice@example.com", "From: alice@partner.example"),
			"accept outbound" + changedTo + "alice@partner.example" + routeFirst},
		{"the same address, another user", outgoing(), as("bob", "bob@example.com", "From: Alice <ALICE@Partner.Example>"),
			"accept outbound" + changedTo + "alice@partner.example; add X-Gatemilter-Route: gatemilter-users-1:[smtp.partner.example]:465; delete X-Gatemilter-Route 1 | exempt-login user-gateway"},
		{"logins and addresses in another case", outgoing(), as("Alice@EXAMPLE.com", "alice@PARTNER.example", "From: Alice@Partner.example"),
			"accept outbound" + routeFirst},
		{"with an extension", outgoing(), as("alice@example.com", "alice@example.com", "From: alice+news@partner.example"),
			"accept outbound" + changedTo + "alice@partner.example" + routeFirst},
		{"the envelope sender is it already", outgoing(), as("alice@example.com", "Alice@Partner.example", "From: alice@partner.example"),
			"accept outbound" + routeFirst},
		{"with an extension, for which nobody has a login", outgoing(), as("alice@example.com", "alice+bounces@partner.example", "From: alice@partner.example"),
			"accept outbound" + changedTo + "alice@partner.example" + routeFirst},
		{"a receipt, which the server wants a sender for", outgoing(), as("alice@example.com", "", "From: alice@partner.example"),
			"accept outbound" + changedTo + "alice@partner.example" + routeFirst},
		{"two authors that are both hers: the first one counts", outgoing(), as("alice@example.com", "alice@example.com", "From: alice@partner.example, alice@example.com"),
			"accept outbound" + changedTo + "alice@partner.example" + routeFirst},
		{"an address of our own", outgoing(), as("alice@example.com", "alice@example.com", "From: alice@example.com"), unchanged},
		{"our server can't vouch for another's address", outgoing(), as("alice@example.com", "alice@partner.example", "From: alice@example.com"),
			"accept outbound" + changedTo + "alice@example.com | exempt-login"},
		{"a second one", outgoing(), as("alice@example.com", "a.smith@example.org", "From: a.smith@example.org"), unchanged},
		{"not logged in", outgoing(), as("", "alice@partner.example", "From: alice@partner.example"),
			"accept from external 198.51.100.99 | source-external"},
	})
}

func TestO6NoSender(t *testing.T) {
	run(t, []rule{
		{"Sender that names the account goes", outgoing(), as("alice@example.com", "alice@partner.example", "Sender: alice@example.com", "From: alice@partner.example"),
			"accept outbound; delete Sender 1" + routeFirst},
		{"all that name another address go", outgoing(), as("alice@example.com", "alice@partner.example", "From: alice@partner.example", "Sender: <alice@partner.example>", "Sender: who? <", "sender: x@y.example"),
			"accept outbound; delete sender 3; delete Sender 2" + routeFirst},
		{"who sent it again goes", outgoing(), as("alice@example.com", "alice@partner.example", "Resent-Sender: alice@example.com", "From: alice@partner.example"),
			"accept outbound; delete Resent-Sender 1" + routeFirst},
		{"by our server, one of hers may stay, but nobody else's", outgoing(), as("alice@example.com", "alice@example.com", "From: alice@example.com", "Sender: a.smith@example.org", "Sender: ceo@example.com"),
			"accept outbound; delete Sender 2 | exempt-login"},
		{"nor a user's, of a login that nobody configured", outgoing(), as("carol", "carol@example.com", "From: carol@example.com", "Sender: x@y.example", "Sender: (x alice@example.com"),
			"accept outbound; delete Sender 2 | exempt-login"},
		{"a way that the client wrote goes", outgoing(), as("alice@example.com", "alice@partner.example", "X-Gatemilter-Route: smtp:[evil.example]", "From: alice@partner.example", "x-gatemilter-route: x"),
			"accept outbound; delete x-gatemilter-route 2; delete X-Gatemilter-Route 1" + routeFirst + " forged-field-removed"},
		{"also where there is no way to choose", outgoing(), as("alice@example.com", "alice@example.com", "X-Gatemilter-Route: smtp:[evil.example]", "From: alice@example.com"),
			"accept outbound; delete X-Gatemilter-Route 1 | exempt-login forged-field-removed"},
	})
}

func TestO3NotAllowed(t *testing.T) {
	run(t, []rule{
		{"the domain's servers send it", outgoing(notAllowed), as("alice@example.com", "alice@partner.example", "From: alice@partner.example"),
			"accept outbound" + toAccount + notAllowing},
		{"the account is the envelope sender already", outgoing(notAllowed), as("alice@example.com", "alice+x@example.com", "From: alice@partner.example"),
			"accept outbound; add Sender: alice@example.com" + notAllowing},
	})
}

func TestO7OnBehalf(t *testing.T) {
	run(t, []rule{
		{"an address without a server of her own", outgoing(), as("alice@example.com", "alice@elsewhere.example", "From: alice@elsewhere.example"),
			"accept outbound" + toAccount + onBehalf},
		{"Sender is there already", outgoing(), as("alice@example.com", "alice@example.com", "Sender: Alice <ALICE@example.com>", "From: alice@elsewhere.example"),
			"accept outbound" + onBehalf},
		{"Sender that names another goes", outgoing(), as("alice@example.com", "alice@example.com", "Sender: alice@elsewhere.example", "From: alice@elsewhere.example"),
			"accept outbound; delete Sender 1; add Sender: alice@example.com" + onBehalf},
		{"sender_header = no", outgoing(noSender), as("alice@example.com", "alice@elsewhere.example", "Sender: x@y.example", "From: alice@elsewhere.example"),
			"accept outbound" + changedTo + "alice@example.com" + onBehalf},
		{"a receipt keeps its null sender", outgoing(), as("alice@example.com", "", "From: alice@elsewhere.example"),
			"accept outbound; add Sender: alice@example.com" + onBehalf},
	})
}

func TestO8UnknownSender(t *testing.T) {
	run(t, []rule{
		{"an address of nobody's", outgoing(), as("alice@example.com", "alice@example.com", "From: ceo@example.com"), notHis},
		{"another user's", outgoing(), as("alice@example.com", "alice@example.com", "From: bob@example.com"), notHis},
		{"beside her own", outgoing(), as("alice@example.com", "alice@example.com", "From: alice@example.com, bob@example.com"), notHis},
		{"a subdomain", outgoing(), as("alice@example.com", "alice@example.com", "From: alice@sub.example.com"), notHis},
		{"in the display name only", outgoing(), as("alice@example.com", "alice@example.com", `From: "ceo@example.com" <alice@example.com>`), unchanged},
		{"two fields", outgoing(), as("alice@example.com", "alice@example.com", "From: alice@example.com", "From: ceo@example.com"), notHis},
		{"one that can be read in two ways", outgoing(), as("alice@example.com", "alice@example.com", "From: ceo@example.com <alice@partner.example>"), notHis},
		{"no field: it would be the envelope sender", outgoing(), as("alice@example.com", "alice@example.com"), "accept outbound; add From: alice@example.com | exempt-login"},
		{"an address with an extension that another user has", outgoing(extended), as("alice@example.com", "alice@example.com", "From: alice+team@example.com"), notHis},
		{"which is his", outgoing(extended), as("bob", "alice+team@example.com", "From: alice+team@example.com"), unchanged},
		{"what looks like the null sender", outgoing(), as("alice@example.com", `"<>"`, "From: alice@example.com"), notHis},
		{"no field, another's envelope sender", outgoing(), as("alice@example.com", "bob@example.com"), notHis},
		{"the envelope sender", outgoing(), as("alice@example.com", "bob@example.com", "From: alice@example.com"), notHis},
		{"the envelope sender, by a server of her own", outgoing(), as("alice@example.com", "bob@example.com", "From: alice@partner.example"), notHis},

		{"a login that nobody configured is left alone", outgoing(), as("carol@example.com", "c@example.com", "From: other@example.com"), unchanged},
		{"but not with a user's address", outgoing(), as("carol@example.com", "carol@example.com", "From: alice+x@partner.example"), notHis},
		{"nor in one of two fields", outgoing(), as("carol@example.com", "carol@example.com", "From: carol@example.com", "From: Alice <ALICE@partner.example>"), notHis},
		{"nor in a field that can be read in two ways", outgoing(), as("carol@example.com", "carol@example.com", "From: alice@partner.example <carol@example.com>"), notHis},
		{"one that can be read in two ways, of nobody's", outgoing(), as("carol@example.com", "carol@example.com", "From: x@other.example <carol@example.com>"), unchanged},
		{"nor envelope sender", outgoing(), as("carol", "alice@example.com", "From: carol@example.com"), notHis},
		{"without users, nobody may write our fields either", Settings{}, as("alice@example.com", "x@example.com", "From: ceo@example.com", "X-Gatemilter-Spam-Evaluation: gateway-only"),
			"accept outbound; delete X-Gatemilter-Spam-Evaluation 1 | exempt-login forged-field-removed"},
		{"without users there is no such rule", Settings{}, as("alice@example.com", "x@example.com", "From: ceo@example.com"), unchanged},

		{"rewrite", outgoing(rewriting), as("alice@example.com", "alice@example.com", "From: The Boss <ceo@example.com>", "Sender: ceo@example.com"),
			"accept outbound; delete Sender 1; change From: The Boss <alice@example.com> | exempt-login unknown-sender"},
		{"rewrite two fields", outgoing(rewriting), as("alice@example.com", "ceo@example.com", "From: ceo@example.com", "From: x@example.com"),
			"accept outbound; delete From 2; change From: alice@example.com" + changedTo + "alice@example.com | exempt-login unknown-sender"},
		{"rewrite a name that looks like an address", outgoing(rewriting), as("alice@example.com", "alice@example.com", `From: "ceo@example.com" <ceo@example.com>`),
			"accept outbound; change From: alice@example.com | exempt-login unknown-sender"},
		{"rewrite the envelope sender only", outgoing(rewriting), as("alice@example.com", "ceo@example.com", "From: a.smith@example.org"),
			"accept outbound" + changedTo + "a.smith@example.org | exempt-login unknown-sender"},
		{"rewrite the envelope sender, on behalf", outgoing(rewriting), as("alice@example.com", "ceo@example.com", "From: alice@elsewhere.example"),
			"accept outbound" + toAccount + " | exempt-login unknown-sender on-behalf"},
		{"rewrite the envelope sender, by her own server", outgoing(rewriting), as("alice@example.com", "ceo@example.com", "From: alice@partner.example"),
			"accept outbound" + changedTo + "alice@partner.example; add X-Gatemilter-Route: gatemilter-user:[smtp.partner.example]:587; delete X-Gatemilter-Route 1 | exempt-login unknown-sender user-gateway"},
		{"rewrite for a login that nobody configured", outgoing(rewriting), as("carol@example.com", "carol@example.com", "From: alice@partner.example"),
			"accept outbound; change From: carol@example.com | exempt-login unknown-sender"},
		{"which has no address", outgoing(rewriting), as("carol", "carol@example.com", "From: alice@partner.example"), notHis},

		{"accept, in our name", outgoing(accepting), as("alice@example.com", "ceo@example.com", "From: ceo@example.com"),
			"accept outbound | exempt-login unknown-sender"},
		{"accept, in another's name", outgoing(accepting), as("alice@example.com", "x@other.example", "From: x@other.example"),
			"accept outbound" + toAccount + " | exempt-login unknown-sender on-behalf"},
		{"accept an envelope sender, by her own server", outgoing(accepting), as("alice@example.com", "ceo@example.com", "From: alice@partner.example"),
			"accept outbound" + changedTo + "alice@partner.example; add X-Gatemilter-Route: gatemilter-user:[smtp.partner.example]:587; delete X-Gatemilter-Route 1 | exempt-login unknown-sender user-gateway"},
		{"accept from a login that nobody configured", outgoing(accepting), as("carol", "alice@example.com", "From: alice@partner.example"),
			"accept outbound | exempt-login unknown-sender"},
	})
}

// The way of one message, by all the rules together.
func TestWayOf(t *testing.T) {
	plant, gateway, route := &Route{Name: "plant"}, &Route{Name: "gateway"}, &Route{Name: "route"}
	s := outgoing(func(o *Outbound) {
		o.Gateway = gateway
		o.Recipients = map[string]*Route{"@plant.example.com": plant}
		o.Senders = map[string]*Route{"alice@example.com": route}
	})
	p := New(s)
	for _, c := range []struct {
		login, sender, recipient string
		want                     Way // but for its verdict
	}{
		{"", "x@example.com", "", Way{Sender: "x@example.com", Route: gateway, Why: Reason{Code: OutboundGateway}}},
		{"", "alice@partner.example", "", Way{Sender: "alice@partner.example", Route: gateway, Why: Reason{Code: OutboundGateway}}},
		{"", "alice@example.com", "y@plant.example.com", Way{Sender: "alice@example.com", Route: plant, Why: Reason{Code: RecipientDomain}}},
		{"ALICE@example.com", "alice@partner.example", "y@plant.example.com", Way{Sender: "alice@partner.example", Gateway: alicesGateway, Why: Reason{Code: ByUserGateway}}},
		{"alice@example.com", "alice@elsewhere.example", "", Way{Sender: "alice@example.com", Route: route, Why: Reason{Code: SenderAddress}}},
		{"alice@example.com", "ceo@example.com", "", Way{Sender: "ceo@example.com", Why: Reason{Code: UnknownSender}}},
		{"alice@example.com", "", "", Way{Sender: "", Route: gateway, Why: Reason{Code: OutboundGateway}}},
	} {
		got := p.WayOf(c.login, c.sender, c.recipient)
		if got.Sender != c.want.Sender || got.Gateway != c.want.Gateway || got.Route != c.want.Route || got.Why.Code != c.want.Why.Code {
			t.Errorf("%q as %q to %q: %+v, want %+v", c.sender, c.login, c.recipient, got, c.want)
		}
	}
}

// O2: full address, then without extension, then domain; a recipient rule goes before all
// sender rules.
func TestO2Recipients(t *testing.T) {
	one, all := &Route{Name: "one"}, &Route{Name: "all"}
	p := New(Settings{Outbound: Outbound{Recipients: map[string]*Route{"boss@plant.example.com": one, "@plant.example.com": all, "@xn--bcher-kva.example": all}}})
	for _, c := range []struct {
		recipient string
		route     *Route
		code      Code
	}{
		{"boss@plant.example.com", one, RecipientAddress},
		{"BOSS@Plant.Example.COM.", one, RecipientAddress},
		{"boss+urgent@plant.example.com", one, RecipientExtension},
		{"anybody@plant.example.com", all, RecipientDomain},
		{"x@bücher.example", all, RecipientDomain},
		{"x@sub.plant.example.com", nil, ""},
		{"x@example.com", nil, ""},
		{"plant.example.com", nil, ""},
	} {
		if r, why := p.RouteTo(c.recipient); r != c.route || why.Code != c.code {
			t.Errorf("%q: %+v by %q, want %+v by %q", c.recipient, r, why.Code, c.route, c.code)
		}
	}
}

// O9: a secret shows in no form, wherever it stands.
func TestSecretNeverPrints(t *testing.T) {
	const text = "hunter2"
	type hidden struct{ s Secret }
	s := NewSecret(text)
	encoded, err := json.Marshal(map[string]any{"secret": s, "gateway": alicesGateway, "user": alice})
	if err != nil {
		t.Fatal(err)
	}
	shown := []string{string(encoded)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T"} {
		shown = append(shown, fmt.Sprintf(verb, s), fmt.Sprintf(verb, &s), fmt.Sprintf(verb, hidden{s}), fmt.Sprintf(verb, *alicesGateway), fmt.Sprintf(verb, *alice))
	}
	v := New(outgoing()).Evaluate(context.Background(), &Message{Login: "alice@example.com", Sender: "alice@example.com", Header: []Field{{"From", "alice@partner.example"}}}, nil)
	shown = append(shown, fmt.Sprintf("%+v %#v", v, v))
	for _, text := range shown {
		if strings.Contains(text, "hunter") || strings.Contains(text, fmt.Sprintf("%x", "hunter2")) {
			t.Errorf("a password shows: %s", text)
		}
	}
	if s.Reveal() != text || (Secret{}).Reveal() != "" || s.String() != SecretMask {
		t.Error("a secret doesn't keep its text")
	}
}
