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
// the shape alone is ambiguous), and in doubt the hop is Unrecognised.
//
// Comments and quoted strings can't be relied on: servers copy what a client says
// without escaping it, and so it may close the one, open the other, or end the
// from clause. But the client can't unwrite. Whatever it says, the server's own
// address stands in the field, set off by brackets, parentheses or space, and a
// by behind it. So the grammar only proposes an address. It is taken if no other
// one, in whatever comment or quotation, stands anywhere before the last word by,
// except in a place where no server writes its client's:
//
//   - the HELO directly before the TCP-info, in one word;
//   - a HELO behind a marker, where another address says that it is one;
//   - the reverse name or ident directly before the address, in one comment with it;
//   - the domain of a mail address in angle brackets, the account of a client that
//     logged in, the client of a proxy.
//
// Likewise a hop is a local submission only if there is no address at all: else a
// client could make the gateway's own field seem none, and its own count. For the
// rest,
//
//   - a TCP-info that is there but has no valid address is not replaced by the HELO;
//   - a local submission is known by what stands where the address would, or by
//     its protocol, never by the name localhost.
//
// # What can't be decided
//
// Some lines of different servers are the same, letter for letter:
//
//   - A server that records no address ("from HELO by …") writes what any other
//     would if the HELO is "x ([192.0.2.1])", or only the literal. Such a server
//     tells nothing about its clients, and must not be relied on for it.
//   - "from 192.0.2.1 (EHLO x) (192.0.2.2) by …" is a client 192.0.2.2 with the
//     first as its reverse name, or a client 192.0.2.1 with parentheses in its
//     HELO: Unrecognised, except for the name 127.0.0.1, which Yahoo writes for
//     a client without one.
//   - "from [192.0.2.1] (HELO [192.0.2.2]) by …" is the mirror layout, or the TCP-info
//     of a host named HELO: Unrecognised, except from CommuniGate.
//   - "from name(192.0.2.1, HELO [192.0.2.2]) by …" is smap with a HELO literal, or
//     another server and a reverse name with a space: Unrecognised.
//   - An IPv6 address and a port without brackets between them may be one address.
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
	By   string     // what the field names as its server; "" where it isn't certain
	Why  string     // why this kind, or how the address was found: a fixed phrase
}

// Parse reads the body of a Received field, folded or not. It never fails: what
// it can't read is Unrecognised. It takes time linear in the length, of which
// it looks at 8 KiB at most.
func Parse(value string) Hop {
	text := value[:min(len(value), maxValue)]
	by := lastBy(text)
	evidence := text
	if by >= 0 {
		evidence = text[:by]
	}
	f := field{hasBy: by >= 0}
	f.parse(lexer{text: text})
	if f.broken {
		plain := field{hasBy: by >= 0}
		if plain.parse(lexer{text: text, plain: true}); !plain.broken {
			f = plain
		}
	}
	h := Hop{Kind: NotAHop, Why: noFrom}
	switch {
	case !f.isHop:
	case len(value) > maxValue:
		h = Hop{Kind: Unrecognised, Why: tooLong}
	case f.unbounded():
		h = Hop{Kind: Unrecognised, Why: unbounded}
	default:
		h.IP, h.Kind, h.Why = f.decide(evidence)
	}
	if h.Kind == Relay {
		h.HELO = f.helo()
	}
	h.By = f.by()
	return h
}
