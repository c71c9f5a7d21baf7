package dkim

import (
	"slices"
	"strings"

	"gatemilter/policy"
)

// choose gives the places of the signatures to be verified, in the order of the
// header, and how many there are more than the limit. Those come first that may be
// aligned with the domain of an author (RFC 9989, section 4.4), since no others
// count for DMARC: whoever relays a message can put more signatures on top of it
// than are verified.
func choose(fields []policy.Field, limit int) (places []int, surplus int) {
	for i := range fields {
		if fields[i].Is(signatureName) {
			places = append(places, i)
		}
	}
	if len(places) <= limit {
		return places, 0
	}
	near := authorSites(fields)
	var first, others []int
	for _, place := range places {
		if near[site(signedBy(fields[place].Value))] {
			first = append(first, place)
		} else {
			others = append(others, place)
		}
	}
	chosen := append(first, others...)[:limit]
	slices.Sort(chosen)
	return chosen, len(places) - limit
}

// authorSites are the sites of the author domains. A From field that can't be read has
// none: it fails DMARC, whatever is signed.
func authorSites(fields []policy.Field) map[string]bool {
	var from []string
	for i := range fields {
		if fields[i].Is("From") {
			from = append(from, fields[i].Value)
		}
	}
	authors, _ := policy.Authors(from)
	sites := make(map[string]bool)
	for _, a := range authors {
		sites[site(policy.Domain(a.Address))] = true
	}
	return sites
}

// signedBy is d=, read without the rest of the field, of which there may be many.
func signedBy(value string) string {
	for spec := range strings.SplitSeq(value, ";") {
		if name, domain, _ := strings.Cut(spec, "="); strings.Trim(name, blanks) == "d" {
			return strings.ToLower(compact(domain))
		}
	}
	return ""
}

// site is the last two labels of a domain. Aligned domains have them in common, be
// they the same, one below the other, or side by side in one organisation; to know
// where that begins would take DNS.
func site(domain string) string {
	last := strings.LastIndexByte(domain, '.')
	return domain[strings.LastIndexByte(domain[:max(last, 0)], '.')+1:]
}
