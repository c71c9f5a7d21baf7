package policy

import (
	"strconv"
	"strings"
)

// Outbound says which way outgoing mail takes: mail for other servers. What stays
// on this one is none.
//
// All outgoing mail has a way. The rule for the sender's address decides, or else
// that for the sender's domain, or else the outbound gateway takes it. "All" is
// meant: a gateway archives or filters whatever leaves, or is the only host that the
// firewall lets through. So it takes bounces, which have the null sender, and
// forwarded mail, whose senders are of other domains, too. To send some domains'
// mail by a route and all else directly, write rules for these domains, and no gateway.
type Outbound struct {
	// Routes are all that are defined, in the order of the files. Gateway, Senders and
	// Recipients point to them.
	Routes []*Route
	// Gateway takes the mail of which no sender rule speaks; if it is nil, the mail
	// server delivers that directly.
	Gateway *Route
	// Senders holds the sender rules: by address as [CanonicalAddress] writes it,
	// or by domain as "@" and what [CanonicalDomain] returns. Recipients holds the
	// recipient rules likewise.
	Senders    map[string]*Route
	Recipients map[string]*Route

	// Users are those whose addresses are known, by [CanonicalLogin].
	Users map[string]*User
	// Domains are our own, in canonical form: our servers may send as any address in
	// them.
	Domains map[string]bool
	// AllowUserGateways lets users' own servers send their mail; otherwise ours send
	// all of it.
	AllowUserGateways bool
	// Slots is how many users may have the same address with servers of their own, at
	// most MaxSlots.
	Slots int
	// SelfService says that there are more users than Users, in a database: see
	// [Policy.WithDirectory]. Whether one of them has a server of his own may change at any
	// time.
	SelfService bool
	// AccountDomain completes a login that is no address to that of its account, or is "".
	AccountDomain string
	// UnknownSender says what happens when a user writes as an address that is not
	// his.
	UnknownSender SenderAction
	// SenderHeader puts the account's address into Sender, where our servers send as an
	// address that is not in Domains.
	SenderHeader bool
}

// UserGateways calls f for each server of a user's own in the configuration that may be used,
// with the user's login and the address for which it is. There are none where these are not
// allowed.
func (o *Outbound) UserGateways(f func(login, address string, g *UserGateway)) {
	if !o.AllowUserGateways {
		return
	}
	for _, u := range o.Users {
		for _, i := range u.Identities {
			if i.Gateway != nil {
				f(u.Login, i.Address, i.Gateway)
			}
		}
	}
}

// HasUserGateways says whether there may be such servers: where users attach their own, there
// may be one at any time.
func (o *Outbound) HasUserGateways() bool {
	has := o.AllowUserGateways && o.SelfService
	o.UserGateways(func(string, string, *UserGateway) { has = true })
	return has
}

// AsksLookup says whether the mail server has to ask for ways of outgoing mail.
func (o *Outbound) AsksLookup() bool {
	return len(o.Routes) > 0 || o.HasUserGateways()
}

// The rules that choose a route.
const (
	RecipientAddress   Code = "recipient-address"
	RecipientExtension Code = "recipient-extension"
	RecipientDomain    Code = "recipient-domain"
	SenderAddress      Code = "sender-address"
	SenderExtension    Code = "sender-extension"
	SenderDomain       Code = "sender-domain"
	OutboundGateway    Code = "outbound-gateway"
	DirectDelivery     Code = "direct-delivery"
)

// RouteMeanings says of each rule that chooses a way, in the order in which they
// are tried, what it means that it spoke.
var RouteMeanings = []Reason{
	{ByUserGateway, ByUserGateway.Meaning()},
	{RecipientAddress, "there is a recipient rule for the address"},
	{RecipientExtension, "there is a recipient rule for the address without its extension (Postfix's recipient_delimiter)"},
	{RecipientDomain, "there is a recipient rule for the address's domain"},
	{SenderAddress, "there is a sender rule for the address"},
	{SenderExtension, "there is a sender rule for the address without its extension, user+extension"},
	{SenderDomain, "there is a sender rule for the address's domain"},
	{OutboundGateway, "no rule speaks, so the outbound gateway takes the mail"},
	{DirectDelivery, "no rule speaks: the mail server delivers directly"},
}

// RouteFor returns the route of outgoing mail with that envelope sender, and the
// rule that chose it. The route is nil where the mail server delivers directly. The
// choice doesn't depend on the policy's mode: whoever acts on it has to leave mail
// alone in the mode Observe. Nor does it take the recipient into account: see RouteTo.
func (p *Policy) RouteFor(sender string) (*Route, Reason) {
	r, key, which := findRule(p.outbound.Senders, sender)
	if r != nil {
		return r, Reason{[...]Code{SenderAddress, SenderExtension, SenderDomain}[which], "[sender " + key + "]"}
	}
	why := "there is no sender rule for " + strconv.Quote(sender)
	if isNullSender(sender) {
		why = "no sender rule can be for the null sender of a bounce"
	}
	if p.outbound.Gateway == nil {
		return nil, Reason{DirectDelivery, why + ", and [outbound] has no gateway"}
	}
	return p.outbound.Gateway, Reason{OutboundGateway, why + ", so [outbound] gateway takes the mail"}
}

// RouteTo returns the route of mail to that recipient, whoever sends it, and the rule
// that chose it; or nil where none does. It goes before RouteFor. As there, the mode
// makes no difference.
func (p *Policy) RouteTo(recipient string) (*Route, Reason) {
	r, key, which := findRule(p.outbound.Recipients, recipient)
	if r == nil {
		return nil, Reason{}
	}
	return r, Reason{[...]Code{RecipientAddress, RecipientExtension, RecipientDomain}[which], "[recipient " + key + "]"}
}

// findRule returns the rule for an address, its key, and which part of the address it is
// for: all (0), that without extension (1) or the domain (2).
func findRule(rules map[string]*Route, address string) (r *Route, key string, which int) {
	canonical := CanonicalAddress(address)
	local, domain, _ := cutAddress(canonical)
	for which, key := range []string{canonical, withoutExtension(local) + "@" + domain, "@" + domain} {
		// Without a local part, the address looks like the key of its domain.
		if r, ok := rules[key]; ok && (local != "" || which == 2) {
			return r, key, which
		}
	}
	return nil, "", 0
}

// isNullSender knows the null sender (RFC 5321, section 4.5.5) as people write it and as
// Postfix asks for it.
func isNullSender(sender string) bool {
	return sender == "" || sender == "<>" || sender == `"<>"`
}

// withoutExtension returns a local part without +extension (RFC 5233, section 1).
// A + at the beginning starts none.
func withoutExtension(local string) string {
	if at := strings.IndexByte(local, '+'); at > 0 {
		return local[:at]
	}
	return local
}

// CanonicalAddress returns the form in which addresses of senders are compared:
// the domain as by [CanonicalDomain], the local part without quotes and in lower
// case. By RFC 5321, section 2.4, only its own server may know that two local parts
// differ but for case. We are that server, and no common one distinguishes them,
// but mail programs send them as users have typed them: mail must not go another way
// because of a capital letter.
func CanonicalAddress(address string) string {
	local, domain, ok := cutAddress(address)
	if !ok {
		return lower(address)
	}
	return lower(unquote(local)) + "@" + CanonicalDomain(domain)
}

// lower folds ASCII letters only: some others have a lower case in ASCII, and are no
// other way to write it.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// cutAddress cuts an address at its last @: a quoted local part may have others.
func cutAddress(address string) (local, domain string, ok bool) {
	at := strings.LastIndexByte(address, '@')
	if at < 0 {
		return address, "", false
	}
	return address[:at], address[at+1:], true
}

// unquote returns what a quoted local part means (RFC 5321, section 4.1.2).
func unquote(local string) string {
	if len(local) < 2 || local[0] != '"' || local[len(local)-1] != '"' {
		return local
	}
	var b strings.Builder
	escaped := false
	for _, c := range []byte(local[1 : len(local)-1]) {
		if c == '\\' && !escaped {
			escaped = true
			continue
		}
		escaped = false
		b.WriteByte(c)
	}
	return b.String()
}
