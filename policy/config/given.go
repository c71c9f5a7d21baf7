package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"gatemilter/policy"
)

// What users are and have is also given elsewhere than in a file: to commands, on pages. It is
// the same there. The errors end with what to write instead.

// ParseAddress reads a mail address and returns it in the form in which addresses are compared.
func ParseAddress(s string) (string, error) { return parseAddress(s) }

// ParseLogin reads the name with which a user logs in to send mail, and returns it in the form
// in which logins are compared.
func ParseLogin(s string) (string, error) {
	if s == "" {
		return "", errors.New("there is no login: write the name with which the user logs in to send mail, as in alice@example.com")
	}
	return policy.CanonicalLogin(s), checkLogin(s)
}

// ParseUserServer reads HOST or HOST:PORT of a user's own server with that kind of TLS, where an
// IPv6 address stands in brackets.
func ParseUserServer(s string, tls policy.UserTLS) (host string, port uint16, err error) {
	name, digits, hasPort := splitPort(s)
	if host, err = hostName(name); err != nil {
		return "", 0, fmt.Errorf("%s is no host: %w", quote(s), err)
	}
	if !hasPort {
		return host, tls.DefaultPort(), nil
	}
	number, err := strconv.ParseUint(digits, 10, 16)
	port = uint16(number)
	switch {
	case err == nil && tls.TakesPort(port):
		return host, port, nil
	case err == nil && port == policy.PortSubmissions:
		err = errors.New("there, TLS is from the start; take implicit TLS, or another port")
	case err == nil && tls == policy.ImplicitTLS && policy.IsRoutePort(port):
		err = errors.New("there, TLS is not from the start; take starttls, or port 465")
	default:
		err = errors.New("write 587 or 25, 465 with implicit TLS, or from 1024 to 65535")
	}
	return "", 0, fmt.Errorf("%s has the port %s: %w", quote(s), quote(digits), err)
}

// CheckUsername says what is wrong with the name of an account at a user's own server.
func CheckUsername(s string) error {
	switch {
	case s == "":
		return errors.New("the user name is empty: write that of the account at the server")
	case len(s) > maxLogin:
		return fmt.Errorf("the user name has %d octets, more than %d; correct it", len(s), maxLogin)
	case strings.Contains(s, ":"):
		return fmt.Errorf("the user name %s has a colon in it, at which the mail server would end it: this server can't be used with that name", quote(s))
	case !utf8.ValidString(s) || strings.ContainsFunc(s, isControl):
		return fmt.Errorf("the user name %s has characters that can't be shown; correct it", quote(s))
	}
	return nil
}

// CheckPassword says what is wrong with a password for a user's own server, which it doesn't
// show.
func CheckPassword(s string) error {
	switch {
	case s == "":
		return errors.New("the password is empty: write it")
	case len(s) > maxPassword:
		return fmt.Errorf("the password has more than %d octets; correct it", maxPassword)
	case !utf8.ValidString(s):
		return errors.New("the password is not UTF-8 text, which is all that Postfix takes: save it as UTF-8, or choose another one")
	case strings.ContainsFunc(s, isControl):
		return errors.New("the password has more than one line, or control characters: correct it")
	}
	return nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }
