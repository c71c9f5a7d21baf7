package milter

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	protocol "github.com/emersion/go-milter"

	"gatemilter/policy"
)

// Limits of what is sent. A reply has to fit an SMTP line of 512 octets (RFC
// 5321, section 4.5.3.1.5); Sendmail takes no packet of 64 KiB.
const (
	maxReplyText  = 400
	maxFieldName  = 255
	maxFieldValue = 60 << 10
	maxAddress    = 1000
	maxEdits      = 1000
)

// filterFault answers for what went wrong on our side of the connection.
var filterFault = policy.Reply{Code: 451, Enhanced: "4.3.0", Text: "The mail filter has a problem: try again later"}

var enhancedCode = regexp.MustCompile(`^[45]\.[0-9]{1,3}\.[0-9]{1,3}$`)

// checkReply makes sure of the codes (RFC 3463, section 2: the enhanced code's
// class is that of the reply). An MTA puts an answer of its own in place of a
// reply that it finds odd.
func checkReply(r policy.Reply) error {
	if r.Code < 400 || r.Code > 599 {
		return fmt.Errorf("reply %q: the code has to be between 400 and 599", r)
	}
	if !enhancedCode.MatchString(r.Enhanced) || int(r.Enhanced[0]-'0') != r.Code/100 {
		return fmt.Errorf("reply %q: the enhanced code has to be of the form %d.x.y", r, r.Code/100)
	}
	return nil
}

// refusal is the packet for a reply that was checked. The MTA takes its text
// for a format, and '%' for the start of a directive.
func refusal(r policy.Reply) protocol.Response {
	text := strings.ReplaceAll(printable(r.Text, maxReplyText), "%", "%%")
	return protocol.NewResponseStr(byte(protocol.ActReplyCode), strings.TrimSpace(fmt.Sprintf("%d %s %s", r.Code, r.Enhanced, text)))
}

// printable cuts a text at a length and replaces all but printable ASCII.
func printable(s string, limit int) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return '?'
		}
		return c
	}, s[:min(len(s), limit)])
}

// check says why an outcome can't be carried out, or nil. Nothing of it may be
// sent before: a message with half of its edits must not be accepted.
func (o Outcome) check(can Abilities) error {
	switch o.Action {
	case policy.Accept:
		return o.checkChanges(can)
	case policy.Quarantine:
		if !can.Quarantine() {
			return errors.New("the mail server does not let this filter quarantine messages")
		}
		return o.checkChanges(can)
	case policy.Reject, policy.TempFail:
		if (o.Action == policy.Reject) != (o.Reply.Code >= 500) {
			return fmt.Errorf("reply %q does not go with the action %q", o.Reply, o.Action)
		}
		return checkReply(o.Reply)
	case policy.Discard:
		return nil
	}
	return fmt.Errorf("unknown action %q", o.Action)
}

func (o Outcome) checkChanges(can Abilities) error {
	if len(o.Readdress) > 0 && !can.Readdress() {
		return errors.New("the mail server does not let this filter delete and add recipients, so it would choose their way by the old sender")
	}
	return checkEdits(o.Edits, can)
}

func checkEdits(edits []policy.Edit, can Abilities) error {
	if len(edits) > maxEdits {
		return fmt.Errorf("%d edits for one message, limit %d", len(edits), maxEdits)
	}
	for _, e := range edits {
		if !can.Edit(e.Op) {
			return fmt.Errorf("%q of %q: the mail server does not let this filter make such changes", e.Op, e.Name)
		}
		if err := checkEdit(e); err != nil {
			return fmt.Errorf("%q of %q: %w", e.Op, e.Name, err)
		}
	}
	return nil
}

func checkEdit(e policy.Edit) error {
	if e.Op == policy.ChangeSender {
		return checkAddress(e.Value)
	}
	if !isFieldName(e.Name) {
		return errors.New("not the name of a header field")
	}
	lowest := 1
	switch e.Op {
	case policy.AddField, policy.InsertField:
		lowest = 0
	case policy.ChangeField:
		if e.Value == "" {
			return errors.New("an empty value deletes the field: use delete")
		}
	}
	if e.Index < lowest || e.Index > maxFields {
		return fmt.Errorf("index %d is not between %d and %d", e.Index, lowest, maxFields)
	}
	return checkFieldValue(e.Value)
}

// isFieldName tests for the field-name of RFC 5322, section 3.6.8.
func isFieldName(name string) bool {
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c > '~' || c == ':' {
			return false
		}
	}
	return 0 < len(name) && len(name) <= maxFieldName
}

// checkFieldValue lets through what stays one header field: line breaks only
// where the field is folded (RFC 5322, section 2.2.3), and no line that is
// blank, since it might be taken for the end of the header.
func checkFieldValue(v string) error {
	if len(v) > maxFieldValue {
		return fmt.Errorf("value of %d octets, limit %d", len(v), maxFieldValue)
	}
	for i, line := range strings.Split(strings.ReplaceAll(v, "\r\n", "\n"), "\n") {
		if i > 0 && (line == "" || line[0] != ' ' && line[0] != '\t' || strings.TrimLeft(line, " \t") == "") {
			return fmt.Errorf("value %q has a line break that is no folding", v)
		}
		if strings.ContainsFunc(line, isControl) {
			return fmt.Errorf("value %q has a control character", v)
		}
	}
	return nil
}

func isControl(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }

// checkAddress lets through an envelope sender without its angle brackets; ""
// is the null sender.
func checkAddress(a string) error {
	if len(a) > maxAddress {
		return fmt.Errorf("address of %d octets, limit %d", len(a), maxAddress)
	}
	if strings.ContainsFunc(a, func(c rune) bool { return isControl(c) || strings.ContainsRune("\t <>", c) }) {
		return fmt.Errorf("%q is not an envelope sender: leave out blanks and brackets", a)
	}
	return nil
}

// send sends an outcome that was checked and returns the answer that closes it.
// CONTINUE accepts at the end of a message; after ACCEPT, Sendmail would not
// tell the same session of the next message.
// Blank goes before the value of a field where the MTA puts none behind the colon.
func (o Outcome) send(m *protocol.Modifier, blank string) (protocol.Response, error) {
	switch o.Action {
	case policy.Reject, policy.TempFail:
		return refusal(o.Reply), nil
	case policy.Discard:
		return protocol.RespDiscard, nil
	}
	for _, e := range o.Edits {
		if err := sendEdit(m, e, blank); err != nil {
			return nil, err
		}
	}
	if o.Action == policy.Quarantine {
		if err := m.Quarantine(printable(o.QuarantineReason, maxReplyText)); err != nil {
			return nil, err
		}
	}
	return protocol.RespContinue, nil
}

func sendEdit(m *protocol.Modifier, e policy.Edit, blank string) error {
	switch e.Op {
	case policy.AddField:
		return m.AddHeader(e.Name, blank+e.Value)
	case policy.InsertField:
		return m.InsertHeader(e.Index, e.Name, blank+e.Value)
	case policy.ChangeField:
		return m.ChangeHeader(e.Index, e.Name, blank+e.Value)
	case policy.DeleteField:
		return m.ChangeHeader(e.Index, e.Name, "")
	case policy.ChangeSender:
		return m.ChangeFrom("<" + e.Value + ">")
	}
	return fmt.Errorf("unknown edit %q", e.Op)
}
