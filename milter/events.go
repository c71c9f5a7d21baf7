package milter

import (
	"context"
	"net/netip"

	"gatemilter/policy"
)

// A Session is told what happens in one SMTP session and answers for its
// messages. All calls come from one goroutine, none overlap.
//
// The order is: Connect once; Helo any number of times, between messages; then
// messages. A message is Mail, Rcpt…, Header…, EndOfHeader, Body…,
// EndOfMessage. Each Mail that returned the zero Reply is followed by exactly
// one Done or Abort before the next Mail, Helo or Close. Close comes last,
// always.
//
// A panic in a call is reported and answered with a temporary failure. From
// Mail to EndOfMessage it spoils that message: no further call but Done or
// Abort is made for it. In Connect, Helo, Done or Abort it spoils the session:
// of its later messages none is asked about and none is taken.
type Session interface {
	// Connect names the client. It is never answered. The macros stay valid,
	// and change as the session goes on, until Close returns; only the
	// goroutine that makes the calls may read them.
	Connect(peer Peer, macros *Macros)
	// Helo gives the name by which the client introduced itself. It comes again
	// after STARTTLS.
	Helo(name string)
	// Mail starts a message. The zero Reply lets it go on. Any other refuses
	// it, and ends the message without Done or Abort.
	Mail(sender Envelope) policy.Reply
	// Rcpt names one recipient. The zero Reply takes it, any other refuses this
	// recipient only.
	Rcpt(recipient Envelope) policy.Reply
	// Header gives one field, in the order of the message. Value is all that
	// stands behind the colon, folded with "\n". (An MTA that can't send the
	// blank there, or its absence, is taken to have one.)
	Header(name, value string)
	// Overflow says that the message has more fields, or octets of header, or
	// recipients, than a connection keeps (see the limits in this package). What is
	// over is not passed on. The message, or the recipient, is refused with the
	// reply that is returned; the zero Reply lets it go on.
	Overflow(refusal policy.Reply) policy.Reply
	// EndOfHeader is called exactly once before EndOfMessage, and says whether
	// Body is to be called for this message.
	EndOfHeader() (wantBody bool)
	// Body gives the next piece of the body, of any size. It is valid until
	// Body returns.
	Body(piece []byte)
	// EndOfMessage decides. Ctx is cancelled when the server can wait no longer
	// (see Server.Shutdown).
	EndOfMessage(ctx context.Context) Outcome
	// Done ends a message of which the MTA sent all. Why is nil when it was
	// given the Outcome. Otherwise the connection refused the message with
	// answer itself, because of why: a limit, a panic, or an Outcome that it
	// could not carry out; EndOfMessage may then not have been called.
	Done(answer policy.Reply, why error)
	// Abort ends a message of which the MTA did not send all.
	Abort()
	// Close ends the session, once, however it came to its end.
	Close()
}

// A Peer is the client of an SMTP session, as the MTA describes it.
type Peer struct {
	// Name is the client's verified reverse name; where there is none, the
	// address in brackets or another word of the MTA's choice.
	Name string
	// Addr is the client's address, not mapped and without zone, and port (0
	// where the MTA does not know it). It is invalid for a client that is not
	// connected by TCP.
	Addr netip.AddrPort
	// Path is the socket of a client on a unix socket, or "".
	Path string
	// Abilities are the changes that this MTA allows.
	Abilities Abilities
}

// An Envelope is the argument of MAIL or RCPT (RFC 5321, section 3.3).
type Envelope struct {
	// Address is Raw without the angle brackets around it, if there are any.
	Address string
	// Raw is the address as the MTA gave it, most often as the client typed it.
	Raw string
	// Args are the ESMTP parameters ("SIZE=1000"), as typed.
	Args []string
}

// An Outcome is what is to happen with a message. The zero Outcome accepts it
// unchanged.
type Outcome struct {
	Action policy.Action
	// Reply is what the client is told when Action is Reject (5xx) or TempFail
	// (4xx).
	Reply policy.Reply
	// Edits are made, in this order, when Action is Accept or Quarantine.
	Edits []policy.Edit
	// Readdress are recipients that the MTA is to look at anew, after the edits: it has
	// accepted each, as given here.
	Readdress []Envelope
	// QuarantineReason goes with Quarantine. Postfix does not show it.
	QuarantineReason string
}
