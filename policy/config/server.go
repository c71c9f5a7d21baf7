package config

import (
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gatemilter/policy"
)

// SendsSNI says whether the mail server asks hosts for their name in the handshake: Postfix is told
// to, Sendmail, which delivers as root, can't.
func (s Server) SendsSNI() bool { return !s.IsSendmail() }

// IsSendmail says whether the mail server is one that delivers as root: Sendmail does, Postfix doesn't.
func (s Server) IsSendmail() bool { return s.MTAUser == "root" }

// DefaultMTAUser is the user of Postfix.
const DefaultMTAUser = "postfix"

// A Server says where the daemon listens.
type Server struct {
	// Milter holds at least one address, none twice.
	Milter []Listener
	// Lookup holds at least one address too, none of them also in Milter. Nobody
	// listens there unless [policy.Settings.AsksLookup].
	Lookup []Listener
	// GatewayMilters are the milters for mail of gateways that alone evaluate spam, as
	// Postfix writes them: gatemilter is one of them.
	GatewayMilters string
	// Admin holds where the admin pages are served, mostly nowhere. None is also in
	// Milter or Lookup.
	Admin []Listener
	// SocketGroup is the name or number of the group of unix sockets, or "" for
	// the one that the system gives them. SocketMode holds their permissions, at most 0775.
	SocketGroup string
	SocketMode  fs.FileMode
	// MTAUser is the name of the user that the mail server runs as.
	MTAUser string
	// AuthservID is a host name, or "" for that of this host.
	AuthservID string
}

// A Listener is an address as [net.Listen] takes it.
type Listener struct {
	// Network is "unix" or "tcp".
	Network string
	// Address is an absolute path, or an IP address with port.
	Address string
}

// String writes a listener as in the configuration.
func (l Listener) String() string {
	if l.Network == "tcp" {
		return "inet:" + l.Address
	}
	return l.Network + ":" + l.Address
}

// A Log says what is logged, and how.
type Log struct {
	// Target is journal, stderr, or "": the journal if stderr leads there anyway.
	Target string
	// Format of stderr is console or json.
	Format string
	// Level is debug, info, warn or error.
	Level string
}

func (f fields) server() Server {
	s := Server{
		Milter:      f.listeners("milter", parseListener, f.doubtListener),
		Lookup:      f.listeners("lookup", parseListener, f.doubtListener),
		Admin:       f.listeners("admin", parseAdmin, f.doubtAdmin),
		SocketGroup: f.account("socket_group", "group"),
		SocketMode:  f.socketMode("socket_mode"),
		MTAUser:     f.account("mta_user", "user"),
		AuthservID:  f.authservID("authserv_id"),
	}
	s.GatewayMilters = f.gatewayMilters(s.Milter)
	f.apart("lookup", s.Lookup, "milter", s.Milter)
	f.apart("admin", s.Admin, "milter", s.Milter)
	f.apart("admin", s.Admin, "lookup", s.Lookup)
	return s
}

// apart refuses listeners that another key lists too.
func (f fields) apart(key string, listeners []Listener, other string, taken []Listener) {
	for _, l := range listeners {
		if slices.Contains(taken, l) {
			f.problem(key, "%s is listed under %s too (line %d): they speak different protocols, so write another one", quote(l.String()), other, f.line(other))
		}
	}
}

// postfixQueue is Postfix's queue directory, within which it names unix sockets relatively.
const postfixQueue = "/var/spool/postfix/"

// FailSafe is an element of Postfix's smtpd_milters: a milter without which no mail is
// taken, whatever milter_default_action says of others.
func FailSafe(milter string) string { return "{ " + milter + ", default_action=tempfail }" }

// asMilter writes a listener as in Postfix's smtpd_milters.
func asMilter(l Listener) string {
	if path, ok := strings.CutPrefix(l.Address, postfixQueue); ok {
		return "unix:" + path
	}
	return l.String()
}

// gatewayMilters reads a list of milters that replaces Postfix's own: without gatemilter
// among them, no rule would hold.
func (f fields) gatewayMilters(own []Listener) string {
	items := f.list(gatewayMiltersKey)
	if len(items) == 0 {
		if len(own) == 0 {
			return "" // which has its problem already
		}
		return FailSafe(asMilter(own[0]))
	}
	found := false
	for i, item := range items {
		network, address, _ := strings.Cut(item, ":")
		if address == "" || network != "unix" && network != "inet" || strings.ContainsAny(item, " \t{}$") {
			f.problem(gatewayMiltersKey, "%s is no milter as Postfix writes it: %s", quote(item), hintFor(item, "write unix:PATH, relative to the queue directory, or inet:HOST:PORT"))
		}
		if slices.ContainsFunc(own, func(l Listener) bool {
			return l.String() == item || l.Network == "unix" && strings.HasSuffix(l.Address, "/"+address)
		}) {
			found, items[i] = true, FailSafe(item)
		}
	}
	if !found {
		f.problem(gatewayMiltersKey, "gatemilter itself is not among them, so none of its rules would hold: write %s first", literally(f.ownMilter(own)))
	}
	return strings.Join(items, ", ")
}

func (f fields) ownMilter(own []Listener) string {
	if len(own) == 0 {
		return "unix:gatemilter/milter.sock"
	}
	return asMilter(own[0])
}

// needsUnix refuses listeners of which none can tell who asks for logins.
func (f fields) needsUnix(key string, listeners []Listener) {
	if !slices.ContainsFunc(listeners, func(l Listener) bool { return l.Network == "unix" }) {
		f.problem(key, "there is no unix socket, and only there the logins of users' own servers are told: add unix:PATH, for Postfix in its queue directory")
	}
}

func (f fields) mode() policy.Mode {
	return map[string]policy.Mode{"enforce": policy.Enforce, "observe": policy.Observe}[f.choice("mode")]
}

func (f fields) log() Log {
	return Log{Target: f.choice("target"), Format: f.choice("format"), Level: f.choice("level")}
}

func (f fields) listeners(key string, parse func(string) (Listener, error), doubt func(string, Listener)) []Listener {
	var listeners []Listener
	for _, item := range f.list(key) {
		l, err := parse(item)
		switch {
		case err != nil:
			f.problem(key, "%s", err)
		case slices.Contains(listeners, l):
			f.problem(key, "%s is listed twice: remove one of them", quote(item))
		default:
			listeners = append(listeners, l)
			doubt(key, l)
		}
	}
	return listeners
}

// doubtListener warns of addresses at which strangers could speak milter: the
// protocol knows no login.
func (f fields) doubtListener(key string, l Listener) {
	at, err := netip.ParseAddrPort(l.Address)
	if err != nil {
		return
	}
	if ip := at.Addr(); ip.IsUnspecified() || !ip.IsPrivate() && !ip.IsLoopback() && !ip.IsLinkLocalUnicast() {
		f.doubt(key, "%s can be reached by others: let a firewall admit your mail servers only, for milter has no login", l)
	}
	f.doubtPort(key, l, at)
}

func (f fields) doubtPort(key string, l Listener, at netip.AddrPort) {
	if at.Port() == 0 {
		f.doubt(key, "%s has port 0: the system chooses another port at every start, which suits only tests", l)
	}
}

// doubtAdmin warns of all addresses but this host's own: who reads the pages learns who
// writes to whom.
func (f fields) doubtAdmin(key string, l Listener) {
	at, err := netip.ParseAddrPort(l.Address)
	if err != nil {
		return
	}
	if !at.Addr().IsLoopback() {
		f.doubt(key, "%s can be reached by others: let a firewall admit your monitoring only, for the pages have no login", l)
	}
	f.doubtPort(key, l, at)
}

// maxSocketPath is how long the path of a unix socket may be (unix(7)), in octets.
const maxSocketPath = 107

func parseListener(s string) (Listener, error) {
	network, address, _ := strings.Cut(s, ":")
	switch network {
	case "unix":
		return parseUnix(address)
	case "inet":
		return parseInet(address)
	}
	return Listener{}, fmt.Errorf("%s is no listener: %s", quote(s), listenerHint(s))
}

// parseAdmin reads a listener that may be written as a browser's address bar has it,
// ADDRESS:PORT.
func parseAdmin(s string) (Listener, error) {
	if host, _, err := net.SplitHostPort(s); err == nil && host != "unix" && host != "local" {
		return parseInet(s)
	}
	return parseListener(s)
}

// listenerHint writes what somebody may have meant in our way.
func listenerHint(s string) string {
	meant := "inet:" + s
	if path := strings.TrimPrefix(s, "local:"); strings.HasPrefix(path, "/") {
		meant = "unix:" + path
	} else if address, ok := strings.CutPrefix(s, "inet6:"); ok {
		meant = "inet:" + address
	}
	if l, err := parseListener(meant); err == nil {
		return "write " + literally(l.String())
	}
	return hintFor(s, "write unix:PATH or inet:ADDRESS:PORT")
}

func parseUnix(path string) (Listener, error) {
	switch {
	case !filepath.IsAbs(path):
		return Listener{}, fmt.Errorf("%s is no absolute path: begin it with /, as in unix:/run/gatemilter/milter.sock", quote(path))
	case strings.ContainsAny(path, " \t,${}"):
		return Listener{}, fmt.Errorf("%s has a blank, comma, $ or brace in it, which Postfix's settings can't hold: choose another path", quote(path))
	case filepath.Clean(path) != path:
		return Listener{}, fmt.Errorf("%s is not written plainly: write %s", quote(path), quote(filepath.Clean(path)))
	case path == "/":
		return Listener{}, fmt.Errorf("%s is a directory: name a socket in it", quote(path))
	case len(path) > maxSocketPath:
		return Listener{}, fmt.Errorf("%s has %d octets: the path of a socket may have %d, so choose a shorter one", quote(path), len(path), maxSocketPath)
	}
	return Listener{"unix", path}, nil
}

func parseInet(s string) (Listener, error) {
	if port, host, ok := strings.Cut(s, "@"); ok {
		return Listener{}, fmt.Errorf("%s has the port first: %s", quote(s), inetHint(host, port))
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return Listener{}, fmt.Errorf("%s is not ADDRESS:PORT: %s", quote(s), inetHint("", s))
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return Listener{}, fmt.Errorf("%s has no IP address before the port: %s", quote(s), inetHint(host, port))
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return Listener{}, fmt.Errorf("%s has no good port: write a number up to 65535", quote(s))
	}
	return Listener{"tcp", netip.AddrPortFrom(ip.Unmap(), uint16(number)).String()}, nil
}

// inetHint puts together what somebody may have meant. No host means this one.
func inetHint(host, port string) string {
	if host == "" || strings.EqualFold(host, "localhost") {
		host = "127.0.0.1"
	}
	at, err := netip.ParseAddrPort(net.JoinHostPort(strings.Trim(host, "[]"), port))
	if err != nil {
		return "write an IP address and a port, as in inet:127.0.0.1:9624 or inet:[::1]:9624"
	}
	return "write " + Listener{"tcp", at.String()}.String()
}

// group reads the name or number of a group; whether there is such a group is
// known only where the daemon runs.
// account reads the name of a group or user of this host.
func (f fields) account(key, kind string) string {
	name := f.text(key)
	if name != "" && (!isName(name) || name[0] == '-') {
		f.problem(key, "%s is no name of a %s: %s", quote(name), kind, hintFor(name, fmt.Sprintf("write one %s, as in /etc/%s", kind, map[string]string{"group": "group", "user": "passwd"}[kind])))
	}
	return name
}

func (f fields) socketMode(key string) fs.FileMode {
	text := f.text(key)
	bits, err := strconv.ParseUint(text, 8, 32)
	mode := fs.FileMode(bits)
	switch {
	case err != nil || len(text) < 3:
		f.problem(key, "%s is no octal mode: %s", quote(text), hintFor(text, "write three octal digits after a 0, as in 0660"))
	case bits > 0o777:
		f.problem(key, "%s has more than permissions in it: write at most 0770", quote(text))
	case mode&0o002 != 0:
		f.problem(key, "%s lets every user of this host speak to the milter: write 0660 and set socket_group", quote(text))
	case mode&0o600 != 0o600:
		f.problem(key, "%s keeps the socket's own user out: write 0600 or 0660", quote(text))
	}
	return mode
}
