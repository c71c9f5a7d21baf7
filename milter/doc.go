// Package milter is the filter's end of the mail filter (milter) protocol: it
// accepts the connections of Postfix or Sendmail, tells a [Session] what
// happens in an SMTP session, and turns its answers into packets.
//
// # The protocol
//
// A milter connection accompanies one SMTP session. The mail server (MTA) sends
// packets, each a 32-bit length, a command letter and data; the filter answers
// some of them. The first exchange negotiates (OPTNEG): the MTA offers what it
// can do, the filter answers with the part that it wants. Then come, with the
// macros of each stage before it, CONNECT, HELO (again after STARTTLS), and for
// each message MAIL, RCPT…, DATA, HEADER…, EOH, BODY…, and the end of message,
// at which alone the message may be changed. ABORT ends a message early, at any
// time. No standard describes this; the sources are libmilter's headers
// (mfdef.h), the document milter-protocol.txt that comes with
// github.com/emersion/go-milter, and what the MTAs do.
//
// The two MTAs differ. Postfix sends ABORT after each message and twice at the
// end, Sendmail none after a finished one. A second message brings neither
// CONNECT nor HELO. Postfix refuses a filter that asks for what was not
// offered. Sendmail takes the text of a reply for a format, which a single '%'
// spoils, and chooses the way of a message when a recipient is named: where an
// outcome changes the sender, the recipients are deleted and added again, so
// that it chooses anew. And the short answers ACCEPT, REJECT and TEMPFAIL are poor ones: the
// library then forgets the session, though the MTA won't introduce the client
// again. So the only answers given are CONTINUE, also at the end of a message,
// DISCARD, SKIP, and a reply with code and text.
//
// # The guard
//
// The library's server speaks the protocol; a guard stands between it and the
// socket, as the [net.Conn] from which it reads and to which it writes. The
// guard accepts nothing that is malformed, too long, out of order or too slow,
// so the library never sees it. It negotiates, keeps the macros, and handles
// what the library cannot (DATA, unknown commands, a new session on the same
// connection) or does at too high a price (HELO, header fields, bodies). What
// is left to the library is CONNECT, MAIL, RCPT, end of message with its
// changes, ABORT and QUIT. None of these leaves state behind in it, since it
// gets neither macros nor header fields; so it needs no ABORT between the
// messages of an MTA that sends none.
//
// Reads, writes and the calls to a Session all happen in one goroutine for each
// connection.
//
// # Doubt
//
// A message about which anything went wrong on our side (a panic, an answer
// that cannot be given, a change that the MTA does not allow) is answered with
// a temporary failure: the client tries again later. A peer that breaks the
// protocol loses the connection, and the MTA takes its default action.
package milter
