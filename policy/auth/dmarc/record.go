package dmarc

import (
	"net/url"
	"strings"
)

// maxRecordLen bounds a record; real ones have some hundred octets. A longer
// text is no record.
const maxRecordLen = 4096

// The policies, and how strict they are.
const (
	none       = "none"
	quarantine = "quarantine"
	reject     = "reject"
)

var strictness = map[string]int{none: 0, quarantine: 1, reject: 2}

// A record is a DMARC policy record (RFC 9989, section 4.7) as far as a receiver
// that sends no reports needs it.
type record struct {
	// p is the policy for the domain, sp that for those below it, np that for
	// those below it that don't exist. All are set if the record is usable.
	p, sp, np             string
	strictDKIM, strictSPF bool
	// psd is "y" for a public suffix, "n" for an organisational domain, or "u".
	psd string
	// test asks for a policy one level lower.
	test bool
	// usable is false for a record that asks to be left alone: no DMARC processing.
	usable bool
}

// effective returns the policy to apply: in test mode the one below (section 4.7).
func (r *record) effective(policy string) string {
	switch {
	case !r.test:
		return policy
	case policy == reject:
		return quarantine
	default:
		return none
	}
}

// parseRecord reads the text of a TXT record; nil if it is no DMARC record.
// Tags that are unknown or have no valid value count as absent (section 4.8).
func parseRecord(text string) *record {
	if len(text) > maxRecordLen {
		return nil
	}
	first, rest, _ := strings.Cut(text, ";")
	if name, value := cutTag(first); name != "v" || value != "DMARC1" {
		return nil
	}
	tags := make(map[string]string)
	for tag := range strings.SplitSeq(rest, ";") {
		name, value := cutTag(tag)
		if _, twice := tags[name]; !twice && value != "" {
			tags[name] = value
		}
	}
	r := &record{
		strictDKIM: strings.EqualFold(tags["adkim"], "s"),
		strictSPF:  strings.EqualFold(tags["aspf"], "s"),
		psd:        "u",
		test:       isTest(tags),
	}
	if psd := strings.ToLower(tags["psd"]); psd == "y" || psd == "n" {
		r.psd = psd
	}
	r.setPolicies(tags)
	return r
}

// cutTag splits "name = value". The name is lower case.
func cutTag(tag string) (name, value string) {
	name, value, _ = strings.Cut(tag, "=")
	return strings.ToLower(strings.Trim(name, blanks)), strings.Trim(value, blanks)
}

const blanks = " \t\r\n"

// isTest reads t, and pct only without it: who writes t knows the newer RFC.
func isTest(tags map[string]string) bool {
	if t := strings.ToLower(tags["t"]); t == "y" || t == "n" {
		return t == "y"
	}
	return tags["pct"] != "" && strings.Trim(tags["pct"], "0") == ""
}

// setPolicies reads p, sp and np. One invalid among them spoils the three: then
// the record means p=none if it asks for reports, and nothing if not (section
// 4.10.1).
func (r *record) setPolicies(tags map[string]string) {
	r.p = strings.ToLower(tags["p"])
	r.sp, r.np = r.p, ""
	valid := isPolicy(r.p)
	if sp, ok := tags["sp"]; ok {
		r.sp = strings.ToLower(sp)
		valid = valid && isPolicy(r.sp)
	}
	r.np = r.sp
	if np, ok := tags["np"]; ok {
		r.np = strings.ToLower(np)
		valid = valid && isPolicy(r.np)
	}
	r.usable = valid || hasReportURI(tags["rua"])
	if !valid {
		r.p, r.sp, r.np = none, none, none
	}
}

func isPolicy(s string) bool {
	_, ok := strictness[s]
	return ok
}

// hasReportURI tells whether a list holds a syntactically valid URI. The size
// limit that RFC 7489 let follow it is no part of it.
func hasReportURI(list string) bool {
	for uri := range strings.SplitSeq(list, ",") {
		uri, _, _ = strings.Cut(strings.Trim(uri, blanks), "!")
		if u, err := url.Parse(uri); err == nil && u.Scheme != "" && (u.Opaque != "" || u.Host != "") {
			return true
		}
	}
	return false
}
