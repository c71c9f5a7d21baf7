// Package sendmail wires gatemilter into a Sendmail: it writes the m4 file that its
// configuration includes, and names and reads what that file's rules ask for.
//
// # How Sendmail is told
//
// Sendmail asks over socketmaps (doc/op/op.me, "K"), from the rules in sendmail.cf. Each name
// of a map is that of a table:
//
//	gmown    <LOGIN>;<SENDER>;<RECIPIENT>   the way by a user's own server, or of a recipient rule
//	gmroute  <SENDER>;<RECIPIENT>           the way by sender, where the mail would leave this host
//	gmtls    CONNECTION                     whether a connection is as demanded
//	gmlogin  CONNECTION                     the login there
//
// A way is a mailer and its hosts, "gatemilter-587:[a.example]:[b.example]". Sendmail takes the
// port from the mailer, so there is one for each port in use, and a second one for users' own
// servers. A CONNECTION is all that Sendmail knows of it:
//
//	route:587;192.0.2.1;TLSv1.3;FINGERPRINT;<HOSTS>;<HOST>;<LOGIN>;<SENDER>
//
// Letters may come in lower case, and logins are xtext.
//
// # What the rules see to
//
// A table that has no answer, or is not there, defers the mail: Sendmail's own default is to go
// on without TLS policy or login, or by the smart host. The login with which a message came is
// kept in its queue file ($={persistentMacros}). One connection carries one message (m=1), and
// one process one job: else one sender's login would serve for another's mail. A connection on
// which no login took place carries no mail for a user's own server.
package sendmail

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"gatemilter/milter/tlsprobe"
	"gatemilter/policy"
)

// The tables that Sendmail asks.
const (
	TableOwn   = "gmown"
	TableRoute = "gmroute"
	TableTLS   = "gmtls"
	TableLogin = "gmlogin"
)

// Fine is what TableTLS has for a connection that is as demanded, Refused begins what it has for
// any other; the reason follows.
const (
	Fine    = "ok"
	Refused = "no "
)

// Mailer names the mailer for mail hosts with that port, or for users' own servers.
func Mailer(port uint16, user bool) string {
	kind := "-"
	if user {
		kind = "-user-"
	}
	return policy.Transport + kind + strconv.Itoa(int(port))
}

// UserWay is the way by a user's own server. There is none where that wants TLS from the
// start, which Sendmail can't do.
func UserWay(g *policy.UserGateway) (string, error) {
	if g.TLS == policy.ImplicitTLS {
		return "", fmt.Errorf("has %s, which wants TLS from the start, and Sendmail can't do that", g.Nexthop())
	}
	return Mailer(g.Port, true) + ":" + host(g.Host, false), nil
}

// RouteWay is the way along a route to some of its hosts, in this order. There is none where
// the hosts of the route don't have one port.
func RouteWay(r *policy.Route, hosts []policy.Host) (string, error) {
	port, err := Port(r)
	if err != nil {
		return "", err
	}
	way := Mailer(port, false)
	for _, h := range hosts {
		way += ":" + host(h.Name, r.MXLookup)
	}
	return way, nil
}

// Port is the port of all hosts of a route.
func Port(r *policy.Route) (uint16, error) {
	port := r.Primary[0].Port
	for _, table := range [][]policy.Host{r.Primary, r.Secondary} {
		for _, h := range table {
			if h.Port != port {
				return 0, fmt.Errorf("route %s %w", r.Name, portsError{port, h.Port})
			}
		}
	}
	return port, nil
}

// A portsError says which ports a route has.
type portsError [2]uint16

func (e portsError) Error() string {
	return fmt.Sprintf("has hosts with the ports %d and %d, of which Sendmail can try only one for a message", e[0], e[1])
}

// host writes a host: brackets keep Sendmail from looking for MX hosts.
func host(name string, mx bool) string {
	if mx {
		return name
	}
	if a, err := netip.ParseAddr(name); err == nil && a.Is6() {
		name = "IPv6:" + name
	}
	return "[" + name + "]"
}

// A Connection is one of Sendmail's to a host, to which it is about to give mail.
type Connection struct {
	User bool // the host is a user's own server, not one of a route
	Port uint16
	// Hosts are those of the way that was chosen, and Host is the name of the one that is
	// connected, by Addr.
	Hosts []Host
	Host  string
	Addr  netip.Addr
	// TLS is the version in Sendmail's words, "" in clear. Fingerprint is that of the host's
	// certificate, in the digest that Sendmail was told to use: lower-case hexadecimal.
	TLS         string
	Fingerprint string
	// Login is of the client from which the message came, "" if it had none. Sender is the
	// envelope sender.
	Login, Sender string
}

// Fingerprint writes a fingerprint in lower-case hexadecimal, without colons.
func Fingerprint(s string) string { return strings.ToLower(strings.ReplaceAll(s, ":", "")) }

// Login is the login at a user's own server, in the words of authinfo (cf/README).
func Login(g *policy.UserGateway) string {
	secret := base64.StdEncoding.EncodeToString([]byte(g.Password.Reveal()))
	name := base64.StdEncoding.EncodeToString([]byte(g.Username))
	return `"U=` + name + `" "I=` + name + `" "P=` + secret + `" "M:` + tlsprobe.LoginMechanisms() + `"`
}

// A Host is one of a way: if MX is set, a domain whose MX hosts are meant.
type Host struct {
	Name string
	MX   bool
}

// malformed says that a question is none that the rules ask.
func malformed(key string) error {
	return fmt.Errorf("malformed question %.200q; write the m4 file again by gatemilter mta-setup sendmail, and build sendmail.cf from it", key)
}

// ParseConnection reads a question for TableTLS or TableLogin.
func ParseConnection(key string) (Connection, error) {
	parts := strings.SplitN(key, ";", 5)
	if len(parts) != 5 {
		return Connection{}, malformed(key)
	}
	kind, port, _ := strings.Cut(parts[0], ":")
	number, err := strconv.ParseUint(port, 10, 16)
	quoted, ok := cutQuoted(parts[4], 4)
	if err != nil || !ok || kind != "user" && kind != "route" {
		return Connection{}, malformed(key)
	}
	addr, err := netip.ParseAddr(bare(parts[1]))
	if err != nil {
		return Connection{}, malformed(key)
	}
	c := Connection{
		User: kind == "user", Port: uint16(number),
		Addr: addr.Unmap(), TLS: parts[2], Fingerprint: Fingerprint(parts[3]),
		Host: bare(quoted[1]), Login: policy.DecodeXtext(quoted[2]), Sender: quoted[3],
	}
	if strings.EqualFold(c.TLS, "none") {
		c.TLS = ""
	}
	for h := range splitHosts(quoted[0]) {
		c.Hosts = append(c.Hosts, Host{bare(h), !strings.HasPrefix(h, "[")})
	}
	return c, nil
}

// ParseOwn reads a question for TableOwn.
func ParseOwn(key string) (login, sender, recipient string, err error) {
	quoted, ok := cutQuoted(key, 3)
	if !ok {
		return "", "", "", malformed(key)
	}
	return policy.DecodeXtext(quoted[0]), quoted[1], quoted[2], nil
}

// ParseRoute reads a question for TableRoute.
func ParseRoute(key string) (sender, recipient string, err error) {
	quoted, ok := cutQuoted(key, 2)
	if !ok {
		return "", "", malformed(key)
	}
	return quoted[0], quoted[1], nil
}

// cutQuoted reads n texts in angle brackets, with ";" between them. In an address, brackets can
// stand only in quotes.
func cutQuoted(s string, n int) (texts []string, ok bool) {
	for {
		end := bracket(s)
		if end < 0 {
			return nil, false
		}
		texts = append(texts, s[1:end])
		if s = s[end+1:]; s == "" {
			return texts, len(texts) == n
		}
		if s[0] != ';' || len(texts) == n {
			return nil, false
		}
		s = s[1:]
	}
}

// bracket returns where the bracket at the beginning of s is closed, or -1.
func bracket(s string) int {
	if s == "" || s[0] != '<' {
		return -1
	}
	quoted := false
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == '>' && !quoted:
			return i
		}
	}
	return -1
}

// splitHosts splits a list of hosts at colons, but not within brackets.
func splitHosts(list string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		depth, start := 0, 0
		for i := range len(list) + 1 {
			switch {
			case i == len(list) || list[i] == ':' && depth == 0:
				if i > start && !yield(list[start:i]) {
					return
				}
				start = i + 1
			case list[i] == '[':
				depth++
			case list[i] == ']':
				depth--
			}
		}
	}
}

// bare is a host without what Sendmail writes around it, in lower case.
func bare(host string) string {
	host = strings.ToLower(strings.TrimSuffix(strings.TrimSpace(host), "."))
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "ipv6:"), ".")
}

// Text makes a reason fit for a rule, in which some characters have a meaning.
func Text(reason string) string {
	return strings.Join(strings.FieldsFunc(strings.Map(func(r rune) rune {
		switch {
		case strings.ContainsRune(`"`, r):
			return '\''
		case r < ' ' || r > '~' || strings.ContainsRune("()<>[]{}$\\;|", r):
			return ' '
		}
		return r
	}, reason), func(r rune) bool { return r == ' ' }), " ")
}
