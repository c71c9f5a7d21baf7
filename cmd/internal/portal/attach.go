package portal

import (
	"context"
	"errors"
	"net/http"
	"time"

	"gatemilter/cmd/internal/visible"
	"gatemilter/milter/tlsprobe"
	"gatemilter/policy/identity"
)

// An outcome is what came of trying a server.
type outcome struct {
	status  int
	notice  *notice
	trouble *trouble
	saved   bool // what was to be stored is
	sent    bool // the code is on its way, or the server would take mail
	// storing is what came of storing it, as an event has it, and why; "" where it has not come to
	// that.
	storing, reason string
}

// stored notes what came of storing something.
func (o *outcome) stored(err error) {
	o.saved, o.storing, o.reason = err == nil, resultOf(err), reasonOf(err)
}

// logSaved tells of what was stored, or of what could not be: not of what has not come to that.
func (v *visit) logSaved(r identity.Record, o outcome) {
	if o.storing != "" {
		v.log(Event{Kind: Saved, Result: o.storing, Reason: o.reason, Address: r.Address, Server: serverOf(r.Gateway)})
	}
}

// usesOwn says whether mail from the address goes by its own server.
func (v *visit) usesOwn(r identity.Record) bool { return r.Gateway != nil && v.facts.AllowUserGateways }

// A delivery is a letter under way. What became of storing its code is known once the server
// has agreed to the message.
type delivery struct {
	*tlsprobe.Letter
	begun   bool // nothing is left to do but to make the code, and to send it
	outcome      // of storing what was to be stored
	failure error
}

// deliver makes the letter with a code for a record, which save stores first, if not nil. Before
// all that, count says whether there may be another code.
func (v *visit) deliver(from string, r identity.Record, count func() error, save func(context.Context) error) *delivery {
	d := new(delivery)
	d.Letter = &tlsprobe.Letter{From: from, To: r.Address, Write: func(ctx context.Context) (data []byte, err error) {
		defer func() { d.failure = err }()
		if err := count(); err != nil {
			return nil, err
		}
		if d.saved = save == nil; save != nil {
			err := save(ctx)
			if d.stored(err); err != nil {
				return nil, err
			}
		}
		d.begun = true
		code, err := v.Store.NewCode(ctx, v.by(), r.Login, r.Address)
		if err != nil {
			return nil, err
		}
		return v.compose(from, r, code)
	}}
	return d
}

// A waitError says that there were too many codes, and how long to wait for another.
type waitError time.Duration

func (waitError) Error() string { return "too many codes in a short time" }

// sendLetter has a code sent to the address: by its server, from itself, or else by ours, from
// the account. What save stores, if not nil, is stored once that server has agreed to the message.
//
// A code counts when one is about to be sent. Of our server that is said before it is asked
// anything, as it writes to whatever address somebody enters. A user's own has to take his login
// first: to find out its name and port takes several attempts, which count as tests, and send
// nothing.
func (v *visit) sendLetter(r identity.Record, save func(context.Context) error) outcome {
	codes := []attempt{{v.limits.codeAccount, r.Login}, {v.limits.codePair, r.Login + "\x00" + r.Address}, {v.limits.codeAddress, r.Address}}
	count := func() error {
		if wait := try(codes...); wait > 0 {
			return waitError(wait)
		}
		return nil
	}
	from, by, server, ask := r.Account, v.byRelay, v.Config.Relay.String(), try
	counted := func() error { return nil }
	if v.usesOwn(r) {
		from, by, server, ask, counted = r.Address, v.byOwn, serverOf(r.Gateway), waitFor, count
	}
	if wait := ask(codes...); wait > 0 {
		v.log(Event{Kind: Limited, Result: string(CodeSent), Address: r.Address})
		return outcome{status: http.StatusTooManyRequests, notice: v.tooOften(wait)}
	}
	d := v.deliver(from, r, counted, save)
	o := by(r, d)
	o.saved, o.storing, o.reason = d.saved, d.storing, d.reason
	if wait := waitError(0); errors.As(d.failure, &wait) {
		v.log(Event{Kind: Limited, Result: string(CodeSent), Address: r.Address})
	}
	if !d.begun && (v.usesOwn(r) || d.failure != nil) {
		return o // it has not come to a code
	}
	e := Event{Kind: CodeSent, Result: OK, Address: r.Address, Server: server}
	if !o.sent {
		e.Result = resultFailed
		if d.failure != nil {
			e.Result = resultOf(d.failure)
		}
	}
	v.log(e)
	return o
}

// byOwn gives a letter to the server of the address itself.
func (v *visit) byOwn(r identity.Record, d *delivery) outcome {
	if wait := v.limitTests(r.Login); wait != nil {
		return outcome{status: http.StatusTooManyRequests, notice: wait}
	}
	report, err := v.reach(r.Gateway, d.Letter)
	v.logTest(r, &report, err)
	return v.conclude(r, &report, err, d.failure)
}

// byRelay gives a letter to our own server.
func (v *visit) byRelay(r identity.Record, d *delivery) outcome {
	report, err := v.relay(d.Letter)
	switch {
	case d.failure != nil || errors.Is(err, errBusy):
		return v.conclude(r, &report, err, d.failure)
	case err == nil:
		return outcome{status: http.StatusOK, sent: true}
	}
	v.Report(err)
	n := &notice{Kind: "bad", Text: v.lang.t("relay.failed", "address", r.Address)}
	if report.Said != "" {
		n.More = []string{v.lang.t("said", "text", visible.Text(report.Said, maxSaid))}
	}
	return outcome{status: http.StatusServiceUnavailable, notice: n}
}

// limitTests counts a connection to a user's server, or says that he has to wait.
func (v *visit) limitTests(login string) *notice {
	wait := try(attempt{v.limits.testAccount, login}, attempt{v.limits.testClient, network(v.client)})
	if wait <= 0 {
		return nil
	}
	v.log(Event{Kind: Limited, Result: string(Tested)})
	return v.tooOften(wait)
}

func (v *visit) logTest(r identity.Record, report *tlsprobe.Report, err error) {
	e := Event{Kind: Tested, Result: OK, Address: r.Address, Server: serverOf(r.Gateway)}
	switch f := firstFailure(report); {
	case errors.Is(err, errBusy):
		e.Result = resultBusy
	case err != nil:
		e.Result, e.Reason = resultFailed, err.Error()
	case f.Problem != "" && f.Problem != tlsprobe.LetterUnwritten: // which is not the server's
		e.Result, e.Reason = string(f.Problem), f.Reason
	}
	v.log(e)
}

// conclude says what a report means to the user. A failure is one of ours, to store what was to be
// sent.
func (v *visit) conclude(r identity.Record, report *tlsprobe.Report, err, failure error) (o outcome) {
	switch {
	case failure != nil:
		o.status, o.notice = v.failed(failure)
	case errors.Is(err, errBusy):
		o.status, o.notice = http.StatusServiceUnavailable, &notice{Kind: "bad", Text: v.lang.t("busy")}
	case err != nil:
		v.Report(err)
		o.status, o.notice = http.StatusServiceUnavailable, &notice{Kind: "bad", Text: v.lang.t("failed")}
	case firstFailure(report).Problem == "":
		o.status, o.sent = http.StatusOK, true
	default:
		o.status, o.trouble = http.StatusUnprocessableEntity, v.explain(r.Gateway, r.Address, report)
	}
	return o
}
