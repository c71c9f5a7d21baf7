package milter

import (
	"context"
	"strings"
	"time"

	"gatemilter/policy"
)

// evaluationLimit is how long the decision on one message may take. Postfix waits
// 300 s at the end of a message, Sendmail 60 s as it is commonly set.
const evaluationLimit = 30 * time.Second

// keptFields is the number of header fields for which a session keeps room
// between messages.
const keptFields = 128

// A Record is what the log is told about one message.
type Record struct {
	// QueueID is the mail server's name for the message, or "" before it has one.
	QueueID string
	Client  policy.Client
	Login   string
	Sender  string
	// Verdict is what policy decided, or zero when the message ended before.
	Verdict policy.Verdict
	Mode    policy.Mode
	// Stage is where the message ended.
	Stage Stage
	// Answer and Failure are set when the connection itself refused the message.
	Answer  policy.Reply
	Failure error
	// Duration is the time spent on the decision at the end of the message.
	Duration time.Duration
}

// A Stage is the place in an SMTP transaction where a message ended.
type Stage string

// The stages. Aborted messages were given up by the client or refused by
// somebody else.
const (
	StageMail    Stage = "mail"
	StageRcpt    Stage = "rcpt"
	StageEnd     Stage = "end-of-message"
	StageAborted Stage = "aborted"
)

// Rules are one generation of what the administrator decided.
type Rules struct {
	Policy *policy.Policy
	// Checker authenticates messages; nil leaves that out.
	Checker policy.Checker
}

// Sessions makes the sessions that apply a policy.
type Sessions struct {
	// Rules returns the rules in force. A message keeps those that were in force
	// at its MAIL.
	Rules func() Rules
	// Report is told of each message, in the goroutine of its connection.
	Report func(*Record)

	names gatewayNames
}

// New makes the session of one connection.
func (s *Sessions) New() Session { return &session{sessions: s} }

// session applies the policy to the messages of one connection.
type session struct {
	sessions *Sessions
	macros   *Macros
	client   policy.Client

	// Of the message:
	mode    policy.Mode
	checker policy.Checker
	tx      *policy.Transaction
	header  []policy.Field
	record  Record
	// recipients are those that Sendmail has to read again when the sender changes.
	recipients []Envelope
	// cancel ends what looks after the message.
	cancel context.CancelFunc
}

func (s *session) Connect(peer Peer, macros *Macros) {
	s.macros = macros
	s.client = policy.Client{IP: peer.Addr.Addr(), Local: peer.Path != "", Name: verifiedName(peer.Name)}
}

// verifiedName is the client's reverse name where the mail server is sure of it.
func verifiedName(name string) string {
	if strings.HasPrefix(name, "[") || name == "unknown" {
		return ""
	}
	return name
}

func (s *session) Helo(name string) { s.client.HELO = name }

func (s *session) Mail(sender Envelope) policy.Reply {
	rules := s.sessions.Rules()
	p := rules.Policy
	s.mode, s.checker = p.Mode(), rules.Checker
	s.client.TLS = tlsVersion(s.macros)
	s.client.Certificate = certificateName(s.macros)
	s.client.Resembles = s.sessions.names.see(p, &s.client)
	s.header = s.header[:0]
	login := s.macros.login()
	s.record = Record{Client: s.client, Login: login, Sender: sender.Address, Mode: s.mode, Stage: StageAborted}
	s.tx = p.Begin(s.client, login, sender.Address)
	mail := s.tx.Mail()
	if !s.takesEffect(mail.Action) {
		return policy.Reply{}
	}
	s.record.Verdict = s.tx.SoFar()
	s.record.Stage = StageMail
	s.report()
	return mail.Reply
}

func (s *session) Rcpt(recipient Envelope) policy.Reply {
	d := s.tx.Rcpt(recipient.Address, s.resolved())
	if s.takesEffect(d.Action) {
		return d.Reply
	}
	if s.record.Login != "" && s.macros.fromSendmail() {
		s.recipients = append(s.recipients, recipient)
	}
	return policy.Reply{}
}

// resolved is the recipient as the mail server has resolved it: in doubt how to read what
// the client wrote, that counts. But not on Sendmail, which has followed its virtual
// users already, and says of its own users no domain.
func (s *session) resolved() string {
	if s.macros.fromSendmail() {
		return ""
	}
	return s.macros.Get("{rcpt_addr}")
}

// takesEffect says whether an action is one that has to be answered now.
func (s *session) takesEffect(a policy.Action) bool {
	return a.Refuses() && s.mode == policy.Enforce
}

func (s *session) Header(name, value string) {
	s.header = append(s.header, policy.Field{Name: name, Value: value})
}

// Overflow refuses what is too large to be examined. Mail that is not examined, or
// only observed, is let through.
func (s *session) Overflow(refusal policy.Reply) policy.Reply {
	if s.mode == policy.Observe || !s.tx.Examined() {
		return policy.Reply{}
	}
	return refusal
}

func (s *session) EndOfHeader() (wantBody bool) {
	// The body may take hours to arrive, but nothing that begins here has to wait for
	// it.
	var ctx context.Context
	ctx, s.cancel = context.WithTimeout(context.Background(), evaluationLimit)
	return s.tx.Header(ctx, s.header, s.checker)
}

func (s *session) Body(piece []byte) { s.tx.Body(piece) }

func (s *session) EndOfMessage(ctx context.Context) Outcome {
	ctx, cancel := context.WithTimeout(ctx, evaluationLimit)
	defer cancel()
	start := time.Now()
	s.record.Verdict = s.tx.Finish(ctx)
	s.record.Duration = time.Since(start)
	if s.mode == policy.Observe {
		return Outcome{}
	}
	v := &s.record.Verdict
	o := Outcome{Action: v.Action, Reply: v.Reply, Edits: v.Edits, QuarantineReason: "marked as spam by gateway " + v.Gateway}
	if s.macros.fromSendmail() {
		s.suitSendmail(&o)
	}
	return o
}

// suitSendmail changes an outcome to what means the same on Sendmail. It chooses the way of a
// message by its envelope sender and login, for each recipient when that is named: when
// we change the sender, it has to be asked again.
func (s *session) suitSendmail(o *Outcome) {
	o.Edits = s.record.Verdict.EditsWithoutRoute()
	if s.record.Verdict.Sender != "" {
		o.Readdress = s.recipients
	}
}

func (s *session) Done(answer policy.Reply, why error) {
	s.record.Stage = StageEnd
	if why != nil {
		s.record.Answer, s.record.Failure = answer, why
	}
	s.report()
}

func (s *session) Abort() {
	s.record.Verdict = s.tx.SoFar()
	if s.takesEffect(s.record.Verdict.Action) {
		s.record.Stage = StageRcpt
	}
	s.report()
}

// report hands the record over and forgets the message.
func (s *session) report() {
	s.tx.Abort()
	if s.cancel != nil {
		s.cancel()
		s.cancel = nil
	}
	s.record.QueueID = s.macros.Get("i")
	s.sessions.Report(&s.record)
	s.tx = nil
	s.record = Record{}
	if cap(s.header) > keptFields {
		s.header = nil
	}
	clear(s.header[:cap(s.header)])
	s.recipients = nil
}

func (s *session) Close() {}

// tlsVersion reads the version that protects the session.
func tlsVersion(m *Macros) policy.TLSVersion {
	name := m.Get("{tls_version}")
	if name == "" {
		return policy.TLSNone
	}
	// A version that can't be read is TLS all the same.
	v, _ := policy.ParseTLSVersion(name)
	return v
}

// certificateName returns the common name of the client certificate if the mail
// server has verified it. Sendmail says so in {verify}; Postfix sends
// {cert_subject} for verified certificates only, and no {verify}.
func certificateName(m *Macros) string {
	switch verified := m.Get("{verify}"); {
	case verified == "OK":
		return m.Get("{cn_subject}")
	case verified == "" && strings.HasPrefix(m.Get("v"), "Postfix"):
		return m.Get("{cert_subject}")
	}
	return ""
}
