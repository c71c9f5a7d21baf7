package spf

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode"

	"golang.org/x/net/idna"

	"gatemilter/policy"
)

const (
	// maxSender and maxHELO bound what macros multiply. Mail servers let through
	// at most some hundred bytes (RFC 5321, section 4.5.3.1); senders that carry
	// other addresses within them come near that.
	maxSender = 1024
	maxHELO   = 255

	// maxName and maxLabel are the limits of DNS, in bytes (RFC 7208, sections 4.3
	// and 7.3).
	maxName  = 253
	maxLabel = 63

	// letters are those of host names, and the underscore that DNS also knows.
	letters = "abcdefghijklmnopqrstuvwxyz0123456789-_."
)

// identify chooses the name to check. The Result is "" where there is one, else
// none with the reason.
func identify(in Input) policy.SPF {
	who := policy.SPF{Identity: "mailfrom", Sender: in.Sender, HELO: in.HELO}
	local, domain := "postmaster", in.HELO
	switch at := strings.LastIndexByte(in.Sender, '@'); {
	case in.Sender == "" && in.HELO == "":
		who.Identity = "helo"
		return none(who, "null sender, and the source's HELO name is not known")
	case in.Sender == "":
		who.Identity = "helo"
	case len(in.Sender) > maxSender:
		return none(who, "the sender is longer than %d bytes", maxSender)
	case at < 0:
		return none(who, "the sender %s has no domain", quote(in.Sender))
	case at == 0:
		domain = in.Sender[1:] // section 4.3: the local part is postmaster
	default:
		local, domain = in.Sender[:at], in.Sender[at+1:]
	}
	name, ok := domainName(domain)
	if !ok && who.Identity == "helo" {
		return none(who, "null sender, and the HELO %s is no domain name", quote(domain))
	}
	if !ok {
		return none(who, "the sender's domain %s is no domain name", quote(domain))
	}
	who.Domain, who.Sender = name, local+"@"+name
	return who
}

func none(who policy.SPF, format string, args ...any) policy.SPF {
	who.Result, who.Reason = policy.AuthNone, fmt.Sprintf(format, args...)
	return who
}

// toASCII turns an internationalised domain into A-labels (RFC 7208, section 4.3).
// Underscores stay, as they do in ASCII domains.
var toASCII = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(false))

// domainName gives s in lower case, as A-labels and without the last dot, if it is
// a multi-label domain name and no address.
func domainName(s string) (string, bool) {
	if len(s) > maxSender {
		return "", false
	}
	name := strings.TrimSuffix(s, ".")
	if !isASCII(name) {
		labels, err := toASCII.ToASCII(name)
		if err != nil {
			return "", false
		}
		name = labels
	}
	name = strings.ToLower(name)
	if len(name) > maxName || !strings.Contains(name, ".") || strings.Trim(name, letters) != "" {
		return "", false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > maxLabel {
			return "", false
		}
	}
	return name, !isAddress(name)
}

func isAddress(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r > unicode.MaxASCII }) < 0
}

// macroHELO is what %{h} stands for. Where no HELO name is known it is "unknown",
// the word that section 7.3 has for an unknown %{p}: no name in DNS.
func macroHELO(helo string) string {
	if helo == "" || len(helo) > maxHELO {
		return "unknown"
	}
	return helo
}

// macroSender is the sender as the library is given it. The library takes the
// first "@" for the one before the domain: others, which only a quoted local part
// can have, are no part of names in DNS either.
func macroSender(who policy.SPF) string {
	local := strings.TrimSuffix(who.Sender, "@"+who.Domain)
	return strings.ReplaceAll(local, "@", "_") + "@" + who.Domain
}
