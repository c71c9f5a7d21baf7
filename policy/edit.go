package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The fields by which a message is marked as spam for the user's filter. Incoming
// ones are forged, or replaced by ours.
const (
	fieldSpamFlag   = "X-Spam-Flag"
	fieldSpamStatus = "X-Spam-Status"
	// ownPrefix begins the names of all fields that only we may set.
	ownPrefix = "X-Gatemilter-"
	// EvaluationField tells local spam filters that gateways have decided already, by
	// the value GatewayOnly.
	EvaluationField = ownPrefix + "Spam-Evaluation"
	GatewayOnly     = "gateway-only"
)

// forgedByUser finds in mail of our own users the fields that only we may set, and what
// claims to be a report of ours: what they hand in bears none yet. (Other exempt mail
// may: it comes back from a content filter.)
func (t *Transaction) forgedByUser() []int {
	var forged []int
	for i := range t.header {
		if f := &t.header[i]; f.hasOwnPrefix() || t.checker != nil && t.checker.Claims(f) {
			forged = append(forged, i)
		}
	}
	return forged
}

// noteForged says that so many forged fields are removed.
func (v *Verdict) noteForged(n int) {
	if n > 0 {
		v.note(ForgedField, fields(n)+" that only this server may set")
	}
}

// maxForged is the number of forged fields that are removed from a message. No
// honest message has more than a few, and the mail server searches
// the whole header again for each.
const maxForged = 100

// edit decides on the changes to a message that goes on: forged fields and the
// gateway's secret are removed, spam is marked, and the results of authentication
// are put on top.
func (p *Policy) edit(t *Transaction, v *Verdict) {
	if len(p.gateways) == 0 && t.checker == nil {
		return
	}
	remove := t.forgedFields(v.Spam.ByDMARC)
	v.noteForged(len(remove))
	// Whoever learns a secret could use it: none is delivered, not even one that
	// came another way.
	secrets := 0
	for _, found := range t.secrets {
		secrets += len(found)
		remove = append(remove, found...)
	}
	if secrets > 0 {
		v.note(SecretField, fields(secrets)+" with a gateway's secret")
		slices.Sort(remove)
		remove = slices.Compact(remove)
	}
	if !t.remove(remove, v) {
		return
	}
	if t.checker != nil {
		report := t.checker.Report(&v.Authentication, v)
		for _, f := range slices.Backward(report) {
			v.Edits = append(v.Edits, Edit{Op: InsertField, Name: f.Name, Value: f.Value, Index: 1})
		}
	}
	if g := t.vouched(); g != nil && g.GatewayOnly {
		v.note(LocalFilterSkipped, "gateway "+g.Name+" alone evaluates spam")
		v.Edits = append(v.Edits, Edit{Op: AddField, Name: EvaluationField, Value: GatewayOnly})
	}
	if v.Spam.IsSpam {
		v.Edits = append(v.Edits,
			Edit{Op: AddField, Name: fieldSpamFlag, Value: "YES"},
			Edit{Op: AddField, Name: fieldSpamStatus, Value: v.spamStatus()})
	}
}

// remove asks for the removal of these fields, or refuses the message and returns false.
func (t *Transaction) remove(fields []int, v *Verdict) bool {
	if err := removable(t.header, fields); err != nil {
		v.refuse(refuse(Reply{554, "5.6.0", "message has header fields that only this server may set"}, Reason{ForgedRefused, err.Error()}))
		return false
	}
	v.Edits = deletions(t.header, fields)
	return true
}

// maxFieldName is how long the name of a field to be removed may be, in octets.
const maxFieldName = 255

// removable returns an error unless the mail server can be asked to remove these
// fields.
func removable(header []Field, remove []int) error {
	if len(remove) > maxForged {
		return fmt.Errorf("%d fields, of which no honest message has more than %d", len(remove), maxForged)
	}
	for _, i := range remove {
		name := trimBlanks(header[i].Name)
		if len(name) > maxFieldName || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return fmt.Errorf("the name %.80q is none that could be removed", name)
		}
	}
	return nil
}

func fields(n int) string {
	if n == 1 {
		return "1 header field"
	}
	return strconv.Itoa(n) + " header fields"
}

// forgedFields returns the indexes of the fields that only this server may set: those
// that mark spam too, where we mark it ourselves.
func (t *Transaction) forgedFields(marked bool) []int {
	var found []int
	g := t.vouched()
	for i := range t.header {
		f := &t.header[i]
		if len(t.policy.gateways) > 0 && g.forged(f) || marked && f.marksSpam() || t.checker != nil && t.checker.Claims(f) {
			found = append(found, i)
		}
	}
	return found
}

// forged says whether only this server may set such a field on mail of gateway
// g, which may be nil. A gateway for which no tag is configured may mark
// spam by the common fields itself.
func (g *gateway) forged(f *Field) bool {
	if f.hasOwnPrefix() {
		return true
	}
	if g != nil && g.SpamHeader == nil {
		return false
	}
	return f.marksSpam()
}

// hasOwnPrefix says whether the field is one that only we may set.
func (f *Field) hasOwnPrefix() bool {
	return len(f.Name) >= len(ownPrefix) && strings.EqualFold(f.Name[:len(ownPrefix)], ownPrefix)
}

func (f *Field) marksSpam() bool { return f.Is(fieldSpamFlag) || f.Is(fieldSpamStatus) }

// spamStatus is the value of X-Spam-Status, in the form in which SpamAssassin
// writes it.
func (v *Verdict) spamStatus() string {
	var why []string
	if v.Spam.Scored {
		why = append(why, "score="+FormatScore(v.Spam.Score), "required="+FormatScore(v.Spam.Threshold))
	}
	if v.Gateway != "" {
		why = append(why, "gateway="+v.Gateway)
	}
	if v.Spam.ByDMARC {
		why = append(why, "dmarc="+string(v.Authentication.DMARC.Result))
	}
	return "Yes, " + strings.Join(why, " ")
}

// deletions removes the fields at these ascending indexes. Each name is deleted
// from its last field to its first: a deletion shifts those beneath it.
func deletions(header []Field, remove []int) []Edit {
	if len(remove) == 0 {
		return nil
	}
	edits := make([]Edit, 0, len(remove)+2)
	seen := make(map[string]int)
	next := 0
	for i := range header {
		if next == len(remove) {
			break
		}
		name := strings.ToLower(trimBlanks(header[i].Name))
		seen[name]++
		if i == remove[next] {
			edits = append(edits, Edit{Op: DeleteField, Name: trimBlanks(header[i].Name), Index: seen[name]})
			next++
		}
	}
	slices.Reverse(edits)
	return edits
}
