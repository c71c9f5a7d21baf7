package config

import (
	"errors"
	"fmt"
	"strconv"

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
