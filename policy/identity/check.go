package identity

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"gatemilter/policy"
)

// Limits of what a record holds, in octets. Those of login, user name and password are the
// configuration's.
const (
	maxLogin    = 254
	maxName     = 200
	maxLocal    = 64 // of an address (RFC 5321, section 4.5.3.1.1)
	maxDomain   = 253
	maxLabel    = 63
	maxUsername = 254
	maxPassword = 1000
	// maxShown is how much of a bad value an error repeats.
	maxShown = 80
	// maxDetail bounds what a change says: two servers and two names.
	maxDetail = 4 << 10
)

// An InvalidError says what is wrong with a value that somebody wants to store. It never
// holds a password.
type InvalidError struct {
	// Field is "login", "account", "address", "name", "host", "port", "tls", "username",
	// "password", "slot", "state" or "changed".
	Field  string
	Reason string
}

func (e *InvalidError) Error() string { return e.Field + ": " + e.Reason }

func invalid(field, format string, args ...any) error {
	return &InvalidError{field, fmt.Sprintf(format, args...)}
}

// Check says what is wrong with a record, or returns nil. What it accepts, Postfix and
// Sendmail take: nothing in it can be read as another nexthop, address or login. It doesn't
// look at the password, which may be unknown: see [CheckPassword].
func (r *Record) Check() error {
	if err := checkLogin(r.Login); err != nil {
		return err
	}
	if err := checkCanonical("account", r.Account, ParseAddress); err != nil {
		return err
	}
	if err := checkCanonical("address", r.Address, ParseAddress); err != nil {
		return err
	}
	if len(r.Name) > maxName || !isText(r.Name) {
		return invalid("name", "%q is longer than %d octets, or has control characters", printable(r.Name), maxName)
	}
	if r.State > Active {
		return invalid("state", "%d is neither pending nor active", r.State)
	}
	if r.Gateway == nil {
		return nil
	}
	return checkGateway(r.Gateway)
}

func checkGateway(g *policy.UserGateway) error {
	if err := checkCanonical("host", g.Host, ParseHost); err != nil {
		return err
	}
	switch {
	case g.TLS != policy.STARTTLS && g.TLS != policy.ImplicitTLS:
		return invalid("tls", "it is neither starttls nor implicit, and a password needs one of them")
	case !g.TLS.TakesPort(g.Port):
		return invalid("port", "no server with %s has %d: 587 and 25 have starttls, 465 has implicit, from 1024 on either", g.TLS, g.Port)
	case g.Slot < 0 || g.Slot >= policy.MaxSlots:
		return invalid("slot", "%d is not between 0 and %d", g.Slot, policy.MaxSlots-1)
	}
	return CheckUsername(g.Username)
}

// checkCanonical demands that parse leaves a value as it is.
func checkCanonical(field, s string, parse func(string) (string, error)) error {
	canonical, err := parse(s)
	switch {
	case err != nil:
		return invalid(field, "%s", strings.TrimPrefix(err.Error(), field+": "))
	case canonical != s:
		return invalid(field, "%q is another way to write %q", printable(s), printable(canonical))
	}
	return nil
}

func checkLogin(s string) error {
	switch {
	case s == "":
		return invalid("login", "there is none")
	case len(s) > maxLogin || strings.ContainsAny(s, `<>"`) || !isText(s):
		return invalid("login", "%q is longer than %d octets, or has quotes, <, > or control characters", printable(s), maxLogin)
	case policy.CanonicalLogin(s) != s:
		return invalid("login", "%q is another way to write %q", printable(s), printable(policy.CanonicalLogin(s)))
	}
	return nil
}

// CheckUsername says what is wrong with the user name for a server.
func CheckUsername(s string) error {
	switch {
	case s == "":
		return invalid("username", "there is none")
	case len(s) > maxUsername:
		return invalid("username", "it has %d octets, more than %d", len(s), maxUsername)
	case strings.Contains(s, ":"):
		return invalid("username", "%q has a colon in it, at which the mail server would end it", printable(s))
	case !isText(s):
		return invalid("username", "%q has control characters", printable(s))
	}
	return nil
}

// CheckPassword says what is wrong with the password for a server.
func CheckPassword(s policy.Secret) error {
	switch text := s.Reveal(); {
	case text == "":
		return invalid("password", "there is none")
	case len(text) > maxPassword:
		return invalid("password", "it has more than %d octets", maxPassword)
	case !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return invalid("password", "it has control characters, or is not UTF-8 text, which is all that mail servers take")
	}
	return nil
}

// isText says whether all characters of s can be shown.
func isText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) })
}

// printable is as much of a value as a line of a log or a terminal may show.
func printable(s string) string {
	s = printableLine(s)
	for i := range s {
		if i > maxShown {
			return s[:i] + "…"
		}
	}
	return s
}

// printableLine is a text that may be long, without what can't be shown.
func printableLine(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s[:min(len(s), maxDetail)])
}

// localCharacters are those of a dot-string: atext (RFC 5322, section 3.2.3) and the point.
const localCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-/=?^_`{|}~."

// ParseAddress reads a mail address and returns it as [policy.CanonicalAddress] writes it.
func ParseAddress(s string) (string, error) {
	at := strings.LastIndexByte(s, '@')
	if at <= 0 || s[:at] == "*" {
		return "", invalid("address", "%q is no address: write it in full, as in user@example.com", printable(s))
	}
	local := s[:at]
	switch {
	case len(local) > maxLocal:
		return "", invalid("address", "what stands before the @ has %d octets, more than %d", len(local), maxLocal)
	case strings.Contains("."+local+".", ".."):
		return "", invalid("address", "a point is at the beginning or the end of what stands before the @, or two are together")
	case strings.ContainsFunc(local, func(r rune) bool { return !strings.ContainsRune(localCharacters, r) }):
		return "", invalid("address", "%q has characters that can't be before the @ here", printable(s))
	}
	domain, err := parseDomain("address", s[at+1:])
	if err != nil {
		return "", err
	}
	return policy.CanonicalAddress(local + "@" + domain), nil
}

// ParseHost reads the name or address of a server, an IPv6 address with brackets or
// without, and returns it as [policy.UserGateway] has it.
func ParseHost(s string) (string, error) {
	inner := s
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		inner = s[1 : len(s)-1]
	}
	if ip, err := netip.ParseAddr(inner); err == nil && (ip.Is6() || inner == s) {
		return parseIP(ip)
	}
	name, err := parseDomain("host", s)
	if err == nil && strings.Trim(name[strings.LastIndexByte(name, '.')+1:], "0123456789") == "" {
		return "", invalid("host", "%q is neither an address nor a name, whose last part is never a number", printable(s))
	}
	return name, err
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

func parseIP(ip netip.Addr) (string, error) {
	plain := ip.Unmap()
	if ip.Zone() != "" || plain.IsUnspecified() || plain.IsMulticast() || plain == broadcast {
		return "", invalid("host", "%s is not the address of one host", ip)
	}
	return plain.String(), nil
}

// parseDomain reads a domain name (RFC 1123, section 2.1).
func parseDomain(field, s string) (string, error) {
	domain := policy.CanonicalDomain(s)
	if len(domain) > maxDomain || strings.HasSuffix(s, ".") {
		return "", invalid(field, "%q is longer than %d octets, or ends with a point", printable(s), maxDomain)
	}
	if _, err := netip.ParseAddr(strings.Trim(domain, "[]")); err == nil {
		return "", invalid(field, "%q is an address, and a name is needed", printable(s))
	}
	for label := range strings.SplitSeq(domain, ".") {
		if !isLabel(label) {
			return "", invalid(field, "%q is no domain name: it has letters, digits and - between points, and no other characters", printable(s))
		}
	}
	return domain, nil
}

func isLabel(s string) bool {
	if s == "" || len(s) > maxLabel || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') })
}
