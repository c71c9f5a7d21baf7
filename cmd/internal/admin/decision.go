package admin

import (
	"net/netip"
	"slices"
	"time"

	"gatemilter/cmd/internal/visible"
	"gatemilter/milter"
	"gatemilter/policy"
)

// Limits of what is kept of a message.
const (
	maxDecisions = 100
	maxSteps     = 20
	maxResults   = 12
	maxText      = 320 // characters, as in the log
)

// short makes a text visible that may come from a peer, and cuts it. What it returns
// shares no memory with what it is given, which may be part of a whole message.
func short(s string) string { return visible.Text(s, maxText) }

// What became of a message: an action of policy, or one of these.
const (
	outcomeAborted = "aborted" // the client gave it up
	outcomeError   = "error"   // it was deferred because something is wrong with the daemon or the milter connection
)

// outcomes are all that there are, in the order of the page.
var outcomes = []string{
	policy.Accept.String(), policy.TempFail.String(), policy.Reject.String(), policy.Quarantine.String(), policy.Discard.String(),
	outcomeError, outcomeAborted,
}

func outcomeOf(r *milter.Record) string {
	switch {
	case r.Failure != nil:
		return outcomeError
	case r.Stage == milter.StageAborted:
		return outcomeAborted
	}
	return r.Verdict.Action.String()
}

// A decision is what the page shows of a message.
type decision struct {
	Time              time.Time
	QueueID           string
	Outcome           string
	Observed          bool
	Direction         string
	Sender            string
	Client, Name, TLS string
	Gateway           string
	Source            string
	Reply             string
	Recipients        int
	Refused           int
	Results           []result
	Steps             []step
	Duration          time.Duration
	Error             string
}

// A result is that of an authentication method.
type result struct{ Method, Word, Of string }

// A step is a rule that spoke, and for how many recipients; 0 where it spoke of all.
type step struct {
	Rule, Text string
	Recipients int
}

// newDecision returns what is kept of a message. One that the client gave up before
// anything was decided is not worth that.
func newDecision(r *milter.Record, outcome string) (d decision, kept bool) {
	v := &r.Verdict
	d = decision{
		QueueID: short(r.QueueID), Outcome: outcome, Observed: r.Mode == policy.Observe && outcome == v.Action.String(),
		Direction: v.Direction.String(), Sender: short(r.Sender),
		Client: address(r.Client.IP), Name: short(r.Client.Name), TLS: r.Client.TLS.String(),
		Gateway: v.Gateway, Source: sourceOf(&v.Source), Reply: short(v.Reply.String()), Recipients: len(v.Recipients),
		Results: results(&v.Authentication), Steps: steps(v), Duration: r.Duration,
	}
	for i := range v.Recipients {
		if v.Recipients[i].Action.Refuses() {
			d.Refused++
		}
	}
	if r.Failure != nil {
		d.Reply, d.Error = short(r.Answer.String()), short(r.Failure.Error())
	}
	return d, outcome != outcomeAborted || d.Refused > 0
}

func address(ip netip.Addr) string {
	if !ip.IsValid() {
		return ""
	}
	return ip.String()
}

func sourceOf(s *policy.Source) string {
	switch {
	case s.Outcome == policy.Internal:
		return "internal mail"
	case !s.IP.IsValid():
		return ""
	case s.Outcome == policy.Fallback:
		return s.IP.String() + " (the source could not be read)"
	}
	return s.IP.String()
}

func results(a *policy.Authentication) (list []result) {
	add := func(method string, r policy.AuthResult, of string) {
		if r != "" && len(list) < maxResults {
			list = append(list, result{method, short(string(r)), short(of)})
		}
	}
	add("SPF", a.SPF.Result, a.SPF.Domain)
	for _, d := range a.DKIM {
		add("DKIM", d.Result, d.Domain)
	}
	add("DMARC", a.DMARC.Result, a.DMARC.Domain)
	return list
}

// steps are the rules that spoke, on the message or on recipients, in order; the same
// words are said once.
func steps(v *policy.Verdict) (list []step) {
	add := func(r policy.Reason, recipients int) {
		s := step{Rule: string(r.Code), Text: short(r.Text)}
		i := slices.IndexFunc(list, func(t step) bool { return t.Rule == s.Rule && t.Text == s.Text })
		switch {
		case i >= 0:
			list[i].Recipients += recipients
		case len(list) < maxSteps:
			s.Recipients = recipients
			list = append(list, s)
		}
	}
	for _, r := range v.Reasons {
		add(r, 0)
	}
	for i := range v.Recipients {
		for _, r := range v.Recipients[i].Reasons {
			add(r, 1)
		}
	}
	return list
}

// codes are those of all rules that spoke, each once.
func codes(v *policy.Verdict) (list []policy.Code) {
	add := func(reasons []policy.Reason) {
		for _, r := range reasons {
			if !slices.Contains(list, r.Code) {
				list = append(list, r.Code)
			}
		}
	}
	add(v.Reasons)
	for i := range v.Recipients {
		add(v.Recipients[i].Reasons)
	}
	return list
}

// recent are the last decisions.
type recent struct {
	ring [maxDecisions]decision
	n    int
}

func (r *recent) add(d decision) {
	r.ring[r.n%maxDecisions] = d
	r.n++
}

// newest returns all of them, the newest first.
func (r *recent) newest() []decision {
	list := make([]decision, 0, min(r.n, maxDecisions))
	for i := r.n - 1; i >= max(0, r.n-maxDecisions); i-- {
		list = append(list, r.ring[i%maxDecisions])
	}
	return list
}
