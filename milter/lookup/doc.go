// Package lookup answers the mail server's (MTA's) questions over the socketmap
// protocol: which way mail goes, what TLS it demands, with which login. What
// the answers are is the business of the [Table] that is asked.
//
// # The protocol
//
// The MTA connects to a unix or TCP socket and asks as often as it likes. A
// request names a table and a key, a reply has a status word and a text; each
// is a netstring (https://cr.yp.to/proto/netstrings.txt), its length in decimal,
// a colon, its octets and a comma:
//
//	23:route alice@example.com,   →   23:OK relay:[192.0.2.1]:25,
//	21:route bob@example.com,     →   9:NOTFOUND ,
//
// A key is any octets; only the first blank of a request separates. The sources
// are Postfix's socketmap_table(5) and, for Sendmail, the socket map in its
// doc/op/op.me; beyond that, what the MTAs do:
//
//   - Postfix refuses replies of more than 100,000 octets, takes an OK without a
//     value for a failure, and cuts a value short at NUL. It closes a connection
//     after 10 s of rest. When one is closed on it, it asks once more at once.
//   - Sendmail crashes on an OK without a blank behind it, and keeps a
//     connection for as long as its process lives. When one is closed on it, it
//     treats that as a temporary failure.
//   - The statuses PERM and TIMEOUT are never used. Sendmail takes PERM for
//     NOTFOUND; TEMP says all that TIMEOUT does.
//
// # Doubt
//
// NOTFOUND is an answer: mail then goes the MTA's default way, without the
// login or the TLS demand that the table might have had. So it is given only
// where a table says so. All else that is not a good value (a table that does
// not exist, as after a slip in main.cf; a peer that may not ask; a panic; a
// value that can't be sent) is TEMP, which defers the mail, and is reported. A
// peer that breaks the protocol gets the answers to its earlier requests, then
// the connection is closed.
package lookup
