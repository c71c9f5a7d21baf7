package milter

import (
	"fmt"

	protocol "github.com/emersion/go-milter"
)

// A phase is where a conversation stands.
type phase uint8

const (
	phaseOffer    phase = 1 << iota // before OPTNEG
	phaseConnect                    // before CONNECT
	phaseIdle                       // between messages
	phaseEnvelope                   // after MAIL
	phaseHeader                     // after DATA or the first field
	phaseBody                       // after EOH

	phaseMessage = phaseEnvelope | phaseHeader | phaseBody
	phaseSession = phaseIdle | phaseMessage
	phaseAgreed  = phaseConnect | phaseSession
)

// phasesOf are the phases in which a command may come.
var phasesOf = [256]phase{
	protocol.CodeOptNeg:      phaseOffer,
	protocol.CodeMacro:       phaseAgreed,
	protocol.CodeConn:        phaseConnect,
	protocol.CodeHelo:        phaseSession,
	protocol.CodeMail:        phaseSession,
	protocol.CodeRcpt:        phaseEnvelope,
	protocol.CodeData:        phaseEnvelope,
	protocol.CodeHeader:      phaseEnvelope | phaseHeader,
	protocol.CodeEOH:         phaseEnvelope | phaseHeader,
	protocol.CodeBody:        phaseBody,
	protocol.CodeEOB:         phaseMessage,
	protocol.CodeAbort:       phaseAgreed,
	protocol.CodeQuit:        phaseAgreed,
	protocol.CodeQuitNewConn: phaseAgreed,
	codeUnknown:              phaseSession,
}

// admit says whether a command may come now.
func (c *conversation) admit(command protocol.Code) error {
	if phasesOf[command]&c.phase == 0 {
		return fmt.Errorf("command %q out of order", rune(command))
	}
	return nil
}

// handle acts on a command, or prepares it for the library: then forward is
// true. BODY is not for handle: it comes in pieces.
func (c *conversation) handle(command protocol.Code, data []byte) (forward bool, err error) {
	if command == protocol.CodeMail || command == protocol.CodeHelo {
		c.abort()
	}
	c.macros.begin(byte(command))
	switch command {
	case protocol.CodeOptNeg:
		err = c.negotiate(data)
	case protocol.CodeMacro:
		err = c.macros.set(data)
	case protocol.CodeConn:
		c.peer, err = parsePeer(data)
		c.peer.Abilities = Abilities(c.actions)
		return true, err
	case protocol.CodeMail, protocol.CodeRcpt:
		c.envelope, err = parseEnvelope(data)
		return true, err
	case protocol.CodeEOB:
		c.tail = data
		return true, nil
	case protocol.CodeAbort, protocol.CodeQuit:
		return true, nil
	case protocol.CodeHelo:
		var name string
		if name, err = parseName(data); err == nil {
			c.helo(name)
			c.goOn(protocol.OptNoHeloReply)
		}
	case protocol.CodeData:
		c.phase = phaseHeader
		c.goOn(0)
	case protocol.CodeHeader:
		var name, value string
		if name, value, err = parseField(data); err == nil {
			c.field(name, value)
			c.goOn(protocol.OptNoHeaderReply)
		}
	case protocol.CodeEOH:
		c.endOfHeader()
		c.goOn(protocol.OptNoEOHReply)
	case codeUnknown:
		c.goOn(protocol.OptNoUnknownReply)
	case protocol.CodeQuitNewConn:
		c.endSession()
	}
	return false, err
}

func (c *conversation) negotiate(offer []byte) (err error) {
	if c.agreement, err = agree(offer); err == nil {
		c.phase = phaseConnect
		c.out = append(c.out, c.answer()...)
	}
	return err
}

// goOn answers CONTINUE, unless it was agreed to leave out this answer.
func (c *conversation) goOn(noReply protocol.OptProtocol) {
	if !c.has(noReply) {
		c.out = appendPacket(c.out, protocol.Code(protocol.ActContinue), nil)
	}
}

// endOfPiece answers a BODY packet.
func (c *conversation) endOfPiece() {
	if c.has(protocol.OptSkip) && !c.bodyWanted() {
		c.out = appendPacket(c.out, protocol.Code(protocol.ActSkip), nil)
		return
	}
	c.goOn(protocol.OptNoBodyReply)
}
