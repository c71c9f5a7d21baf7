// Package tlsprobe finds out what a mail host really offers when mail is to be
// sent to it with TLS: it connects, greets, asks for TLS, looks at the
// certificate, says what holds and what doesn't, and leaves. It sends no mail, unless it is
// given a [Letter] to send.
//
// # How TLS begins
//
// On ports 25 and 587 an SMTP session begins in clear: the server greets (220),
// the client says EHLO, the server lists its extensions, and where STARTTLS is
// one of them the client asks for it and both sides begin the handshake (RFC
// 3207). What the server sends in clear behind its answer to STARTTLS may come
// from somebody on the way who wants it read as if it had come through TLS: such
// a session is refused. On port 465 the handshake comes first (RFC 8314, section
// 3.3). TLS below 1.2 is no protection any more (RFC 8996).
//
// # What is checked
//
// Three things, each of which a route can demand apart from the others:
//
//   - TLS: the host does TLS, so nothing goes in clear;
//   - trust: its certificate is valid now and chains to a trusted CA, over the
//     intermediate certificates that the host sends (RFC 5280, section 6);
//   - name: the certificate bears the host's name (RFC 9525).
//
// The handshake itself verifies nothing, so that a bad certificate can be shown.
//
// # Names
//
// A certificate bears the DNS names among its alternative names, and the IP
// addresses there for a host that is given by address. A wildcard stands for
// exactly one whole label, the leftmost, and needs two labels behind it. RFC 9525
// no longer allows the subject's common name; mail servers often have nothing
// else, and Postfix (OpenSSL's X509_check_host) takes it where there is no DNS
// name, so it counts here too. The names are those that Postfix would accept.
//
// # Logging in
//
// A server that wants a login lists the mechanisms for it in its answer to EHLO (AUTH,
// RFC 4954, section 3). What counts is the list after the handshake: many offer none in
// clear, and what came before may be forged (RFC 3207, section 4.2). Postfix's client
// doesn't insist on a login: where no AUTH is listed, it sends the mail without.
//
// # Hosts that somebody else names
//
// Where a user says which host is to be connected to, he could make us connect to what only
// we reach: other machines inside, or services of this one. [PublicOnly] and
// [RefuseInside] keep to the public Internet.
//
// # What a host can do to us
//
// Each step has a deadline; reply lines, their number, the certificates and all
// bytes of a connection are bounded. Texts of a [Report] may hold what the host
// sent: escape them where they are shown.
package tlsprobe
