package policy

import (
	"fmt"
	"net/netip"
	"slices"

	"gatemilter/policy/received"
)

// A Verdict is what policy decided about one message, and why. The zero Verdict
// accepts the message unchanged.
type Verdict struct {
	Direction Direction
	// Gateway is the name of the inbound gateway that vouches for the message,
	// or "".
	Gateway string
	Source  Source
	Spam    Spam
	// Authentication is empty where the message was not authenticated.
	Authentication Authentication
	// UserGateway is the user's own server by which a message of an authenticated
	// client leaves, or nil.
	UserGateway *UserGateway
	// Sender is the envelope sender that is put in place of the client's, or "".
	Sender string
	Action Action
	// Reply is shown to the client. It is set only for Reject and TempFail.
	Reply Reply
	// Recipients has one decision for each recipient of the message.
	Recipients []Decision
	// Edits are the changes to make, in the order in which to make them.
	Edits []Edit
	// Reasons are the rules that spoke, in order. They are for logs and
	// explanations, never for the client.
	Reasons []Reason
}

// A Direction says which set of rules a message falls under.
type Direction uint8

// Inbound mail is subject to the inbound rules. Outgoing mail, of authenticated clients,
// is subject to those on identities instead; Exempt mail (local, internal networks) to
// none. Inbound is the zero value: doubt is no exemption.
const (
	Inbound Direction = iota
	Outgoing
	Exempt
)

var directionNames = [...]string{Inbound: "inbound", Outgoing: "outbound", Exempt: "exempt"}

func (d Direction) String() string { return directionNames[d] }

// An Action is what happens to a message or a recipient.
type Action uint8

// The actions. Quarantine is the mail server's hold queue; Discard accepts and
// drops.
const (
	Accept Action = iota
	TempFail
	Reject
	Quarantine
	Discard
)

var actionNames = [...]string{Accept: "accept", TempFail: "tempfail", Reject: "reject", Quarantine: "quarantine", Discard: "discard"}

func (a Action) String() string {
	if int(a) < len(actionNames) {
		return actionNames[a]
	}
	return fmt.Sprintf("Action(%d)", uint8(a))
}

// Refuses says whether the client is told that its mail was not taken.
func (a Action) Refuses() bool { return a == Reject || a == TempFail }

// A Reply is the answer to an SMTP command (RFC 5321, section 4.2) with its
// enhanced status code (RFC 3463). Text is one line of printable ASCII.
type Reply struct {
	Code     int
	Enhanced string
	Text     string
}

func (r Reply) String() string {
	if r.Code == 0 {
		return ""
	}
	return fmt.Sprintf("%d %s %s", r.Code, r.Enhanced, r.Text)
}

// action of a reply is given by its class: 4 is temporary, 5 permanent.
func (r Reply) action() Action {
	switch r.Code / 100 {
	case 0:
		return Accept
	case 5:
		return Reject
	}
	return TempFail
}

// A Decision is what happens to one recipient, or to the transaction at MAIL.
type Decision struct {
	// Address is the recipient; it is "" at MAIL.
	Address string
	Action  Action
	Reply   Reply
	Reasons []Reason
}

// Source is the origin of a message: the address from which the outside handed
// it over.
type Source struct {
	// IP is invalid for internal mail.
	IP      netip.Addr
	Outcome Outcome
	// HELO is the name by which the client at IP introduced itself, where the
	// hop tells, or "".
	HELO string
	// Hops are the Received fields that were looked at, topmost first. They are
	// empty when the source is the client itself.
	Hops []Hop
}

// Doubtful says that the source stands beneath a hop that could not be read: whoever
// sent the message may have written it.
func (s *Source) Doubtful() bool {
	return slices.ContainsFunc(s.Hops, func(h Hop) bool { return h.Role == RolePassed })
}

// An Outcome says how the source was found.
type Outcome uint8

// The outcomes. NoSource is that of exempt mail, whose source nobody looked for;
// External is a source outside of the gateways; Internal mail never passed a
// public address that is no gateway; Fallback is the connecting address,
// because a hop could not be recognised.
const (
	NoSource Outcome = iota
	External
	Internal
	Fallback
)

var outcomeNames = [...]string{NoSource: "", External: "external", Internal: "internal", Fallback: "fallback"}

func (o Outcome) String() string {
	if int(o) < len(outcomeNames) {
		return outcomeNames[o]
	}
	return fmt.Sprintf("Outcome(%d)", uint8(o))
}

// A Hop is one Received field and what the search for the source made of it.
type Hop struct {
	received.Hop
	// Role says why the hop was skipped or chosen.
	Role Role
}

// Spam is what the gateway's tags say, or DMARC.
type Spam struct {
	IsSpam bool
	// ByDMARC says that the message is spam because its author's domain asks for
	// quarantine.
	ByDMARC bool
	// Scored says whether Score was read from a tag and compared with Threshold.
	Scored    bool
	Score     float64
	Threshold float64
	// Matched is the header line that matched, unfolded, or "".
	Matched string
}

// An EditOp is a kind of change to a message.
type EditOp uint8

// The changes that a milter can ask for.
const (
	AddField EditOp = iota
	InsertField
	DeleteField
	ChangeField
	ChangeSender
)

var editNames = [...]string{AddField: "add", InsertField: "insert", DeleteField: "delete", ChangeField: "change", ChangeSender: "change-from"}

func (o EditOp) String() string {
	if int(o) < len(editNames) {
		return editNames[o]
	}
	return fmt.Sprintf("EditOp(%d)", uint8(o))
}

// An Edit is one change to a message. Index counts the fields of that name from 1, in
// any case of letters, for DeleteField and ChangeField; it is the position
// from the top for InsertField.
type Edit struct {
	Op    EditOp
	Name  string
	Value string
	Index int
}

// EditsWithoutRoute are the edits without the field that tells Postfix the way of the message: for
// a mail server that goes by the sender.
func (v *Verdict) EditsWithoutRoute() []Edit {
	i := slices.IndexFunc(v.Edits, func(e Edit) bool { return e.Op == AddField && e.Name == RouteField })
	if i < 0 {
		return v.Edits
	}
	return slices.Delete(slices.Clone(v.Edits), i, i+2) // it is deleted again at once
}
