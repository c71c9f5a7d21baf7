package daemon

import (
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"gatemilter/milter"
	"gatemilter/policy"
	"gatemilter/policy/config"
)

// An eventLog has one method for each kind of event, so that wording, fields and
// what is left out are decided in one place. Texts that come from a peer are
// fields, which the encoder escapes, and never part of the line itself.
type eventLog struct{ zap *zap.Logger }

func newEventLog(c config.Log, w io.Writer) *eventLog {
	// The configuration has checked the level.
	level, _ := zapcore.ParseLevel(c.Level)
	return &eventLog{zap.New(zapcore.NewCore(encoder(c.Format), newLogQueue(w), level))}
}

// encoder of one line for each event; no event is ever left out by sampling.
func encoder(format string) zapcore.Encoder {
	c := zap.NewProductionEncoderConfig()
	c.EncodeTime = zapcore.RFC3339TimeEncoder
	c.EncodeDuration = zapcore.StringDurationEncoder
	if format == "json" {
		c.TimeKey, c.MessageKey = "time", "message"
		return zapcore.NewJSONEncoder(c)
	}
	c.ConsoleSeparator = " "
	return zapcore.NewConsoleEncoder(c)
}

func (l *eventLog) Sync() { l.zap.Sync() }

func (l *eventLog) started(c *config.Config, listeners []net.Listener) {
	var at []string
	for i := range listeners {
		at = append(at, describe(listeners[i].Addr()))
	}
	l.zap.Info("started", zap.Strings("milter", at), zap.Stringer("mode", c.Settings.Mode), zap.Int("gateways", len(c.Settings.Gateways)))
	l.warnings(c)
}

func (l *eventLog) warnings(c *config.Config) {
	for _, w := range c.Warnings {
		l.zap.Warn("configuration is doubtful", zap.Stringer("problem", w))
	}
}

func (l *eventLog) stopping(cause error) {
	if cause != nil {
		l.zap.Error("stopping", zap.Error(cause))
		return
	}
	l.zap.Info("stopping: messages in progress finish first")
}

func (l *eventLog) stopped() { l.zap.Info("stopped") }

func (l *eventLog) reloaded(c *config.Config, restart bool) {
	l.zap.Info("configuration reloaded", zap.Stringer("mode", c.Settings.Mode), zap.Int("gateways", len(c.Settings.Gateways)))
	if restart {
		l.zap.Warn("changed sockets and [log] take effect at the next restart")
	}
	l.warnings(c)
}

func (l *eventLog) reloadRefused(err error) {
	var problems config.Errors
	if !errors.As(err, &problems) {
		l.zap.Error("configuration refused, the old one stays in force", zap.Error(err))
		return
	}
	for _, p := range problems {
		l.zap.Error("configuration refused, the old one stays in force", zap.Stringer("problem", p))
	}
}

// trouble is something that went wrong on a connection with the mail server.
func (l *eventLog) trouble(remote string, err error) {
	l.zap.Error("milter connection", zap.String("peer", remote), zap.String("error", short(err.Error())))
}

// message writes the one line about a message.
func (l *eventLog) message(r *milter.Record) {
	level := zap.InfoLevel
	refusedRcpt := refused(r.Verdict.Recipients)
	if r.Failure != nil {
		level = zap.ErrorLevel
	} else if r.Stage == milter.StageAborted && len(refusedRcpt) == 0 {
		level = zap.DebugLevel
	}
	entry := l.zap.Check(level, summary(r))
	if entry == nil {
		return
	}
	fields := make([]zap.Field, 0, 24)
	add := func(key, value string) {
		if value != "" {
			fields = append(fields, zap.String(key, short(value)))
		}
	}
	add("queue_id", r.QueueID)
	add("verdict", r.Verdict.Action.String())
	add("reply", r.Verdict.Reply.String())
	add("client_ip", addr(r.Client))
	add("client_name", r.Client.Name)
	add("helo", r.Client.HELO)
	add("tls", r.Client.TLS.String())
	add("login", r.Login)
	add("gateway", r.Verdict.Gateway)
	if s := r.Verdict.Source; s.IP.IsValid() {
		add("source_ip", s.IP.String())
		add("source_helo", s.HELO)
	}
	add("source", r.Verdict.Source.Outcome.String())
	fields = append(fields, zap.String("sender", short(r.Sender)), zap.Int("recipients", len(r.Verdict.Recipients)))
	if len(refusedRcpt) > 0 {
		fields = append(fields, zap.Strings("refused_recipients", refusedRcpt[:min(len(refusedRcpt), maxRecipients)]))
	}
	if s := r.Verdict.Spam; s.IsSpam || s.Scored {
		fields = append(fields, zap.Bool("spam", s.IsSpam))
		if s.Scored {
			fields = append(fields, zap.Float64("spam_score", s.Score), zap.Float64("spam_threshold", s.Threshold))
		}
	}
	a := &r.Verdict.Authentication
	add("spf", string(a.SPF.Result))
	if len(a.DKIM) > 0 {
		fields = append(fields, zap.Strings("dkim", signatures(a.DKIM)))
	}
	add("dmarc", string(a.DMARC.Result))
	add("dmarc_policy", a.DMARC.Policy)
	fields = append(fields, zap.Strings("reasons", reasons(&r.Verdict)), zap.String("stage", string(r.Stage)), zap.String("mode", r.Mode.String()))
	if edits := len(r.Verdict.Edits); edits > 0 {
		fields = append(fields, zap.Int("edits", edits))
	}
	if r.Failure != nil {
		fields = append(fields, zap.String("answer", r.Answer.String()), zap.String("error", short(r.Failure.Error())))
	}
	fields = append(fields, zap.Duration("duration", r.Duration.Round(time.Microsecond)))
	entry.Write(fields...)
	l.hints(r)
}

// hints are what the administrator should look after: they are lines of their own.
func (l *eventLog) hints(r *milter.Record) {
	for _, reason := range r.Verdict.Reasons {
		switch reason.Code {
		case policy.LikelyGateway, policy.UnrecognisedHop, policy.ScoreUnreadable, policy.CertificateMissing, policy.SecretMissing:
			l.zap.Warn(string(reason.Code), zap.String("queue_id", short(r.QueueID)), zap.String("client_ip", addr(r.Client)), zap.String("hint", short(reason.Text)))
		}
	}
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
	if v.Direction == policy.Exempt {
		b.WriteString(", exempt")
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
	if n := len(refused(v.Recipients)); n > 0 {
		b.WriteString(", " + strconv.Itoa(n) + " of " + strconv.Itoa(len(v.Recipients)) + " recipients refused")
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

// refused returns the recipients that were refused.
func refused(decisions []policy.Decision) []string {
	var list []string
	for i := range decisions {
		if decisions[i].Action.Refuses() {
			list = append(list, short(decisions[i].Address))
		}
	}
	return list
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
