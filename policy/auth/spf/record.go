package spf

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// maxRecord bounds the length of one record in bytes: section 3.4 wants it to fit
// into 512, the longest in use have some 2000. maxMacros bounds the macros in it,
// of which each may expand to the sender: honest records have about five.
const (
	maxRecord = 8192
	maxMacros = 100
)

// isRecord says whether a TXT record is an SPF record (section 4.5).
func isRecord(txt string) bool {
	const version = "v=spf1"
	return len(txt) >= len(version) && strings.EqualFold(txt[:len(version)], version) &&
		(len(txt) == len(version) || txt[len(version)] == ' ')
}

// The grammar of terms, section 12, from the bottom. Letter case never matters.
const (
	// The letters c, r and t are for explanations only (section 7.2); a number of
	// parts is never zero (section 7.1).
	macroExpand = `(?:%\{[slodiphv](?:0*[1-9][0-9]*)?r?[-.+,/_=]*\}|%[%_-])`
	macroString = `(?:` + macroExpand + `|[!-$&-~])*`
	topLabel    = `(?:[0-9a-z]*[a-z][0-9a-z]*|[0-9a-z]+-[0-9a-z-]*[0-9a-z])`
	domainSpec  = macroString + `(?:\.` + topLabel + `\.?|` + macroExpand + `)`

	cidr4    = `/(?:[0-9]|[12][0-9]|3[0-2])`
	cidr6    = `/(?:[0-9]|[1-9][0-9]|1[01][0-9]|12[0-8])`
	dualCIDR = `(?:` + cidr4 + `)?(?:/` + cidr6 + `)?`

	mechanism = `all|(?:include|exists):` + domainSpec +
		`|(?:a|mx)(?::` + domainSpec + `)?` + dualCIDR +
		`|ptr(?::` + domainSpec + `)?` +
		`|ip4:(?P<ip4>[0-9.]+)(?:` + cidr4 + `)?` +
		`|ip6:(?P<ip6>[0-9a-f:.]+)(?:` + cidr6 + `)?`

	unknownModifier = `[a-z][a-z0-9._-]*=(?:` + macroString + `|%\{[crt]\})*`
)

var (
	directive = regexp.MustCompile(`^(?i:[-+?~]?(?:` + mechanism + `))$`)
	ip6       = regexp.MustCompile(`^(?i:[-+?~]?ip6:)`)
	exists    = regexp.MustCompile(`(?i: [-+?~]?exists:[^ ]+)`)
	known     = regexp.MustCompile(`^(?i:(redirect|exp)=)`)
	modifier  = regexp.MustCompile(`^(?i:(?:redirect|exp)=` + domainSpec + `)$`)
	unknown   = regexp.MustCompile(`^(?i:` + unknownModifier + `)$`)
)

// checkRecord says what is wrong with the syntax of an SPF record, the whole of
// it: section 4.6 has errors detected before any term is evaluated. A record that
// is right as far as its first match would let a source pass by what its owner
// didn't finish to write.
func checkRecord(record string) error {
	if len(record) > maxRecord {
		return fmt.Errorf("the record is longer than %d bytes", maxRecord)
	}
	if strings.Count(record, "%{") > maxMacros {
		return fmt.Errorf("the record has more than %d macros", maxMacros)
	}
	seen := make(map[string]bool)
	terms := strings.Split(record, " ")
	for _, term := range terms[1:] {
		if term != "" && !isTerm(term) {
			return fmt.Errorf("syntax error at %s", quote(term))
		}
		name := strings.ToLower(known.FindString(term))
		if name != "" && seen[name] {
			return fmt.Errorf("%s is there twice", name)
		}
		seen[name] = true
	}
	return nil
}

func isTerm(term string) bool {
	if known.MatchString(term) {
		return modifier.MatchString(term)
	}
	return unknown.MatchString(term) || isDirective(term)
}

func isDirective(term string) bool {
	parts := directive.FindStringSubmatch(term)
	if parts == nil {
		return false
	}
	if ip4 := parts[directive.SubexpIndex("ip4")]; ip4 != "" {
		addr, err := netip.ParseAddr(ip4)
		return err == nil && addr.Is4()
	}
	if ip6 := parts[directive.SubexpIndex("ip6")]; ip6 != "" {
		addr, err := netip.ParseAddr(ip6)
		return err == nil && addr.Is6()
	}
	return true
}

// withoutIP6 takes the mechanisms ip6 out of a record: for a source with an IPv4
// address they don't match (section 5.6), but the library takes the network
// ::ffff:192.0.2.0/120 for 192.0.2.0/24.
func withoutIP6(record string) string {
	terms := strings.Split(record, " ")
	return strings.Join(slices.DeleteFunc(terms, ip6.MatchString), " ")
}

// existsMark ends the domain of exists in the records that the library reads for a
// source with an IPv6 address. The library asks for addresses without telling for
// which mechanism, but exists wants IPv4 ones for any source (section 5.7), and the
// others IPv6 ones then (section 5). No record has a NUL of its own (section 12). A
// HELO name or local part that ends in one forges the mark through a macro, to no
// use: where a and mx ask for IPv4 addresses, none matches the source.
const existsMark = "\x00"

func withExistsMarked(record string) string {
	return exists.ReplaceAllString(record, "${0}"+existsMark)
}
