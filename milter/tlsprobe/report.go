package tlsprobe

import (
	"net/netip"

	"gatemilter/policy"
)

// A Report is what a probe found out. Its texts may hold what the host sent.
type Report struct {
	Target   Target
	Address  netip.AddrPort // that was connected to; invalid where none was
	Greeting string         // first line of the server's greeting, without the code
	Version  policy.TLSVersion
	Cipher   string // as IANA names it
	// Chain are the certificates as the server sent them, its own first. There are
	// none without a handshake, and never more than 16.
	Chain []Certificate

	TLS   Check // the host does SMTP through TLS 1.2 or later (require_tls)
	Trust Check // its certificate is valid and chains to a trusted CA (require_ca)
	Name  Check // its certificate bears the host's name (verify_hostname)

	// Auth are the mechanisms for logging in that the host offers, in capitals: after the
	// handshake, or in clear if the target is to be probed so. There are never more than 32.
	Auth []string
	// Login is whether Postfix can log in with one of them, or why it is not known. Routes
	// don't need it, users' own servers do.
	Login Check
	// Accepted is whether Prober.Login was, or why not.
	Accepted Check
	// Sent is whether Prober.Letter was, or why not.
	Sent Check
	// Said is the answer by which the host refused the session, the login or the letter, without
	// the password. It is for whoever gave that, and for no log.
	Said string

	// Warnings are about what holds today but won't for long.
	Warnings []Finding
}

// A Check is whether something holds, and why, or why not. The zero Check does not
// hold.
type Check struct {
	Holds bool
	Finding
}

// A Finding is a problem, "" where there is none, and what was seen.
type Finding struct {
	Problem Problem
	Reason  string
}

// Error makes the finding that ends a session an error.
func (f Finding) Error() string { return f.Reason }

// A Problem is one of a closed list of things that can be wrong.
type Problem string

// The problems in the order in which a session meets them.
const (
	NotChecked Problem = "not-checked" // an earlier problem prevented it

	HostNotFound     Problem = "host-not-found"
	LookupFailed     Problem = "lookup-failed"
	Refused          Problem = "connection-refused"
	Inside           Problem = "inside-address" // see PublicOnly
	ConnectionFailed Problem = "connection-failed"
	Closed           Problem = "connection-closed"
	Timeout          Problem = "timeout"

	NotSMTP         Problem = "not-smtp"
	TLSFromStart    Problem = "tls-from-the-start" // where SMTP in clear was expected
	ClearFromStart  Problem = "clear-from-the-start"
	SessionRefused  Problem = "session-refused" // a greeting or answer to EHLO with 4xx or 5xx
	NoSTARTTLS      Problem = "no-starttls"
	STARTTLSRefused Problem = "starttls-refused"
	BytesBeforeTLS  Problem = "bytes-before-tls" // in clear, behind the answer to STARTTLS
	HandshakeFailed Problem = "handshake-failed"
	TLSTooOld       Problem = "tls-too-old"
	NoLogin         Problem = "no-login" // nothing that a route would demand
	LoginRefused    Problem = "login-refused"
	LetterRefused   Problem = "letter-refused"
	LetterUnwritten Problem = "letter-unwritten" // by us

	SelfSigned   Problem = "self-signed"
	UnknownCA    Problem = "unknown-ca"
	Expired      Problem = "expired"
	NotYetValid  Problem = "not-yet-valid"
	ChainInvalid Problem = "chain-invalid"
	NameMismatch Problem = "name-mismatch"
	ExpiresSoon  Problem = "expires-soon"
)

// Passed tells whether the three checks hold that a route can demand.
func (r *Report) Passed() bool { return r.TLS.Holds && r.Trust.Holds && r.Name.Holds }

// MatchNames are names of the server's certificate with each of which Postfix's TLS
// policy "verify match=NAME" accepts it. An IP address comes alone: Postfix would
// demand it besides any other. There may be none; then only a fingerprint tells
// Postfix this certificate (smtp_tls_policy_maps in postconf(5)).
func (r *Report) MatchNames() []string {
	if len(r.Chain) == 0 {
		return nil
	}
	return r.Chain[0].matchNames()
}

func holds(reason string) Check { return Check{true, Finding{Reason: reason}} }

func fails(f Finding) Check { return Check{false, f} }
