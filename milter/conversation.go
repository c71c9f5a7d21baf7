package milter

import (
	"context"
	"fmt"
	"strings"

	protocol "github.com/emersion/go-milter"

	"gatemilter/milter/accept"
	"gatemilter/policy"
)

// Limits of one message. Over those of the header the message is refused, over
// that of recipients the recipient (RFC 5321, section 4.5.3.1.10).
const (
	maxRecipients  = 10000
	maxFields      = 20000
	maxHeaderBytes = 1 << 20
)

var (
	headerTooLarge    = policy.Reply{Code: 552, Enhanced: "5.3.4", Text: fmt.Sprintf("Message header too large: at most %d octets in %d fields", maxHeaderBytes, maxFields)}
	tooManyRecipients = policy.Reply{Code: 452, Enhanced: "4.5.3", Text: fmt.Sprintf("Too many recipients: at most %d for one message", maxRecipients)}
)

// A conversation is what the packets of one connection mean: where the protocol
// stands, and the calls to the session that follow.
type conversation struct {
	newSession func() Session
	report     func(error)
	// patience is cancelled when the server waits no longer.
	patience context.Context

	agreement
	phase   phase
	session Session
	macros  Macros
	// broken is why the session can't be asked about messages any more.
	broken  error
	message message
	// peer, envelope and tail are the arguments of the command that the library
	// is to handle next.
	peer     Peer
	envelope Envelope
	tail     []byte
	// out are the packets to be sent.
	out accept.Outbox
}

// A message is what has to be known of the one that is under way.
type message struct {
	recipients, fields, headerBytes int
	overflow                        bool
	wantBody                        bool
	// why is what spoiled the message, or nil, and answer the reply to it.
	why    error
	answer policy.Reply
}

// call guards a call to the session.
func (c *conversation) call(name string, f func()) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = accept.Panicked(name, v)
			c.report(err)
		}
	}()
	f()
	return nil
}

// tell makes a call that concerns the session as a whole, unless that is
// broken.
func (c *conversation) tell(name string, f func()) {
	if c.broken == nil {
		c.broken = c.call(name, f)
	}
}

// ask makes a call that concerns the message, unless that is spoiled.
func (c *conversation) ask(name string, f func()) {
	if c.message.why != nil {
		return
	}
	if err := c.call(name, f); err != nil {
		c.spoil(filterFault, err)
	}
}

// spoil decides the message ahead of its end. The answer is given to the next
// RCPT or to the end of the message, so that there is one place at which a
// message ends; SKIP spares us the body until then.
func (c *conversation) spoil(answer policy.Reply, why error) {
	if c.message.why == nil {
		c.message.answer, c.message.why = answer, why
	}
}

// checked replaces a reply that can't be given.
func (c *conversation) checked(r policy.Reply) policy.Reply {
	if r == (policy.Reply{}) {
		return r
	}
	if err := checkReply(r); err != nil {
		c.report(err)
		return filterFault
	}
	return r
}

func (c *conversation) connect() {
	c.phase = phaseIdle
	c.tell("NewSession", func() { c.session = c.newSession() })
	c.tell("Connect", func() { c.session.Connect(c.peer, &c.macros) })
}

func (c *conversation) helo(name string) {
	c.tell("Helo", func() { c.session.Helo(name) })
}

func (c *conversation) mail() policy.Reply {
	c.message = message{}
	if c.broken != nil {
		return filterFault
	}
	reply := filterFault
	c.ask("Mail", func() { reply = c.session.Mail(c.envelope) })
	if reply = c.checked(reply); reply == (policy.Reply{}) {
		c.phase = phaseEnvelope
	}
	return reply
}

func (c *conversation) rcpt() policy.Reply {
	if c.message.why != nil {
		return c.message.answer
	}
	if c.message.recipients++; c.message.recipients > maxRecipients {
		return c.overflow(tooManyRecipients)
	}
	reply := filterFault
	c.ask("Rcpt", func() { reply = c.session.Rcpt(c.envelope) })
	return c.checked(reply)
}

func (c *conversation) field(name, value string) {
	if !c.has(protocol.OptHeaderLeadingSpace) && strings.IndexAny(value, "\t\r\n") != 0 {
		// The MTA has taken one blank away, if there was any; most likely
		// there was none where the value begins with another.
		value = " " + value
	}
	c.phase = phaseHeader
	m := &c.message
	if m.overflow {
		return
	}
	m.fields++
	m.headerBytes += len(name) + len(value)
	if m.fields > maxFields || m.headerBytes > maxHeaderBytes {
		m.overflow = true
		if refusal := c.overflow(headerTooLarge); refusal != (policy.Reply{}) {
			c.spoil(refusal, fmt.Errorf("header of more than %d fields or %d octets", maxFields, maxHeaderBytes))
		}
		return
	}
	c.ask("Header", func() { c.session.Header(name, value) })
}

// overflow asks what is to be done about what is over a limit.
func (c *conversation) overflow(refusal policy.Reply) policy.Reply {
	answer := filterFault
	c.ask("Overflow", func() { answer = c.session.Overflow(refusal) })
	return c.checked(answer)
}

func (c *conversation) endOfHeader() {
	c.phase = phaseBody
	c.ask("EndOfHeader", func() { c.message.wantBody = c.session.EndOfHeader() })
}

// bodyWanted says whether the next piece of the body goes to the session.
func (c *conversation) bodyWanted() bool { return c.message.wantBody && c.message.why == nil }

func (c *conversation) body(piece []byte) {
	if c.bodyWanted() {
		c.ask("Body", func() { c.session.Body(piece) })
	}
}

// endOfMessage asks for the outcome and sends it.
func (c *conversation) endOfMessage(m *protocol.Modifier) protocol.Response {
	if c.phase != phaseBody {
		c.endOfHeader()
	}
	if len(c.tail) > 0 {
		c.body(c.tail)
	}
	var o Outcome
	c.ask("EndOfMessage", func() { o = c.session.EndOfMessage(c.patience) })
	response := c.carryOut(o, m)
	if c.message.why != nil {
		response = refusal(c.message.answer)
	}
	c.tell("Done", func() { c.session.Done(c.message.answer, c.message.why) })
	c.endMessage()
	return response
}

// carryOut returns the answer to an outcome, after its edits are sent; or it
// spoils the message.
func (c *conversation) carryOut(o Outcome, m *protocol.Modifier) (response protocol.Response) {
	if c.message.why != nil {
		return nil
	}
	err := o.check(Abilities(c.actions))
	if err == nil {
		blank := ""
		if c.has(protocol.OptHeaderLeadingSpace) {
			blank = " "
		}
		if o.Action != policy.Accept && o.Action != policy.Quarantine {
			o.Readdress = nil
		}
		c.deleteRecipients(o.Readdress)
		response, err = o.send(m, blank)
		c.addRecipients(o.Readdress)
	}
	if err != nil {
		c.spoil(filterFault, fmt.Errorf("outcome %q can't be carried out: %w", o.Action, err))
	}
	return response
}

func (c *conversation) deleteRecipients(recipients []Envelope) {
	for _, r := range recipients {
		c.out = appendPacket(c.out, protocol.Code(protocol.ActDelRcpt), []byte(r.Raw+"\x00"))
	}
}

// addRecipients adds recipients with their parameters (NOTIFY and ORCPT, RFC 3461).
func (c *conversation) addRecipients(recipients []Envelope) {
	for _, r := range recipients {
		if len(r.Args) == 0 {
			c.out = appendPacket(c.out, protocol.Code(protocol.ActAddRcpt), []byte(r.Raw+"\x00"))
			continue
		}
		c.out = appendPacket(c.out, codeAddWithArgs, []byte(r.Raw+"\x00"+strings.Join(r.Args, " ")+"\x00"))
	}
}

// abort ends a message of which no more comes, if there is one.
func (c *conversation) abort() {
	if c.phase&phaseMessage == 0 {
		return
	}
	c.tell("Abort", func() { c.session.Abort() })
	c.endMessage()
}

// endMessage leaves nothing of a message behind.
func (c *conversation) endMessage() {
	c.phase = phaseIdle
	c.message, c.tail, c.envelope = message{}, nil, Envelope{}
	c.macros.endMessage()
}

// endSession ends the SMTP session; another one may follow.
func (c *conversation) endSession() {
	c.abort()
	if c.session != nil {
		c.call("Close", func() { c.session.Close() })
	}
	c.session, c.broken = nil, nil
	c.macros = Macros{}
	c.phase = phaseConnect
}
