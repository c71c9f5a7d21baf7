package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/idna"
)

// Settings are what the administrator decided, as values. Package config reads
// them from a file; [New] makes a Policy of them.
type Settings struct {
	Mode             Mode
	InternalNetworks []netip.Prefix
	// Allowlist holds the source addresses whose mail is never spam.
	Allowlist []netip.Prefix
	// DMARC says what follows from a DMARC result, where the gateway doesn't.
	DMARC    DMARCMode
	Gateways []Gateway
	Outbound Outbound
}

// A Mode says whether verdicts take effect.
type Mode uint8

// Enforce acts on verdicts; Observe only makes and reports them.
const (
	Enforce Mode = iota
	Observe
)

func (m Mode) String() string {
	if m == Observe {
		return "observe"
	}
	return "enforce"
}

// A Gateway is one inbound gateway: the mail servers of a filtering service, and
// what is expected of mail that comes from them.
type Gateway struct {
	Name string
	// Addresses are the gateway's hosts: each one that mail passes before it
	// reaches us.
	Addresses []netip.Prefix
	// Domains are the recipient domains behind this gateway, lower case,
	// A-labels. Empty means all that no other gateway names.
	Domains []string

	// DetectExternalIP says whether the source is searched for among the
	// Received fields or is simply the hop before the gateway.
	DetectExternalIP bool
	// StopAtUnrecognised ends the search at the first hop that can't be
	// recognised; otherwise it goes on beneath it.
	StopAtUnrecognised bool

	// RejectOther refuses mail to Domains that does not come from the gateway.
	RejectOther bool
	// MinTLS is the least version that the gateway has to use; TLSNone allows
	// clear text.
	MinTLS TLSVersion

	// TLSCertificate is the common name that the gateway's client certificate
	// must have, or "".
	TLSCertificate string
	// RequireHeader matches the secret field that only our gateway account adds,
	// or is nil.
	RequireHeader *Expression

	// SpamHeader matches the field by which the gateway tags spam, or is nil.
	SpamHeader *Expression
	// SpamScore is the score from which on a message is spam; it is nil when any
	// match of SpamHeader is spam.
	SpamScore  *float64
	SpamAction SpamAction
	// GatewayOnly leaves the local spam filter out for this gateway's mail.
	GatewayOnly bool

	// DMARC is set where this gateway's mail is to be treated otherwise than other
	// mail: a gateway that changes messages breaks signatures.
	DMARC *DMARCMode
}

// knownByAddress says whether the connection alone shows that mail is the gateway's.
func (g *Gateway) knownByAddress() bool { return g.TLSCertificate == "" && g.RequireHeader == nil }

// AsksLookup says whether the mail server has anything to ask for.
func (s *Settings) AsksLookup() bool { return s.Outbound.AsksLookup() || s.ChoosesMilters() }

// ChoosesMilters says whether some clients' mail passes other milters than all other mail.
func (s *Settings) ChoosesMilters() bool {
	return slices.ContainsFunc(s.Gateways, func(g Gateway) bool { return g.GatewayOnly && g.knownByAddress() })
}

// A DMARCMode says what follows from a DMARC result.
type DMARCMode uint8

// DMARC is not asked at all, or only reported, or what the author's domain asks for
// is done.
const (
	DMARCOff DMARCMode = iota
	DMARCReport
	DMARCEnforce
)

// A SpamAction is what happens to a message that the gateway tagged as spam.
type SpamAction uint8

// The actions for spam: mark it for the user's filter, put it into the mail
// server's hold queue, refuse it, or drop it.
const (
	SpamTag SpamAction = iota
	SpamQuarantine
	SpamReject
	SpamDiscard
)

// nonPublic are the networks that can't be a mail server on the internet. The
// documentation networks are left out on purpose: examples and tests use them.
var nonPublic = []struct {
	prefix netip.Prefix
	kind   string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "unspecified"},
	{netip.MustParsePrefix("10.0.0.0/8"), "private"},
	{netip.MustParsePrefix("100.64.0.0/10"), "carrier-grade NAT"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local"},
	{netip.MustParsePrefix("172.16.0.0/12"), "private"},
	{netip.MustParsePrefix("192.168.0.0/16"), "private"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved"},
	{netip.MustParsePrefix("::/128"), "unspecified"},
	{netip.MustParsePrefix("::1/128"), "loopback"},
	{netip.MustParsePrefix("fc00::/7"), "unique local"},
	{netip.MustParsePrefix("fe80::/10"), "link-local"},
	{netip.MustParsePrefix("fec0::/10"), "site-local"},
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
}

// nonPublicKind names the kind of network that ip belongs to, or is "" for a
// public address.
func nonPublicKind(ip netip.Addr) string {
	for i := range nonPublic {
		if nonPublic[i].prefix.Contains(ip) {
			return nonPublic[i].kind
		}
	}
	return ""
}

// CheckPublic returns an error unless every address of p is public: a gateway's
// own addresses are, or the connection would not come from the internet.
func CheckPublic(p netip.Prefix) error {
	for _, n := range nonPublic {
		switch {
		case !p.Overlaps(n.prefix):
		case p.Bits() >= n.prefix.Bits():
			return fmt.Errorf("%q is not public: it is %s (%s)", trimHostBits(p), n.kind, n.prefix)
		default:
			return fmt.Errorf("%q is too wide: it holds %s (%s)", trimHostBits(p), n.prefix, n.kind)
		}
	}
	return nil
}

// trimHostBits writes a prefix of one address as that address.
func trimHostBits(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// Domain returns the domain of an address in the form in which domains are
// compared: lower case, A-labels, no dot at the end. It is "" where the address
// has no domain.
func Domain(address string) string {
	at := strings.LastIndexByte(address, '@')
	if at < 0 {
		return ""
	}
	return CanonicalDomain(address[at+1:])
}

// isPlain says whether everybody reads the address in the same way: one @, with a
// host name behind it and nothing in front of it that routes mail elsewhere
// (RFC 5321, appendix C and D.3: source routes, "%" and "!") or is quoted.
func isPlain(address string) bool {
	local, domain, ok := strings.Cut(address, "@")
	return ok && local != "" && domain != "" &&
		!strings.ContainsFunc(local, func(r rune) bool { return r <= ' ' || strings.ContainsRune("\"%!@\\()<>[],;:\x7f", r) }) &&
		!strings.ContainsFunc(domain, func(r rune) bool {
			return r < 0x80 && r != '.' && r != '-' && (r < '0' || r > '9') && (r|0x20 < 'a' || r|0x20 > 'z')
		})
}

// maxDomain is how long a name may be whose A-labels are looked for, which takes more
// than linear time: 253 characters (RFC 1035, section 2.3.4), at most of 4 octets.
const maxDomain = 253 * 4

// CanonicalDomain returns the form in which domains are compared: lower case,
// A-labels, no dot at the end. A name that has no A-label form stays as it is
// but for the case of its letters; it then equals no configured domain.
func CanonicalDomain(domain string) string {
	domain = strings.TrimSuffix(domain, ".")
	if isASCII(domain) || len(domain) > maxDomain {
		return strings.ToLower(domain)
	}
	if a, err := idna.Lookup.ToASCII(domain); err == nil {
		return strings.TrimSuffix(a, ".") // which may have been an ideographic one
	}
	return strings.ToLower(domain)
}

// UnicodeDomain returns a canonical domain with the letters that its A-labels stand for, if
// it has any.
func UnicodeDomain(domain string) string {
	if u, err := idna.Lookup.ToUnicode(domain); err == nil && CanonicalDomain(u) == domain {
		return u
	}
	return domain
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// IsDomain tells whether a canonical name can be a name of the DNS to which mail
// goes: letters, digits, hyphens and underscores.
func IsDomain(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, isForeign) {
			return false
		}
	}
	return true
}

func isForeign(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
}
