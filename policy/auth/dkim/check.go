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
	// Cached answers at once, as LookupTXT would, what is known without asking. It
	// saves a goroutine; nil knows nothing.
	Cached func(name string) (records []string, known bool, err error)
	// Signatures is how many are verified: first those near the domain of an author,
	// then the others, both counted from the top of the header; 0 is 5.
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
	// judged says that the keys are known, and open are the signatures with a
	// good one, which the verifier has to settle.
	judged bool
	open   []*signature
	// body is nil where it doesn't matter.
	body *body
	// runs are those of the open signatures, once there is more body than is
	// held.
	runs []*run
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
	unsettled := c.unsettled()
	if len(unsettled) > 0 {
		c.body = newBody()
	}
	c.lookups = startLookups(ctx, unsettled, lookupTXT, limits)
	return c
}

// find reads the signatures and what they sign.
func (c *Check) find(fields []policy.Field, limits Limits) {
	now := time.Now()
	var places []int
	places, c.surplus = choose(fields, limits.Signatures)
	for _, place := range places {
		c.signatures = append(c.signatures, readSignature(place, fields[place].Value, now))
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
	if c.ended || c.refused != nil {
		return false
	}
	if !c.judged && c.lookups.answered() {
		c.judge()
	}
	return !c.judged || len(c.open) > 0
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
	for p = c.body.hold(p); len(p) > 0 && c.handOver(); {
		p = c.body.hold(p)
	}
	return n, nil
}

// handOver makes room in the body: what is held goes to the runs, which now have
// to be. It fails if there are none, since no signature is open.
func (c *Check) handOver() bool {
	if !c.judged {
		c.lookups.wait(c.lookups.ctx)
		c.judge()
	}
	if len(c.open) == 0 {
		return false
	}
	if c.runs == nil {
		for _, s := range c.open {
			c.runs = append(c.runs, startRun(s))
		}
	}
	feed(c.runs, c.body.held)
	c.body.held = c.body.held[:0]
	return true
}

// judge settles the signatures without a good key. The others are open.
func (c *Check) judge() {
	c.judged = true
	for _, s := range c.unsettled() {
		k, o := s.lookup.key()
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
		s.key = k
		c.open = append(c.open, s)
	}
	c.lookups.stop()
	if len(c.open) == 0 {
		c.freeBody()
	}
}

// refuse ends the verification of the body; the keys still have their say.
func (c *Check) refuse(o *objection) {
	c.refused = o
	c.endRuns()
	c.freeBody()
	for _, s := range c.open {
		s.settle(o)
	}
	c.open = nil
}

// Finish ends the message and gives one result for each signature, in the order
// of the header, and one more for all beyond the limit. The context bounds the
// wait for keys further. After Abort or Finish there are no results.
func (c *Check) Finish(ctx context.Context) []policy.DKIM {
	if c.ended {
		return nil
	}
	if !c.judged {
		c.lookups.wait(ctx)
		c.judge()
	}
	if c.runs != nil {
		c.handOver()
		for i, o := range c.endRuns() {
			c.open[i].conclude(o)
		}
	} else {
		for _, s := range c.open {
			s.conclude(s.verify(c.body.held))
		}
	}
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
	c.endRuns()
	c.freeBody()
}

// endRuns ends the body for the runs and gives their results, which are worth
// something if it was all there.
func (c *Check) endRuns() []*objection {
	var results []*objection
	for _, r := range c.runs {
		results = append(results, r.end())
	}
	c.runs = nil
	return results
}

func (c *Check) freeBody() {
	if c.body != nil {
		c.body.free()
		c.body = nil
	}
}
