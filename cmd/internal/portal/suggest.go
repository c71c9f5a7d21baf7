package portal

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"gatemilter/milter/tlsprobe"
	"gatemilter/policy"
)

// A suggestion is a server that an address may belong to.
type suggestion struct {
	Host string
	Port uint16
	TLS  policy.UserTLS
	// Source says who says so, and Hint what else is to be known: keys of texts, or "".
	Source, Hint string
}

// A provider is one whose servers are known well. The hint tells what its users stumble over.
type provider struct {
	host     string
	port     uint16
	hint     string
	domains  []string
	moreHost string // another name of the server, where hints are wanted too
}

const (
	appPassword = "hint.appPassword" // a password made for programs is needed
	switchOn    = "hint.switchOn"    // access by programs has to be switched on
	noPasswords = "hint.noPasswords" // no passwords are taken at all
)

// providers are the well-known ones of the languages that are spoken here.
var providers = []provider{
	{host: "smtp.gmail.com", port: 465, hint: appPassword, domains: []string{"gmail.com", "googlemail.com"}},
	{host: "smtp.mail.me.com", port: 587, hint: appPassword, domains: []string{"icloud.com", "me.com", "mac.com"}},
	{host: "smtp.mail.yahoo.com", port: 465, hint: appPassword, domains: []string{"yahoo.com", "yahoo.de", "yahoo.it", "yahoo.pl", "yahoo.co.uk", "ymail.com", "rocketmail.com"}},
	{host: "smtp.aol.com", port: 465, hint: appPassword, domains: []string{"aol.com", "aol.de", "aol.it"}},
	{host: "smtp-mail.outlook.com", port: 587, hint: noPasswords, moreHost: "smtp.office365.com", domains: []string{"outlook.com", "outlook.de", "outlook.it", "hotmail.com", "hotmail.de", "hotmail.it", "live.com", "live.de", "live.it", "msn.com"}},
	{host: "smtp.fastmail.com", port: 465, hint: appPassword, domains: []string{"fastmail.com", "fastmail.fm"}},
	{host: "smtp.zoho.com", port: 465, hint: appPassword, domains: []string{"zoho.com", "zohomail.com"}},
	{host: "mail.gmx.net", port: 465, hint: switchOn, domains: []string{"gmx.de", "gmx.net", "gmx.at", "gmx.ch"}},
	{host: "mail.gmx.com", port: 465, hint: switchOn, domains: []string{"gmx.com"}},
	{host: "smtp.web.de", port: 587, hint: switchOn, domains: []string{"web.de"}},
	{host: "securesmtp.t-online.de", port: 465, hint: appPassword, domains: []string{"t-online.de", "magenta.de"}},
	{host: "mx.freenet.de", port: 465, domains: []string{"freenet.de"}},
	{host: "posteo.de", port: 465, domains: []string{"posteo.de", "posteo.net", "posteo.org"}},
	{host: "smtp.mailbox.org", port: 465, domains: []string{"mailbox.org"}},
	{host: "smtp.libero.it", port: 465, hint: switchOn, domains: []string{"libero.it", "inwind.it", "iol.it", "blu.it"}},
	{host: "out.virgilio.it", port: 465, hint: switchOn, domains: []string{"virgilio.it"}},
	{host: "smtp.tiscali.it", port: 465, domains: []string{"tiscali.it"}},
	{host: "smtps.pec.aruba.it", port: 465, domains: []string{"pec.it", "arubapec.it"}},
	{host: "smtp.wp.pl", port: 465, hint: switchOn, domains: []string{"wp.pl"}},
	{host: "poczta.o2.pl", port: 465, hint: switchOn, domains: []string{"o2.pl", "tlen.pl", "go2.pl"}},
	{host: "smtp.poczta.onet.pl", port: 465, hint: switchOn, domains: []string{"onet.pl", "onet.eu", "op.pl", "vp.pl", "poczta.onet.pl", "autograf.pl"}},
	{host: "poczta.interia.pl", port: 465, hint: switchOn, domains: []string{"interia.pl", "interia.eu", "poczta.fm", "intmail.pl"}},
}

// hintOf is what users of a server stumble over, or "".
func hintOf(host string) string {
	for _, p := range providers {
		if host == p.host || host == p.moreHost {
			return p.hint
		}
	}
	return ""
}

// suggestTimeout bounds the search for a server: the user waits for the page.
const suggestTimeout = 3 * time.Second

// suggest looks for the server of an address: by what the domain itself says (RFC 6186, RFC
// 8314), by what is known of large providers, and by the names that servers commonly have.
func (v *visit) suggest(address string) suggestion {
	domain := policy.Domain(address)
	if s, ok := v.wellKnown(domain); ok {
		return s
	}
	wait := try(attempt{v.limits.lookAccount, v.session.login})
	if wait > 0 || !v.limits.suggestions.enter(v.r.Context()) {
		return suggestion{}
	}
	defer v.limits.suggestions.leave()
	ctx, cancel := context.WithTimeout(v.r.Context(), suggestTimeout)
	defer cancel()
	if s, ok := v.bySRV(ctx, domain); ok {
		return s
	}
	return v.byName(ctx, domain)
}

func (v *visit) wellKnown(domain string) (suggestion, bool) {
	for _, p := range providers {
		if slices.Contains(p.domains, domain) {
			s := suggestion{Host: p.host, Port: p.port, TLS: usualTLS(p.port), Source: "suggest.known", Hint: p.hint}
			return s, v.hasPort(s.Port)
		}
	}
	return suggestion{}, false
}

// usualTLS is how TLS begins at a port of its own.
func usualTLS(port uint16) policy.UserTLS {
	if port == policy.PortSubmissions {
		return policy.ImplicitTLS
	}
	return policy.STARTTLS
}

// bySRV asks for both services at once. TLS from the start is better (RFC 8314, section 3.3).
func (v *visit) bySRV(ctx context.Context, domain string) (suggestion, bool) {
	services := []struct {
		name string
		tls  policy.UserTLS
	}{{"submissions", policy.ImplicitTLS}, {"submission", policy.STARTTLS}}
	var answers [2][]*net.SRV
	var group sync.WaitGroup
	for i, s := range services {
		group.Go(func() { answers[i], _ = v.LookupSRV(ctx, s.name, "tcp", domain) })
	}
	group.Wait()
	for i, s := range services {
		for _, record := range answers[i][:min(len(answers[i]), maxSRV)] {
			host, err := parseHost(strings.TrimSuffix(record.Target, ".")) // "." is no service
			if err == nil && s.tls.TakesPort(record.Port) && v.hasPort(record.Port) && v.isPublic(ctx, host) {
				return suggestion{Host: host, Port: record.Port, TLS: s.tls, Source: "suggest.srv", Hint: hintOf(host)}, true
			}
		}
	}
	return suggestion{}, false
}

// maxSRV is how many records of one service are looked at.
const maxSRV = 5

// byName tries the names that most providers use.
func (v *visit) byName(ctx context.Context, domain string) suggestion {
	for _, prefix := range []string{"smtp.", "mail."} {
		host, err := parseHost(prefix + domain)
		if err == nil && v.isPublic(ctx, host) {
			port := v.ports()[0]
			return suggestion{Host: host, Port: port, TLS: usualTLS(port), Source: "suggest.guess", Hint: hintOf(host)}
		}
	}
	return suggestion{}
}

// isPublic says whether a name leads to the public Internet. A suggestion must not tell which
// names there are inside.
func (v *visit) isPublic(ctx context.Context, host string) bool {
	found, err := v.Prober.Lookup(ctx, host)
	return err == nil && len(found) > 0 && !slices.ContainsFunc(found, func(ip netip.Addr) bool {
		return tlsprobe.CheckPublic(ip, v.Config.AllowedNetworks) != nil
	})
}

// defaultPorts are those of mail, the best first.
var defaultPorts = []uint16{policy.PortSubmissions, policy.PortSubmission, policy.PortSMTP}

// ports are those that a user's server may have, those of mail first.
func (s *Server) ports() []uint16 {
	if len(s.Config.Ports) == 0 {
		return defaultPorts
	}
	var list []uint16
	for _, port := range slices.Concat(defaultPorts, s.Config.Ports) {
		if slices.Contains(s.Config.Ports, port) && !slices.Contains(list, port) {
			list = append(list, port)
		}
	}
	return list
}

func (s *Server) hasPort(port uint16) bool { return slices.Contains(s.ports(), port) }
