// Package sendmail wires gatemilter into a Sendmail: it writes the m4 file that its
// configuration includes, and names and reads what that file's rules ask for.
//
// # How Sendmail is told
//
// Sendmail asks over socketmaps (doc/op/op.me, "K"), from the rules in sendmail.cf. Each name
// of a map is that of a table:
//
//	gmown    <LOGIN>;<SENDER>           the way by a user's own server
//	gmto     <RECIPIENT>                the way of a recipient rule
//	gmroute  QUEUE-ID;<SENDER>          the way by sender, where the mail would leave this host
//	gmsame   <LOGIN>;<SENDER>;<SENDER>  whether mail of both senders takes the same way
//	gmtls    route:PORT;ADDRESS;TLS;FINGERPRINT;<HOSTS>;<HOST>   whether a connection is as demanded
//	gmtls    user:PORT;ADDRESS;TLS;FINGERPRINT;<HOSTS>;<LOGIN>
//	gmlogin  user:PORT;ADDRESS;<HOSTS>;<LOGIN>;<SENDER>          the login there
//
// Sendmail cuts a question at 256 octets, so each says only what it has to. A way is a
// mailer and its hosts, "gatemilter-587:[a.example]:[b.example]". Sendmail takes the
// port from the mailer, so there is one for each port in use, and others for users' own
// servers. HOSTS are those of the way, as they were answered; HOST is the MX host that is
// connected, where HOSTS are domains. (Else it does not count: Sendmail has the name to which
// an alias in the DNS leads.) FINGERPRINT are the first 16 octets of the certificate's SHA-256
// digest. Letters may come in lower case, and logins are xtext.
//
// # What the rules see to
//
// A table that has no answer, or is not there, defers the mail: Sendmail's own default is to go
// on without TLS policy or login, or by the smart host. The login with which a message came is
// kept in its queue file ($={persistentMacros}), and no other login counts for it. The way is asked
// for when the recipients are read. Where the sender changes after that, as by an alias with an
// owner, gmsame is asked before anything is sent. One connection carries one message (m=1), and
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
	TableTo    = "gmto"
	TableRoute = "gmroute"
	TableSame  = "gmsame"
	TableTLS   = "gmtls"
	TableLogin = "gmlogin"
)

// Fine is what TableTLS has for a connection that is as demanded, Refused begins what it has for
// any other; the reason follows. Fine and Other are what TableSame has.
const (
	Fine    = "ok"
	Refused = "no "
	Other   = "other"
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
	way := ""
	for _, h := range hosts {
		way += ":" + host(h.Name, r.MXLookup)
	}
	if len(way)-1 > maxHosts {
		return "", fmt.Errorf("route %s %w", r.Name, hostsError(len(way)-1))
	}
	return Mailer(port, false) + way, nil
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

// A hostsError is how long the names of a route's hosts are together.
type hostsError int

func (e hostsError) Error() string {
	return fmt.Sprintf("has hosts whose names have %d octets together, and Sendmail can't ask about more than %d", int(e), maxHosts)
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
	Addr netip.Addr
	// Hosts are those of the way that was chosen. Where these are domains, MXHost is the
	// name of the one that is connected.
	Hosts  []Host
	MXHost string
	// TLS is the version in Sendmail's words, "" in clear. Fingerprint is that of the host's
	// certificate, as [Fingerprint] writes it.
	TLS         string
	Fingerprint string
	// Login is of the client from which the message came. It is known, as Sender is, the
	// envelope sender, where the host is a user's own server; the latter for TableLogin only.
	Login, Sender string
}

// shownOctets is how much of a fingerprint Sendmail tells: what makes a second certificate with the
// same ones infeasible, and leaves room in a question.
const shownOctets = 16

// Fingerprint is as much of a certificate's fingerprint as Sendmail tells, in lower-case hexadecimal.
func Fingerprint(sha256 string) string {
	whole := fingerprint(sha256)
	return whole[:min(len(whole), 2*shownOctets)]
}

func fingerprint(s string) string { return strings.ToLower(strings.ReplaceAll(s, ":", "")) }

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

// maxQuestion is where Sendmail cuts a question, and maxHosts how long the hosts of a way may
// be together, so that it doesn't have to: beside them stand at most 115 octets.
const (
	maxQuestion = 256
	maxHosts    = 140
)

// malformed says that a question is none that the rules ask.
func malformed(key string) error {
	if len(key) >= maxQuestion-1 {
		return fmt.Errorf("question %.100q… is too long for Sendmail, which cuts it: shorten the addresses, logins or names of hosts in it", key)
	}
	return fmt.Errorf("malformed question %.200q; run gatemilter mta-setup sendmail --apply, and sendmailconfig", key)
}

// ParseConnection reads a question for TableTLS.
func ParseConnection(key string) (Connection, error) {
	parts := strings.SplitN(key, ";", 5)
	if len(parts) != 5 {
		return Connection{}, malformed(key)
	}
	c, err := parseConnected(key, parts[0], parts[1])
	quoted, ok := cutQuoted(parts[4], 2)
	if err != nil || !ok {
		return Connection{}, malformed(key)
	}
	c.TLS, c.Fingerprint, c.Hosts = parts[2], fingerprint(parts[3]), hostsOf(quoted[0])
	if strings.EqualFold(c.TLS, "none") {
		c.TLS = ""
	}
	if c.User {
		c.Login = policy.DecodeXtext(quoted[1])
	} else {
		c.MXHost = bare(quoted[1])
	}
	return c, nil
}

// ParseLogin reads a question for TableLogin.
func ParseLogin(key string) (Connection, error) {
	parts := strings.SplitN(key, ";", 3)
	if len(parts) != 3 {
		return Connection{}, malformed(key)
	}
	c, err := parseConnected(key, parts[0], parts[1])
	quoted, ok := cutQuoted(parts[2], 3)
	if err != nil || !ok || !c.User {
		return Connection{}, malformed(key)
	}
	c.Hosts, c.Login, c.Sender = hostsOf(quoted[0]), policy.DecodeXtext(quoted[1]), quoted[2]
	return c, nil
}

// parseConnected reads where a connection leads, the beginning of a question.
func parseConnected(key, way, addr string) (Connection, error) {
	kind, port, _ := strings.Cut(way, ":")
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || kind != "user" && kind != "route" {
		return Connection{}, malformed(key)
	}
	ip, err := netip.ParseAddr(bare(addr))
	if err != nil {
		return Connection{}, malformed(key)
	}
	return Connection{User: kind == "user", Port: uint16(number), Addr: ip.Unmap()}, nil
}

func hostsOf(list string) (hosts []Host) {
	for h := range splitHosts(list) {
		hosts = append(hosts, Host{bare(h), !strings.HasPrefix(h, "[")})
	}
	return hosts
}

// ParseOwn reads a question for TableOwn.
func ParseOwn(key string) (login, sender string, err error) {
	quoted, ok := cutQuoted(key, 2)
	if !ok {
		return "", "", malformed(key)
	}
	return policy.DecodeXtext(quoted[0]), quoted[1], nil
}

// ParseTo reads a question for TableTo.
func ParseTo(key string) (recipient string, err error) {
	quoted, ok := cutQuoted(key, 1)
	if !ok {
		return "", malformed(key)
	}
	return quoted[0], nil
}

// ParseRoute reads a question for TableRoute.
func ParseRoute(key string) (queueID, sender string, err error) {
	queueID, rest, _ := strings.Cut(key, ";")
	quoted, ok := cutQuoted(rest, 1)
	if !ok {
		return "", "", malformed(key)
	}
	return queueID, quoted[0], nil
}

// ParseSame reads a question for TableSame: whether mail takes the same way now as that of the
// sender before.
func ParseSame(key string) (login, before, now string, err error) {
	quoted, ok := cutQuoted(key, 3)
	if !ok {
		return "", "", "", malformed(key)
	}
	return policy.DecodeXtext(quoted[0]), quoted[1], quoted[2], nil
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
		case r < ' ' || r > '~' || strings.ContainsRune("()<>[]{}$\\;|%", r):
			return ' '
		}
		return r
	}, reason), func(r rune) bool { return r == ' ' }), " ")
}
