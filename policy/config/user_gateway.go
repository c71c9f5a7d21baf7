package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"

	"gatemilter/policy"
)

// A userGateway is a policy.UserGateway and the section that it comes from.
type userGateway struct {
	policy.UserGateway
	// address is that for which it is, or "" if that has a problem.
	address string
	fields
}

// maxPassword is the length of the longest password, in octets.
const maxPassword = 1000

func (f fields) userGateway() *userGateway {
	g := &userGateway{fields: f}
	g.address, _ = parseAddress(f.sec.address)
	g.TLS = map[string]policy.UserTLS{"starttls": policy.STARTTLS, "implicit": policy.ImplicitTLS, "none": policy.NoTLS}[f.choice("tls")]
	g.server()
	g.Username = g.address
	if f.given("username") {
		g.Username = f.text("username")
	}
	switch {
	case len(g.Username) > maxLogin:
		f.problem("username", "the user name has %d octets, more than %d; correct it", len(g.Username), maxLogin)
	case strings.Contains(g.Username, ":"):
		f.problem("username", "%s has a colon in it, at which the mail server would end it: this server can't be used with that name", quote(g.Username))
	}
	g.readPassword()
	g.Slot = g.slot()
	if g.TLS == policy.NoTLS && f.given("tls") {
		f.doubt("tls", "whoever is on the way to %s can read the password and the mail: write starttls or implicit, if the server can do that", quote(f.text(serverKey)))
	}
	return g
}

// server reads HOST or HOST:PORT.
func (g *userGateway) server() {
	text := g.text(serverKey)
	if text == "" {
		return // the key has its problem already
	}
	name, port, hasPort := splitPort(text)
	var err error
	if g.Host, err = hostName(name); err != nil {
		g.problem(serverKey, "%s is no host: %s", quote(text), err)
		return
	}
	g.Port = g.TLS.DefaultPort()
	if !hasPort {
		return
	}
	number, err := strconv.ParseUint(port, 10, 16)
	g.Port = uint16(number)
	if err == nil && g.TLS.TakesPort(g.Port) {
		return
	}
	advice := "write 587 or 25, 465 with tls = implicit, or from 1024 to 65535"
	switch {
	case g.Port == policy.PortSubmissions:
		advice = "there, TLS is from the start; write tls = implicit, or another port"
	case g.TLS == policy.ImplicitTLS && policy.IsRoutePort(g.Port):
		advice = "there, TLS is not from the start; write tls = starttls, or port 465"
	}
	g.problem(serverKey, "%s has the port %s: %s", quote(text), quote(port), advice)
}

// slot reads the slot; a bad one reads as -1.
func (g *userGateway) slot() int {
	text := g.text(slotKey)
	n, err := strconv.ParseUint(text, 10, 8)
	if err != nil || n >= policy.MaxSlots {
		g.problem(slotKey, "%s is not a number between 0 and %d: %s", quote(text), policy.MaxSlots-1, hintFor(text, "write one in digits"))
		return -1
	}
	return int(n)
}

// readPassword reads the password that stands in the section. One in a file is read by
// readPasswords.
func (g *userGateway) readPassword() {
	path := g.text(passwordFileKey)
	switch inline, file := g.given(passwordKey), path != ""; {
	case inline && file:
		g.problem(passwordFileKey, "there is a password too (line %d): remove one of them", g.line(passwordKey))
	case !inline && !file && (g.has(passwordKey) || g.has(passwordFileKey) || g.misspelled(passwordKey) || g.misspelled(passwordFileKey)):
		// It has its problem already.
	case !inline && !file:
		g.fail(g.at(g.sec.line, passwordKey, "the password is missing: write password = … or password_file = … into this section"))
	case inline && len(g.text(passwordKey)) > maxPassword:
		g.problem(passwordKey, "the password has more than %d octets; correct it", maxPassword)
	case inline:
		g.Password = policy.NewSecret(g.text(passwordKey))
	case !filepath.IsAbs(path):
		g.problem(passwordFileKey, "%s is no absolute path: begin it with /, as in /etc/gatemilter/secrets/alice-partner", quote(path))
	}
}

// readPasswords reads those that stand in files of their own.
func readPasswords(gateways []*userGateway) {
	for _, g := range gateways {
		path := g.text(passwordFileKey)
		if !filepath.IsAbs(path) {
			continue // there is none, or it has its problem already
		}
		password, err := passwordIn(path)
		if err != nil {
			g.problem(passwordFileKey, "%s %s", quote(path), err)
			continue
		}
		g.Password = policy.NewSecret(password)
	}
}

// passwordIn reads a file whose only line is a password. The error doesn't name the path.
func passwordIn(path string) (string, error) {
	data, err := readFile(path)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", unreadable(err)
	}
	line := bytes.TrimSuffix(bytes.TrimSuffix(data, []byte("\n")), []byte("\r"))
	switch {
	case info.Mode()&0o004 != 0:
		return "", errors.New("can be read by every user of this host: run chmod o= on it")
	case len(line) == 0:
		return "", errors.New("is empty: write the password into it")
	case len(line) > maxPassword:
		return "", fmt.Errorf("has more than the %d octets of a password: write only the password into it", maxPassword)
	case !utf8.Valid(line):
		return "", errors.New("is not UTF-8 text, which is all that Postfix takes: save it as UTF-8, or choose another password")
	case bytes.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "", errors.New("has more than one line, or control characters: write only the password into it")
	}
	return string(line), nil
}

// compareUserGateways looks for servers that contradict each other, and for those that
// lead to this server itself.
func compareUserGateways(gateways []*userGateway, server Server) {
	first := make(map[string]*userGateway)
	for _, g := range gateways {
		if g.Host == "" || g.address == "" {
			continue // it has its problem already
		}
		checkOurselves(g.fields, serverKey, policy.Host{Name: g.Host, Port: g.Port}, server)
		nexthop := g.Nexthop()
		other, known := first[nexthop]
		switch {
		case !known:
			first[nexthop] = g
		case other.TLS != g.TLS:
			// The mail server asks for the demand by host and port only.
			g.problem(serverKey, "%s is in [%s] too (%s:%d), with tls = %s: write the same in both",
				quote(g.text(serverKey)), other.sec.title(), other.sec.file, other.line(serverKey), other.TLS)
		}
	}
}
