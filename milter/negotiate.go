package milter

import (
	"encoding/binary"
	"fmt"
	"strings"

	protocol "github.com/emersion/go-milter"

	"gatemilter/policy"
)

// The versions of the protocol that we speak. Version 1 can't change header
// fields; 6 is the latest.
const (
	oldestVersion = 2
	latestVersion = 6
)

// offerSize is that of an offer's version and two masks.
const offerSize = 12

// readdressing are the changes by which recipients are looked at anew: each is deleted and
// added again.
const readdressing = protocol.OptRemoveRcpt | protocol.OptAddRcpt | protocol.OptAddRcptWithArgs

// wantedActions are the changes that an Outcome may ask for, and the right to
// name our macros.
const wantedActions = protocol.OptAddHeader | protocol.OptChangeHeader | protocol.OptChangeFrom |
	readdressing | protocol.OptQuarantine | protocol.OptSetSymList

// wantedSteps are the parts of the conversation that can be spared: answers to
// what is never refused, and commands that mean nothing to us. The last one, leading
// space, asks for fields as they are: a signature may cover the blank behind the
// colon.
//
// An answer to DATA is wanted, so neither SMFIP_NODATA nor SMFIP_NR_DATA:
// without it, Postfix's smtpd has a packet in flight when it hands the
// connection to cleanup, whose first write then waits for a delayed
// acknowledgement, over TCP 40 ms a message.
const wantedSteps = protocol.OptNoConnReply | protocol.OptNoHeloReply | protocol.OptNoHeaderReply |
	protocol.OptNoEOHReply | protocol.OptNoUnknownReply | protocol.OptNoUnknown |
	protocol.OptHeaderLeadingSpace

// symbols are the macros to ask for at each stage; they replace the MTA's own
// list. Those of TLS and client come at MAIL again, because Sendmail takes a
// MAIL after STARTTLS without another HELO.
var symbols = [...]struct {
	stage protocol.Stage
	names string
}{
	{protocol.StageConnect, "j {daemon_name} v _ {client_addr} {client_name} {client_ptr} {if_addr}"},
	{protocol.StageHelo, "{tls_version} {cipher} {cipher_bits} {verify} {cert_subject} {cert_issuer} {cn_subject}"},
	{protocol.StageMailFrom, "i {auth_type} {auth_authen} {mail_addr} {mail_host} {mail_mailer}" +
		" {tls_version} {verify} {cert_subject} {cn_subject} {client_addr} {client_name} {daemon_name}"},
	{protocol.StageRcptTo, "{rcpt_addr} {rcpt_host} {rcpt_mailer} i"},
	{protocol.StageData, "i"},
	{protocol.StageEOH, "i"},
	{protocol.StageEOM, "i {msg_id}"},
}

// An agreement is what the two sides of a connection have settled on.
type agreement struct {
	version uint32
	actions protocol.OptAction
	steps   protocol.OptProtocol
}

// agree takes from an offer the part that we want. Postfix drops a filter that
// asks for more than was offered.
func agree(offer []byte) (agreement, error) {
	if len(offer) < offerSize {
		return agreement{}, fmt.Errorf("option negotiation of %d octets, at least %d are needed", len(offer), offerSize)
	}
	version := binary.BigEndian.Uint32(offer)
	actions := protocol.OptAction(binary.BigEndian.Uint32(offer[4:]))
	steps := protocol.OptProtocol(binary.BigEndian.Uint32(offer[8:]))
	if version < oldestVersion {
		return agreement{}, fmt.Errorf("the mail server offers version %d of the milter protocol, at least %d is needed: upgrade it, or raise its milter_protocol setting", version, oldestVersion)
	}
	return agreement{
		version: min(version, latestVersion),
		actions: actions & wantedActions,
		steps:   steps & (wantedSteps | bodyStep(steps)),
	}, nil
}

// bodyStep chooses the way in which bodies come. To be sent no more of a body,
// one has to answer a piece of it with SKIP, so SKIP excludes sparing those
// answers. An answer for each 64 KiB that is wanted costs less than bodies that
// nobody reads.
func bodyStep(offered protocol.OptProtocol) protocol.OptProtocol {
	if offered&protocol.OptSkip != 0 {
		return protocol.OptSkip
	}
	return protocol.OptNoBodyReply
}

// has says whether a step was agreed upon.
func (a agreement) has(step protocol.OptProtocol) bool { return a.steps&step != 0 }

// answer is the packet that tells the MTA.
func (a agreement) answer() []byte {
	p := binary.BigEndian.AppendUint32(make([]byte, 0, 512), a.version)
	p = binary.BigEndian.AppendUint32(p, uint32(a.actions))
	p = binary.BigEndian.AppendUint32(p, uint32(a.steps))
	if a.actions&protocol.OptSetSymList != 0 {
		for _, s := range symbols {
			p = binary.BigEndian.AppendUint32(p, uint32(s.stage))
			p = append(append(p, s.names...), 0)
		}
	}
	return appendPacket(nil, protocol.CodeOptNeg, p)
}

// Abilities are the changes to messages that an MTA allows.
type Abilities uint32

// editAction is the ability that each kind of edit needs.
var editAction = map[policy.EditOp]protocol.OptAction{
	policy.AddField:     protocol.OptAddHeader,
	policy.InsertField:  protocol.OptAddHeader,
	policy.ChangeField:  protocol.OptChangeHeader,
	policy.DeleteField:  protocol.OptChangeHeader,
	policy.ChangeSender: protocol.OptChangeFrom,
}

// Edit says whether edits of this kind can be made.
func (a Abilities) Edit(op policy.EditOp) bool {
	return protocol.OptAction(a)&editAction[op] != 0
}

// Quarantine says whether the MTA can hold a message.
func (a Abilities) Quarantine() bool {
	return protocol.OptAction(a)&protocol.OptQuarantine != 0
}

// Readdress says whether recipients can be looked at anew.
func (a Abilities) Readdress() bool {
	return protocol.OptAction(a)&readdressing == readdressing
}

// MacroNames are the names of the macros that we ask for at a stage (see
// [protocol.Stage]), each as in the MTA's manual. An MTA that doesn't let itself be asked has to
// be told.
func MacroNames(stage protocol.Stage) []string {
	for _, s := range symbols {
		if s.stage == stage {
			return strings.Fields(s.names)
		}
	}
	return nil
}
