package daemon

import (
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"gatemilter/milter"
	"gatemilter/policy"
)

// What is logged of a message: a level, a line that reads well by itself, and fields.

func level(r *milter.Record) zapcore.Level {
	switch {
	case r.Failure != nil:
		return zap.ErrorLevel
	case r.Stage == milter.StageAborted && refused(r.Verdict.Recipients) == 0:
		return zap.DebugLevel
	}
	return zap.InfoLevel
}

// recordFields are what programs want to know of a message. Empty ones are left out.
func recordFields(r *milter.Record) []zap.Field {
	f := make(fieldList, 0, 32)
	v := &r.Verdict
	f.text("queue_id", r.QueueID)
	f.text("verdict", v.Action.String())
	f.text("reply", v.Reply.String())
	f.client(r)
	f.source(v)
	f.add(zap.String("sender", short(r.Sender)))
	f.outgoing(v)
	f.recipients(v.Recipients)
	f.spam(&v.Spam)
	f.authentication(&v.Authentication)
	f.add(zap.Strings("reasons", reasons(v)), zap.String("stage", string(r.Stage)), zap.String("mode", r.Mode.String()))
	if len(v.Edits) > 0 {
		f.add(zap.Int("edits", len(v.Edits)))
	}
	if r.Failure != nil {
		f.add(zap.String("answer", r.Answer.String()), zap.String("error", short(r.Failure.Error())))
	}
	f.add(zap.Duration("duration", r.Duration.Round(time.Microsecond)))
	return f
}

type fieldList []zap.Field

func (f *fieldList) add(fields ...zap.Field) { *f = append(*f, fields...) }

// text adds a field that may hold octets from a peer, unless it is empty.
func (f *fieldList) text(key, value string) {
	if value != "" {
		f.add(zap.String(key, short(value)))
	}
}

func (f *fieldList) client(r *milter.Record) {
	f.text("client_ip", addr(r.Client))
	f.text("client_name", r.Client.Name)
	f.text("helo", r.Client.HELO)
	f.text("tls", r.Client.TLS.String())
	f.text("login", r.Login)
}

func (f *fieldList) source(v *policy.Verdict) {
	f.text("gateway", v.Gateway)
	if v.Source.IP.IsValid() {
		f.text("source_ip", v.Source.IP.String())
		f.text("source_helo", v.Source.HELO)
	}
	f.text("source", v.Source.Outcome.String())
}

// outgoing tells as what and by which way mail of our users leaves, where that is changed.
func (f *fieldList) outgoing(v *policy.Verdict) {
	f.text("new_sender", v.Sender)
	if g := v.UserGateway; g != nil {
		f.text("route", g.Transport()+":"+g.Nexthop())
	}
}

func (f *fieldList) recipients(decisions []policy.Decision) {
	f.add(zap.Int("recipients", len(decisions)))
	var list []string
	for i := range decisions {
		if decisions[i].Action.Refuses() && len(list) < maxRecipients {
			list = append(list, short(decisions[i].Address))
		}
	}
	if len(list) > 0 {
		f.add(zap.Strings("refused_recipients", list))
	}
}

func (f *fieldList) spam(s *policy.Spam) {
	if s.IsSpam || s.Scored {
		f.add(zap.Bool("spam", s.IsSpam))
	}
	if s.Scored {
		f.add(zap.Float64("spam_score", s.Score), zap.Float64("spam_threshold", s.Threshold))
	}
}

func (f *fieldList) authentication(a *policy.Authentication) {
	f.text("spf", string(a.SPF.Result))
	if len(a.DKIM) > 0 {
		f.add(zap.Strings("dkim", signatures(a.DKIM)))
	}
	f.text("dmarc", string(a.DMARC.Result))
	f.text("dmarc_policy", a.DMARC.Policy)
}

// summary is the line about a message, which reads well by itself. It holds
// only our own words and addresses.
func summary(r *milter.Record) string {
	var b strings.Builder
	v := &r.Verdict
	switch {
	case r.Failure != nil:
		b.WriteString("message refused because of an error")
	case r.Stage == milter.StageAborted:
		b.WriteString("message not completed")
	case r.Mode == policy.Observe:
		b.WriteString(observed[v.Action])
	default:
		b.WriteString(done[v.Action])
	}
	if v.Direction != policy.Inbound {
		b.WriteString(", " + v.Direction.String())
	}
	if ip := addr(r.Client); ip != "" {
		b.WriteString(": from " + ip)
	}
	if v.Gateway != "" {
		b.WriteString(" via gateway " + v.Gateway)
	}
	switch v.Source.Outcome {
	case policy.External, policy.Fallback:
		if v.Gateway != "" {
			b.WriteString(", source " + v.Source.IP.String())
		}
	case policy.Internal:
		b.WriteString(", internal")
	}
	switch {
	case v.Spam.IsSpam:
		b.WriteString(", spam")
	case v.Spam.Scored:
		b.WriteString(", not spam")
	}
	if v.Spam.Scored {
		b.WriteString(" (score " + policy.FormatScore(v.Spam.Score) + " of " + policy.FormatScore(v.Spam.Threshold) + ")")
	}
	if v.UserGateway != nil {
		b.WriteString(", for the user's own server " + v.UserGateway.Nexthop())
	}
	if n := refused(v.Recipients); n > 0 {
		what := " recipients refused"
		if r.Mode == policy.Observe {
			what = " recipients would be refused"
		}
		b.WriteString(", " + strconv.Itoa(n) + " of " + strconv.Itoa(len(v.Recipients)) + what)
	}
	return b.String()
}

// What happened to a message, or would have.
var (
	done = map[policy.Action]string{
		policy.Accept:     "message accepted",
		policy.TempFail:   "message deferred",
		policy.Reject:     "message rejected",
		policy.Quarantine: "message quarantined",
		policy.Discard:    "message discarded",
	}
	observed = map[policy.Action]string{
		policy.Accept:     "message accepted",
		policy.TempFail:   "message would be deferred",
		policy.Reject:     "message would be rejected",
		policy.Quarantine: "message would be quarantined",
		policy.Discard:    "message would be discarded",
	}
)

func addr(c policy.Client) string {
	if !c.IP.IsValid() {
		return ""
	}
	return c.IP.String()
}

// Limits of what a line shows of a message.
const (
	maxText       = 320 // characters; an address has at most 254 octets (RFC 5321, section 4.5.3.1)
	maxRecipients = 20
)

func short(s string) string { return Visible(s, maxText) }

// refused counts the recipients that were refused.
func refused(decisions []policy.Decision) (n int) {
	for i := range decisions {
		if decisions[i].Action.Refuses() {
			n++
		}
	}
	return n
}

// signatures tells results as "pass example.org".
func signatures(results []policy.DKIM) []string {
	var list []string
	for _, d := range results {
		list = append(list, strings.TrimSpace(string(d.Result)+" "+short(d.Domain)))
	}
	return list
}

// reasons are the codes of all rules that spoke, each once.
func reasons(v *policy.Verdict) []string {
	var list []string
	seen := make(map[policy.Code]bool)
	add := func(reasons []policy.Reason) {
		for _, r := range reasons {
			if !seen[r.Code] {
				seen[r.Code] = true
				list = append(list, string(r.Code))
			}
		}
	}
	add(v.Reasons)
	for i := range v.Recipients {
		add(v.Recipients[i].Reasons)
	}
	return list
}
