package policy

import (
	"context"
	"net/netip"
)

// An AuthResult is the result of an authentication method, in the words of
// RFC 8601, section 2.7.
type AuthResult string

// The results.
const (
	AuthNone      AuthResult = "none"
	AuthPass      AuthResult = "pass"
	AuthFail      AuthResult = "fail"
	AuthSoftFail  AuthResult = "softfail"
	AuthNeutral   AuthResult = "neutral"
	AuthPolicy    AuthResult = "policy"
	AuthTempError AuthResult = "temperror"
	AuthPermError AuthResult = "permerror"
)

// A Checker authenticates messages. It is safe for use by several goroutines.
type Checker interface {
	// Begin starts with a message whose header is there. What it does ends with
	// ctx at the latest.
	Begin(ctx context.Context, r AuthRequest) Authenticator
	// Report returns the fields that tell the results, topmost first.
	Report(a *Authentication, v *Verdict) []Field
	// Claims says whether a field pretends to be such a report of ours.
	Claims(f *Field) bool
}

// An Authenticator authenticates one message while it arrives. It must come to
// Finish or Abort.
type Authenticator interface {
	// WantsBody says whether the body is needed at all.
	WantsBody() bool
	Write(p []byte)
	Finish(ctx context.Context) Authentication
	Abort()
}

// An AuthRequest is what has to be authenticated.
type AuthRequest struct {
	// Source is where the message comes from. Unless it is external, there is no
	// address to check: that of a gateway says nothing about the sender.
	Source Source
	// Sender is the envelope sender; "" is the null sender.
	Sender string
	Header []Field
}

// Authentication is what SPF, DKIM and DMARC say of a message. A method whose
// Result is "" was not asked.
type Authentication struct {
	SPF   SPF
	DKIM  []DKIM
	DMARC DMARC
}

// SPF is the result of checking the source against the sender's policy (RFC 7208).
type SPF struct {
	Result AuthResult
	// IP is the address that was checked.
	IP netip.Addr
	// Identity is "mailfrom" or "helo": which name was checked.
	Identity string
	// Domain is the domain of that identity, and Sender the address that stands
	// for it ("postmaster@HELO" for the null sender).
	Domain string
	Sender string
	// HELO is the name with which the source introduced itself, or "".
	HELO string
	// Reason is for people.
	Reason string
}

// DKIM is the result of verifying one signature (RFC 6376).
type DKIM struct {
	Result AuthResult
	// Domain, Selector, Identity and Algorithm are the tags d=, s=, i= and a= of
	// the signature, "" where they could not be read. Domain is lower case.
	Domain    string
	Selector  string
	Identity  string
	Algorithm string
	// Signature is the beginning of b=, which tells signatures apart (RFC 6008).
	Signature string
	// Testing says that the key is in test mode (t=y).
	Testing bool
	// Reason is for people.
	Reason string
}

// DMARC is the result of comparing what was authenticated with the author's domain
// (RFC 9989).
type DMARC struct {
	Result AuthResult
	// Domain is that of the From field, RecordDomain the one whose record
	// applies.
	Domain       string
	RecordDomain string
	// Policy is what the domain's owner asks for mail that fails: "none",
	// "quarantine" or "reject", or "" without a record. It is the policy for this
	// message: that for subdomains or for test mode, where these apply.
	Policy string
	// Reason is for people.
	Reason string
}

// judgeDMARC does what the author's domain asks for mail that fails DMARC, where
// that is to be enforced.
func (p *Policy) judgeDMARC(g *gateway, header []Field, v *Verdict) {
	d := &v.Authentication.DMARC
	mode := p.dmarc
	if g != nil && g.DMARC != nil {
		mode = *g.DMARC
	}
	if mode != DMARCEnforce {
		return
	}
	switch {
	case countFields(header, "From") > 1:
		// No mail program writes that, and nobody knows which one the reader sees.
		v.refuse(refuse(Reply{550, "5.7.1", "message has more than one From field"}, Reason{DMARCReject, "the author can't be told: there are several From fields"}))
	case d.Result == AuthPermError:
		// The reader may be shown an author of whom nobody knows which it is.
		v.note(DMARCQuarantine, "the author can't be told: "+d.Reason)
		p.quarantine(g, v)
	case d.Result == AuthFail && d.Policy == "quarantine":
		v.note(DMARCQuarantine, "DMARC fails, and "+d.RecordDomain+" asks to quarantine")
		p.quarantine(g, v)
	case d.Result == AuthFail && d.Policy == "reject":
		v.refuse(refuse(Reply{550, "5.7.1", "message is refused by the DMARC policy of its author's domain"},
			Reason{DMARCReject, "DMARC fails, and " + d.RecordDomain + " asks to reject"}))
	}
}

// quarantine treats a message as spam because of DMARC.
func (p *Policy) quarantine(g *gateway, v *Verdict) {
	if p.allowlists(v.Source) {
		v.note(Allowlisted, "source "+v.Source.IP.String()+" is in the allowlist: not spam")
		return
	}
	v.Spam.IsSpam, v.Spam.ByDMARC = true, true
	v.spam(g)
}

func countFields(header []Field, name string) (n int) {
	for i := range header {
		if header[i].Is(name) {
			n++
		}
	}
	return n
}
