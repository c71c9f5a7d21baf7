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

// A Server says where the daemon listens.
type Server struct {
	// Milter holds at least one address, none twice.
	Milter []Listener
	// Lookup holds at least one address too, none of them also in Milter. Nobody
	// listens there unless [policy.Outbound.AsksLookup].
	Lookup []Listener
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
		Milter:      f.listeners("milter"),
		Lookup:      f.listeners("lookup"),
		SocketGroup: f.account("socket_group", "group"),
		SocketMode:  f.socketMode("socket_mode"),
		MTAUser:     f.account("mta_user", "user"),
		AuthservID:  f.authservID("authserv_id"),
	}
	for _, l := range s.Lookup {
		if slices.Contains(s.Milter, l) {
			f.problem("lookup", "%s is listed under milter too (line %d): they speak different protocols, so write another one", quote(l.String()), f.line("milter"))
		}
	}
	return s
}

// needsUnix refuses listeners of which none can tell who asks for logins.
func (f fields) needsUnix(key string, listeners []Listener) {
	if !slices.ContainsFunc(listeners, func(l Listener) bool { return l.Network == "unix" }) {
		f.problem(key, "there is no unix socket, and only there the logins of users' own servers are told: add unix:PATH in the mail server's queue directory")
	}
}

func (f fields) mode() policy.Mode {
	return map[string]policy.Mode{"enforce": policy.Enforce, "observe": policy.Observe}[f.choice("mode")]
}

func (f fields) log() Log {
	return Log{Target: f.choice("target"), Format: f.choice("format"), Level: f.choice("level")}
}

func (f fields) listeners(key string) []Listener {
	var listeners []Listener
	for _, item := range f.list(key) {
		l, err := parseListener(item)
		switch {
		case err != nil:
			f.problem(key, "%s", err)
		case slices.Contains(listeners, l):
			f.problem(key, "%s is listed twice: remove one of them", quote(item))
		default:
			listeners = append(listeners, l)
			f.doubtListener(key, l)
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
	if at.Port() == 0 {
		f.doubt(key, "%s has port 0: the system chooses another port at every start, which suits only tests", l)
	}
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
