// Package relaymaps reads lookup tables of Postfix in the text from which postmap(1) makes them,
// and makes identities of those by which administrators have given senders servers of their
// own until now: sender_dependent_relayhost_maps, smtp_sasl_password_maps, and for whom they
// are, smtpd_sender_login_maps (postconf(5)).
//
// # Text
//
// A table has a key and a value on each logical line, with blanks between them. A line that
// begins with a blank goes on with the one before it. Empty lines, and those whose first
// character is #, count as not there, also between a line and what goes on with it. A key may
// have blanks between double quotes. Keys are compared without regard to case. Of two lines with
// the same key, postmap keeps the first.
//
// # Meaning
//
// sender_dependent_relayhost_maps has, for a sender's address or for "@" and its domain, the
// host that takes the mail: [HOST], [HOST]:PORT, or without brackets a domain, whose MX hosts
// take it. The port is a number or the name of a service; without one, it is 25.
//
// smtp_sasl_password_maps has USER:PASSWORD for a sender (the address, that without its
// extension, or "@" and its domain), or else for a host's name, or else for what the first table
// says, letter for letter. This is the order in which Postfix's client looks them up where
// smtp_sender_dependent_authentication is on.
//
// smtpd_sender_login_maps has, for an address or "@" and its domain, the logins that may use it.
package relaymaps
