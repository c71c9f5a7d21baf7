// Package policy decides what happens to a message that reaches our mail
// server through, or around, an inbound gateway, and by which way outgoing mail
// leaves.
//
// # The subject
//
// An inbound gateway is a mail server that filters a domain's mail before it
// hands it to ours: the domain's MX records name the gateway, and our server
// sees only the gateway's address. Whatever looks at the connecting address
// (SPF, DMARC, blocklists) then looks at the wrong host, and whoever sends to
// our server directly goes around the filter. This package holds the rules that
// put both right:
//
//   - which mail an inbound gateway vouches for, by address, TLS client
//     certificate and secret header;
//   - which mail has to be refused, because it came around the gateway or
//     without TLS;
//   - the source IP: the address from which the outside handed the message to
//     the first gateway, found by walking the Received fields (RFC 5321,
//     section 4.4) from the top;
//   - whether the gateway marked the message as spam, and what then happens.
//
// Outgoing mail is the other subject:
//
//   - by which route it leaves, by its recipient or envelope sender: a route is
//     one mail host or several, with what their TLS has to hold;
//   - as whom our own users may write, and whether mail leaves by a server of the
//     user's own, with the login there, or by ours on behalf of the account (RFC
//     5322, section 3.6.2: From and Sender).
//
// # The form
//
// Everything here is a pure function of its arguments: a compiled [Policy] and
// a [Message] go in, a [Verdict] comes out. There is no clock, no network, no
// logger; chance is an argument. The daemon, the explain command and the tests call
// the same [Policy.Evaluate], so they can't drift apart; the stages that answer
// earlier in the SMTP session, [Transaction.Mail] and [Transaction.Rcpt], are the
// parts from which Evaluate is made. What the mail server asks about ways of
// outgoing mail, [Policy.RouteFor] and [Policy.RouteTo] answer.
package policy
