// Package received reads the Received header fields that mail servers write
// when they take a message: the grammar of RFC 5321 §4.4, and what real servers
// make of it. It turns one field into a [Hop]. Whether a hop's server is to be
// believed is not its business.
//
// # The from clause
//
// A field reads, with comments in parentheses anywhere,
//
//	from HELO (TCP-info) by SERVER via LINK with PROTOCOL id ID for RECIPIENT; DATE
//
// The HELO is what the client called itself. The TCP-info is what the server
// saw: the address of the client's socket, and mostly the name that reverse DNS
// has for it. Only the second is evidence:
//
//	from mail.example.com (host.example.com [192.0.2.1]) by …     Postfix, Sendmail
//	from mail.example.com ([192.0.2.1] verified) by …
//	from mail.example.com (192.0.2.1) by …                        Exchange
//
// Mirror layouts swap the two: the socket's name or address stands directly
// after from, and a comment with a marker holds the HELO:
//
//	from host.example.com ([192.0.2.1] helo=mail.example.com) by …    Exim
//	from [192.0.2.1] (helo=mail.example.com) by …                     Exim, no reverse DNS
//	from host.example.com (HELO mail.example.com) (192.0.2.1) by …    qmail
//	from host.example.com (EHLO mail.example.com) [192.0.2.1] by …
//
// Where there is nothing but a literal after from, it is taken for the socket's,
// as webmail and some gateways write it; unless the client logged in, because
// servers that hide their users' addresses then leave only the HELO. An address
// without brackets there is taken only beside an HTTP clause or a HELO comment.
//
// # Principles
//
// Client and spammer choose the HELO, the ident, the envelope addresses, the
// certificate, and the reverse name of their own addresses. A wrong address is
// far worse than none, so the package knows shapes, not products (one apart, where
// the shape alone is ambiguous), and in doubt
// the hop is Unrecognised:
//
//   - Nothing outside the from clause counts. It ends at the first by outside
//     comments; a second one, or parentheses that don't match, are doubt.
//   - A TCP-info wins over everything else in the clause. Two that differ are doubt.
//   - A TCP-info that is there but has no valid address is not replaced by the HELO.
//   - A host name may look like an address, a marker or a keyword. Wherever that
//     could change the answer, two addresses stand in the clause, and that is doubt.
//   - A local submission is known by what stands where the address would, or by
//     its protocol, never by the name localhost.
package received

import "net/netip"

// maxValue bounds how much of a field is looked at. The clauses behind from may
// show that it isn't what it seems, so no address is taken from a longer field.
const maxValue = 8 << 10

// Kind says what a Received field tells about the client.
type Kind uint8

const (
	NotAHop      Kind = iota // no from clause, or a local submission
	Unrecognised             // a from clause without a usable socket address
	Relay                    // a hop whose client address the server recorded
)

// String returns "not-a-hop", "unrecognised" or "hop".
func (k Kind) String() string {
	switch k {
	case NotAHop:
		return "not-a-hop"
	case Relay:
		return "hop"
	}
	return "unrecognised"
}

// Hop is what one Received field says about the client that handed over the
// message. HELO and By are parts of the field as they stand there: escape them
// where they are shown.
type Hop struct {
	Kind Kind
	IP   netip.Addr // valid only for Relay; unmapped, no zone
	HELO string     // what the client called itself; "" where it isn't certain
	By   string     // the server that wrote the field; "" where it isn't certain
	Why  string     // why this kind, or how the address was found: a fixed phrase
}

// Parse reads the body of a Received field, folded or not. It never fails: what
// it can't read is Unrecognised. It takes time linear in the length, of which
// it looks at 8 KiB at most.
func Parse(value string) Hop {
	l := lexer{text: value[:min(len(value), maxValue)]}
	var f field
	enclosed := f.open(&l)
	isHop := enclosed || f.inFrom
	f.read(&l)
	h := Hop{Kind: NotAHop, Why: noFrom}
	switch {
	case isHop && len(value) > maxValue:
		h = Hop{Kind: Unrecognised, Why: tooLong}
	case isHop && f.unbounded():
		h = Hop{Kind: Unrecognised, Why: unbounded}
	case isHop:
		h.IP, h.Kind, h.Why = f.decide()
	}
	if enclosed && h.Why == noAddress {
		h.Kind, h.Why = NotAHop, submission
	}
	if h.Kind == Relay {
		h.HELO = f.helo()
	}
	h.By = f.by()
	return h
}
