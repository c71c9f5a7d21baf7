package tlsprobe

import (
	"fmt"
	"slices"
	"strings"
)

// Limits of the mechanisms for logging in. Their names have up to 20 octets (RFC 4422,
// section 3.1); the longest lists have about ten of them.
const (
	maxMechanism  = 20
	maxMechanisms = 32
)

// auth returns the mechanisms that an answer to EHLO lists, in capitals, each once. As
// Postfix does, it takes several lists as one, and also the form "AUTH=LOGIN" from before
// the standard.
func (r reply) auth() []string {
	var found []string
	for _, line := range r.extensions() {
		words := strings.FieldsFunc(strings.ToUpper(line), func(r rune) bool { return r == ' ' || r == '\t' || r == '=' })
		if len(words) == 0 || words[0] != "AUTH" {
			continue
		}
		for _, name := range words[1:] {
			if isMechanism(name) && !slices.Contains(found, name) && len(found) < maxMechanisms {
				found = append(found, name)
			}
		}
	}
	return found
}

func isMechanism(name string) bool {
	return len(name) <= maxMechanism && strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == ""
}

// judgeLogin says whether Postfix can log in with one of these mechanisms.
func judgeLogin(offered []string) Check {
	list := strings.Join(offered, ", ")
	switch {
	case slices.ContainsFunc(offered, isKnown):
		return holds(list)
	case len(offered) > 0:
		return fails(Finding{NoLogin, fmt.Sprintf("the server offers no login that Postfix's client knows, only %s", list)})
	}
	return fails(Finding{NoLogin, "the server offers no login"})
}

// isKnown tells whether Postfix's client has a mechanism for names with passwords, by
// Cyrus SASL with its usual plug-ins (Debian's libsasl2-modules). It binds no login to
// the TLS connection, as those with -PLUS demand (RFC 5802, section 6).
func isKnown(mechanism string) bool {
	return slices.Contains([]string{"PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "NTLM"}, mechanism) ||
		strings.HasPrefix(mechanism, "SCRAM-") && !strings.HasSuffix(mechanism, "-PLUS")
}
