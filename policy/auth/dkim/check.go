package dkim

import (
	"context"
	"time"

	"gatemilter/policy"
)

// LookupTXT asks DNS for the TXT records at a name, as [net.Resolver.LookupTXT]
// does. It has to return soon after its context ends. Errors are a
// [*net.DNSError] with IsNotFound where there is no such record; all others are
// temporary.
type LookupTXT func(ctx context.Context, name string) ([]string, error)

// Limits bound the work on one message. The zero value is the defaults.
type Limits struct {
	// Signatures is how many are verified, counted from the top of the header; 0
	// is 5.
	Signatures int
	// Lookups is the time from Begin in which the keys have to come; 0 is 10 s.
	Lookups time.Duration
}

const (
	defaultSignatures = 5
	defaultLookups    = 10 * time.Second
)

// A Check verifies the signatures of one message. It is for one goroutine, and
// must come to Finish or Abort.
type Check struct {
	signatures []*signature
	surplus    int

	lookups lookups
	runs    []*run
	// started says that the keys are settled and the runs are there.
	started bool
	body    body
	// refused is why the body can't be verified, or nil.
	refused *objection
	ended   bool
}

// Begin reads the signatures in a header and starts to look up their keys.
// The values of fields may be folded with "\n" or "\r\n". The context has to
// last until Finish: when it ends, so do the lookups.
func Begin(ctx context.Context, fields []policy.Field, lookupTXT LookupTXT, limits Limits) *Check {
	if limits.Signatures <= 0 {
		limits.Signatures = defaultSignatures
	}
	if limits.Lookups <= 0 {
		limits.Lookups = defaultLookups
	}
	c := new(Check)
	c.find(fields, limits)
	c.lookups = startLookups(ctx, c.unsettled(), lookupTXT, limits.Lookups)
	return c
}

// find reads the signatures and what they sign.
func (c *Check) find(fields []policy.Field, limits Limits) {
	now := time.Now()
	for i := range fields {
		switch {
		case !fields[i].Is(signatureName):
		case len(c.signatures) == limits.Signatures:
			c.surplus++
		default:
			c.signatures = append(c.signatures, readSignature(i, fields[i].Value, now))
		}
	}
	tell(c.signatures)
	unsettled := c.unsettled()
	if len(unsettled) == 0 {
		return
	}
	h := newHeader(fields)
	for _, s := range unsettled {
		if o := h.text(s); o != nil {
			s.settle(o)
		}
	}
}

func (c *Check) unsettled() []*signature {
	var unsettled []*signature
	for _, s := range c.signatures {
		if !s.settled() {
			unsettled = append(unsettled, s)
		}
	}
	return unsettled
}

// WantsBody says whether the rest of the body matters. It may turn false at any
// time, when the last signature is settled. It doesn't wait.
func (c *Check) WantsBody() bool {
	if !c.ended && !c.started && c.refused == nil && c.lookups.answered() {
		c.start()
	}
	return !c.ended && c.refused == nil && (!c.started || len(c.runs) > 0)
}

// Write takes the next piece of the body, with the line ends of SMTP. It waits
// for keys only when 256 KiB of body do, and at most until the time limit on
// lookups. It never fails.
func (c *Check) Write(p []byte) (int, error) {
	n := len(p)
	if !c.WantsBody() {
		return n, nil
	}
	if !c.body.scan(p) {
		c.refuse(forbidden("the body has more than %d blanks and line ends in a row", maxBlankRun))
		return n, nil
	}
	for len(p) > 0 {
		limit := maxPending
		if c.started {
			limit = blockSize
		}
		if p = c.body.keep(p, limit); len(p) == 0 {
			break
		}
		if !c.started {
			c.lookups.wait(c.lookups.ctx)
			c.start()
		}
		c.body.flush(c.runs)
	}
	return n, nil
}

// start settles the signatures without a good key and sets the verifier on the
// others.
func (c *Check) start() {
	c.started = true
	for _, s := range c.unsettled() {
		k, o := s.key.key()
		if k != nil {
			s.result.Testing = k.testing
		}
		if o == nil {
			o = k.suits(s)
		}
		if o == nil {
			o = c.refused
		}
		if o != nil {
			s.settle(o)
			continue
		}
		c.runs = append(c.runs, startRun(s, k))
	}
	c.lookups.stop()
	c.body.flush(c.runs)
}

// refuse ends the verification of the body; the keys still have their say.
func (c *Check) refuse(o *objection) {
	c.refused = o
	c.body = body{}
	for _, r := range c.runs {
		r.end()
		r.signature.settle(o)
	}
	c.runs = nil
}

// Finish ends the message and gives one result for each signature, in the order
// of the header, and one more for all beyond the limit. The context bounds the
// wait for keys further. After Abort or Finish there are no results.
func (c *Check) Finish(ctx context.Context) []policy.DKIM {
	if c.ended {
		return nil
	}
	if !c.started {
		c.lookups.wait(ctx)
		c.start()
	}
	c.body.flush(c.runs)
	for _, r := range c.runs {
		r.signature.conclude(r.end())
	}
	c.runs = nil
	c.Abort()
	return c.results()
}

// conclude takes the verifier's word. A signer in test mode is to be treated as
// if it had not signed, even if the signature fails (RFC 6376, section 3.6.1):
// so "fail", on which others may act, is not said.
func (s *signature) conclude(o *objection) {
	switch {
	case o == nil:
		s.settle(&objection{result: policy.AuthPass})
	case o.result == policy.AuthFail && s.result.Testing:
		s.settle(neutral("%s; the key is in test mode", o.reason))
	default:
		s.settle(o)
	}
}

func (c *Check) results() []policy.DKIM {
	var results []policy.DKIM
	for _, s := range c.signatures {
		results = append(results, s.result)
	}
	if c.surplus > 0 {
		o := forbidden("too many signatures: %d more than %d", c.surplus, len(c.signatures))
		results = append(results, policy.DKIM{Result: o.result, Reason: o.reason})
	}
	return results
}

// Abort ends the work on the message and frees all that it holds. It is harmless
// after Finish.
func (c *Check) Abort() {
	c.ended = true
	c.lookups.stop()
	for _, r := range c.runs {
		r.end()
	}
	c.runs, c.body = nil, body{}
}
