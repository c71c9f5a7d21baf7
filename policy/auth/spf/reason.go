package spf

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"unicode"

	"blitiri.com.ar/go/spf"

	"gatemilter/policy"
)

// maxShown bounds what is shown of a stranger's name or term, and maxReason the
// whole reason, in bytes.
const (
	maxShown  = 80
	maxReason = 300
)

// explain says in a sentence for people why the result is what it is.
func explain(who policy.SPF, result spf.Result, err error) string {
	why := cause(err)
	switch result {
	case spf.None:
		return who.Domain + " has no SPF record"
	case spf.Pass:
		return fmt.Sprintf("%s permits %s (%s)", who.Domain, who.IP, why)
	case spf.Fail:
		return fmt.Sprintf("%s forbids %s (%s)", who.Domain, who.IP, why)
	case spf.SoftFail:
		return fmt.Sprintf("%s discourages %s (%s)", who.Domain, who.IP, why)
	case spf.Neutral:
		return fmt.Sprintf("%s takes no stand on %s (%s)", who.Domain, who.IP, why)
	case spf.PermError:
		return fmt.Sprintf("the SPF policy of %s can't be used: %s", who.Domain, why)
	default: // TempError
		return fmt.Sprintf("the SPF policy of %s can't be evaluated now: %s", who.Domain, why)
	}
}

// cause is the text of the library's error, which there is with every result but
// the neutral one of a record without a match.
func cause(err error) string {
	if err == nil {
		return "no term matched"
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return fmt.Sprintf("DNS, asked for %s: %s", quote(dns.Name), dns.Err)
	}
	return err.Error()
}

// quote shows a stranger's bytes, escaped and not too many of them.
func quote(s string) string {
	if len(s) > maxShown {
		return strconv.QuoteToASCII(s[:maxShown]) + "…"
	}
	return strconv.QuoteToASCII(s)
}

// clip makes a reason one line of bounded length.
func clip(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
	if len(s) > maxReason {
		return strings.ToValidUTF8(s[:maxReason], "") + "…"
	}
	return s
}
