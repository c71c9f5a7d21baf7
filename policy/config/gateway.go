package config

import (
	"net/netip"
	"regexp"
	"strings"

	"gatemilter/policy"
)

// A gateway is a policy.Gateway and the section that it comes from.
type gateway struct {
	policy.Gateway
	fields
}

// served returns the domains as they are written: never none.
func (g *gateway) served() []string {
	if len(g.Domains) == 0 {
		return []string{allDomains}
	}
	return g.Domains
}

// gateway reads a gateway; auth is the section [authentication].
func (f fields) gateway(auth fields) *gateway {
	g := &gateway{fields: f, Gateway: policy.Gateway{
		Name:               f.sec.name,
		Addresses:          f.gatewayAddresses("addresses"),
		Domains:            f.domains("domains"),
		DetectExternalIP:   f.yes("detect_external_ip"),
		StopAtUnrecognised: f.choice("unrecognized_hop") == "stop",
		RejectOther:        f.yes("reject_other"),
		MinTLS:             f.minTLS(),
		TLSCertificate:     f.certificate("tls_certificate"),
		RequireHeader:      f.secretExpression("require_header"),
		SpamHeader:         f.expression("spam_header"),
		SpamScore:          f.score("spam_score"),
		SpamAction:         f.spamAction("spam_action"),
		GatewayOnly:        f.choice("spam_evaluation") == policy.GatewayOnly,
		DMARC:              f.gatewayDMARC("dmarc", auth),
	}}
	f.checkNeeds()
	g.checkScoring()
	if !g.DetectExternalIP && f.given("unrecognized_hop") {
		f.doubt("unrecognized_hop", "this has no effect with detect_external_ip = no (line %d): remove it", f.line("detect_external_ip"))
	}
	if g.RejectOther && len(g.Domains) == 0 {
		f.doubt("reject_other", "mail to a domain whose MX records lead elsewhere is refused, and with domains = %s nobody can tell here which domains these are: run gatemilter doctor DOMAIN for each, or list them in domains", allDomains)
	}
	return g
}

// Ranges wider than these are a cloud's rather than a gateway's.
const (
	minBits4 = 16
	minBits6 = 32
)

func (f fields) gatewayAddresses(key string) []netip.Prefix {
	prefixes := f.networks(key)
	identified := f.given("tls_certificate") || f.given("require_header")
	for _, p := range prefixes {
		if err := policy.CheckPublic(p); err != nil {
			f.problem(key, "%s; write the public addresses from which the gateway sends", err)
		} else if isWide(p) && !identified {
			f.doubt(key, "%q is wide: whoever can send from any address in it counts as this gateway, so list only its own hosts, or set tls_certificate or require_header", p)
		}
	}
	return f.distinct(key, prefixes)
}

func isWide(p netip.Prefix) bool {
	if p.Addr().Is4() {
		return p.Bits() < minBits4
	}
	return p.Bits() < minBits6
}

func (f fields) minTLS() policy.TLSVersion {
	required := f.yes("require_tls")
	least := f.choice("min_tls")
	if !required {
		return policy.TLSNone
	}
	if least == "" {
		return policy.TLSOther
	}
	// The schema lists only versions that policy knows.
	version, _ := policy.ParseTLSVersion(least)
	return version
}

// maxCertificateName is the length of a certificate's name in octets: that of a host
// name (RFC 1035, section 2.3.4).
const maxCertificateName = 255

// subjectName finds the common name in a whole subject, as openssl and log files
// write it.
var subjectName = regexp.MustCompile(`(?i)^(?:.*[/,+])?\s*CN\s*=\s*([^/,+]+)`)

func (f fields) certificate(key string) string {
	name := f.text(key)
	subject := subjectName.FindStringSubmatch(name)
	switch hint := hintFor(name, ""); {
	case len(name) > maxCertificateName:
		f.problem(key, "%s has %d octets: at most %d are allowed", quote(name), len(name), maxCertificateName)
	case hint != "":
		f.problem(key, "%s is no common name: %s", quote(name), hint)
	case name != "" && strings.Trim(name, ". ") == "":
		f.problem(key, "%s is no common name: write the name that the gateway's certificate bears, as in relay.example.net", quote(name))
	case subject != nil:
		f.problem(key, "%s is a whole subject: write the common name alone, %s", quote(name), literally(strings.TrimSpace(subject[1])))
	case strings.HasPrefix(name, "/"):
		f.problem(key, "%s is no common name: write the name alone, as in relay.example.net", quote(name))
	case strings.Contains(name, "*"):
		f.doubt(key, "wildcards are not understood: only a certificate with the very name %s would match, so write the name that the gateway's certificate bears", quote(name))
	}
	return name
}

// spamAction reads what happens to spam.
func (f fields) spamAction(key string) policy.SpamAction {
	return map[string]policy.SpamAction{
		"tag": policy.SpamTag, "quarantine": policy.SpamQuarantine, "reject": policy.SpamReject, "discard": policy.SpamDiscard,
	}[f.choice(key)]
}

func (f fields) score(key string) *float64 {
	if !f.given(key) {
		return nil
	}
	score, err := policy.ParseScore(f.text(key))
	if err != nil {
		f.problem(key, "%s: %s", err, hintFor(f.text(key), "write digits with at most one point or comma"))
	} else if score < 0 {
		f.doubt(key, "%s is below 0: a message with a score of 0 would be spam", quote(f.text(key)))
	}
	return &score
}

func (g *gateway) checkScoring() {
	if g.SpamScore == nil || g.SpamHeader == nil {
		return
	}
	if err := g.SpamHeader.CheckScoring(); err != nil {
		g.problem("spam_header", "%s (spam_score, line %d, needs one group)", err, g.line("spam_score"))
	} else if !catchesNumber(g.SpamHeader.String()) {
		g.problem("spam_header", "the group of %s can't catch a number, which spam_score (line %d) needs: put the number into it, as in (\\d+\\.?\\d*), or remove spam_score", quote(g.SpamHeader.String()), g.line("spam_score"))
	}
}
