// Package dkim verifies DKIM signatures (RFC 6376, RFC 8301, RFC 8463) while
// the message comes in.
//
// # The subject
//
// A signature is a header field. Its tags name a domain (d=) that takes
// responsibility for the message, the header fields (h=) and, by a hash (bh=),
// the body that are signed, and the selector (s=) of the public key, which the
// domain publishes as a TXT record at SELECTOR._domainkey.DOMAIN. Verifying
// means to fetch the key, hash the body, and check the signature over the
// signed fields and the DKIM-Signature field itself, all in a canonical form
// ("simple" or "relaxed") that forgives some changes on the way.
//
// # The stream
//
// [Begin] takes the header, [Check.Write] the body, [Check.Finish] gives one
// result for each signature. The keys of all signatures are asked for at once,
// in Begin, and come while the body does. The body is held, up to 256 KiB, until
// Finish, which lets the verifier, github.com/emersion/go-msgauth/dkim, read it
// from memory, once for each signature: for most messages, goroutines would cost
// more than they save. Only a longer body is verified as it comes, by a goroutine
// for each signature. The verifier wants the key before the body, so
// that then has to wait for the keys, at most until the time limit on lookups: an
// end of message would have to wait for the same answer. So a Check holds,
// whatever the size of the message, at most 256 KiB of body, and for each
// signature at most 256 KiB of signed header and some blocks of 32 KiB in the
// verifier.
//
// # The guard
//
// The verifier is never shown what it can't bear or can't judge. The guard
// reads the DKIM-Signature fields and the key records itself, settles all that
// can be settled by reading them, and bounds what is left: the number of
// signatures (those near the author's domain go before the others), the size and the
// lines of what they sign, the names in h=, the key, and runs of blanks and line ends
// in the body, which cost the verifier time or memory out of proportion. Each signature has a run of the verifier to
// itself, with a header of just the fields that it signs and with its key record
// written anew. What a bound forbids is "policy", a signature that can't be
// read is "neutral", one that can be read and can't be right is "permerror",
// and DNS trouble is "temperror" (RFC 8601, section 2.7.1).
//
// # Header fields from a milter
//
// The simple canonicalisation signs the blank after the colon of a field, or its
// absence. An MTA removes one blank there, unless the filter negotiates leading
// space (SMFIP_HDR_LEADSPC); without that, a field written "Name:value" and signed
// in the simple form fails to verify. Blanks before the colon, which RFC 5322
// calls obsolete, Postfix removes anyway.
//
// # What the verifier can't do
//
// It compares i= with d= by the case of letters; it takes "b=" inside
// another tag, as in the copied fields of z=, for the signature itself; and where
// h= names more signatures than there are, it takes the one that it verifies
// for signed. Such signatures, all rare, are "neutral", as not able to be
// processed.
package dkim
