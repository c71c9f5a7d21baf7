// Package authres writes the header fields that tell the rest of the mail system
// what authentication said, Authentication-Results (RFC 8601) and Received-SPF
// (RFC 7208, section 9.1), and finds incoming fields that pretend to be ours.
//
// # The subject
//
// Authentication-Results names who checked (the authserv-id), then for each
// method the result and the properties to which it applies:
//
//	mx.example.com;
//		spf=pass (source 198.51.100.7 behind gateway filter)
//		smtp.remote-ip=198.51.100.7 smtp.mailfrom=example.org;
//		dkim=pass header.d=example.org header.s=k1 header.a=rsa-sha256;
//		dmarc=pass header.from=example.org policy.dmarc=reject
//
// Whoever reads the field trusts it if the authserv-id is one that he knows. So
// all incoming fields with ours must go (section 5), in whatever spelling a
// reader may take for it: see [Claims].
//
// # Safety
//
// Nearly every value comes from a stranger, and many readers don't parse the
// field as its grammar says: they split it at semicolons or blanks first, and
// unquote afterwards or never. So values are written in a form that holds no
// semicolon, blank, parenthesis, backslash or inner quotation mark; a value that
// can't be is left out. Reasons, in which people want blanks, have such characters
// replaced, and the equals sign too. The field is ASCII, for whether the message
// may hold UTF-8 (RFC 6532) isn't known here: domains are written as A-labels,
// local parts that don't fit are left out, so that the domain stands alone.
package authres

import (
	"net/netip"

	"gatemilter/policy"
)

// maxSignatures bounds the DKIM results that are written. Some readers, OpenDMARC
// among them, have room for 16 results; SPF and DMARC take two.
const maxSignatures = 14

// Format returns the body of an Authentication-Results field, folded with "\n\t",
// in lines of at most 78 columns where no value is longer. The source is the
// address for which the results hold, and gateway the name of the inbound gateway
// that stands between it and us; either may be missing. Methods without a result
// aren't mentioned; without any, it says "none".
func Format(id string, source netip.Addr, gateway string, a policy.Authentication) string {
	var w writer
	w.start("Authentication-Results: ", authservID(id))
	w.comment = origin(source, gateway)
	if isResult(a.SPF.Result) {
		w.spf(a.SPF, source)
	}
	for _, d := range a.DKIM[:min(len(a.DKIM), maxSignatures)] {
		if isResult(d.Result) {
			w.dkim(d)
		}
	}
	if isResult(a.DMARC.Result) {
		w.dmarc(a.DMARC)
	}
	if w.results == 0 {
		w.result("none")
	}
	return w.String()
}

func (w *writer) spf(s policy.SPF, source netip.Addr) {
	w.result("spf=" + string(s.Result))
	w.reason(s.Reason)
	if source.IsValid() {
		w.property("smtp.remote-ip", value(source.WithZone("").String()))
	}
	if s.Identity == "helo" {
		w.property("smtp.helo", domain(s.Domain))
		return
	}
	// The domain is what was checked. OpenDMARC compares nothing else with it.
	w.property("smtp.mailfrom", domain(s.Domain))
}

func (w *writer) dkim(d policy.DKIM) {
	w.result("dkim=" + string(d.Result))
	w.reason(d.Reason)
	w.property("header.d", domain(d.Domain))
	w.property("header.i", mailbox(d.Identity))
	w.property("header.s", domain(d.Selector))
	w.property("header.a", value(d.Algorithm))
	w.property("header.b", value(d.Signature))
}

// dmarc writes no polrec properties: OpenDMARC takes a property type that it
// doesn't know for an error.
func (w *writer) dmarc(d policy.DMARC) {
	w.result("dmarc=" + string(d.Result))
	w.reason(d.Reason)
	w.property("header.from", domain(d.Domain))
	w.property("policy.dmarc", value(d.Policy))
}

// origin is the comment that names the source.
func origin(source netip.Addr, gateway string) string {
	var text string
	if source.IsValid() {
		text = "source " + source.WithZone("").String()
	}
	if gateway != "" {
		if text != "" {
			text += " "
		}
		text += "behind gateway " + gateway
	}
	return prose(text)
}

// isResult tells the results of RFC 8601, section 2.7.
func isResult(r policy.AuthResult) bool {
	switch r {
	case policy.AuthNone, policy.AuthPass, policy.AuthFail, policy.AuthSoftFail,
		policy.AuthNeutral, policy.AuthPolicy, policy.AuthTempError, policy.AuthPermError:
		return true
	default:
		return false
	}
}
