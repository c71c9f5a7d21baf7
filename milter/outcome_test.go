package milter

import (
	"context"
	"slices"
	"strings"
	"testing"

	"gatemilter/policy"
)

func always(o Outcome) func(context.Context) Outcome {
	return func(context.Context) Outcome { return o }
}

// fault is the answer to what can't be carried out.
const fault = `y "451 4.3.0 The mail filter has a problem: try again later"`

// answersTo returns what the MTA is sent at the end of a message with an
// outcome.
func answersTo(t *testing.T, o Outcome) (replies []string, done string) {
	t.Helper()
	d := &diary{outcome: always(o)}
	replies, calls, _ := talk(t, d, fullOffer, someConnect, mail("<a>"), rcpt("<b>"), eoh, eom, quit)
	return replies[3:], calls[len(calls)-2]
}

func TestOutcomes(t *testing.T) {
	edits := []policy.Edit{
		{Op: policy.DeleteField, Name: "X-Spam-Flag", Index: 2},
		{Op: policy.DeleteField, Name: "x-spam-flag", Index: 1},
		{Op: policy.InsertField, Name: "Authentication-Results", Value: "mx;\r\n\tspf=pass", Index: 0},
		{Op: policy.AddField, Name: "X-Route", Value: "100%"},
		{Op: policy.ChangeField, Name: "Subject", Value: "[spam] é", Index: 1},
		{Op: policy.ChangeSender, Value: "a+b@lab.test"},
		{Op: policy.ChangeSender, Value: ""},
	}
	// Delete before all, add behind all: the MTA looks at each recipient with the new sender.
	anew := []Envelope{{Raw: "<b>"}, {Raw: "<c>", Args: []string{"NOTIFY=NEVER", "ORCPT=rfc822;c"}}}
	sender := []policy.Edit{{Op: policy.ChangeSender, Value: "a@b"}}
	readdressed := []string{`- "<b>"`, `- "<c>"`, `e "<a@b>"`, `+ "<b>"`, `2 "<c>" "NOTIFY=NEVER ORCPT=rfc822;c"`, "c"}
	sent := []string{`m 2 "X-Spam-Flag" ""`, `m 1 "x-spam-flag" ""`, `i 0 "Authentication-Results" " mx;\n\tspf=pass"`,
		`h "X-Route" " 100%"`, `m 1 "Subject" " [spam] é"`, `e "<a+b@lab.test>"`, `e "<>"`}
	reject := policy.Reply{Code: 550, Enhanced: "5.7.1", Text: "Spam"}
	later := policy.Reply{Code: 451, Enhanced: "4.7.1", Text: "Later"}
	for name, c := range map[string]struct {
		outcome Outcome
		want    []string
	}{
		"zero":                {Outcome{}, []string{"c"}},
		"accept with edits":   {Outcome{Edits: edits}, append(sent[:len(sent):len(sent)], "c")},
		"quarantine":          {Outcome{Action: policy.Quarantine, QuarantineReason: "spam\n"}, []string{`q "spam?"`, "c"}},
		"quarantine, edits":   {Outcome{Action: policy.Quarantine, Edits: edits, QuarantineReason: "spam"}, append(sent[:len(sent):len(sent)], `q "spam"`, "c")},
		"readdress":           {Outcome{Edits: sender, Readdress: anew}, readdressed},
		"readdress and hold":  {Outcome{Action: policy.Quarantine, Edits: sender, Readdress: anew, QuarantineReason: "x"}, slices.Insert(slices.Clone(readdressed), 3, `q "x"`)},
		"readdress, reject":   {Outcome{Action: policy.Reject, Reply: reject, Readdress: anew}, []string{`y "550 5.7.1 Spam"`}},
		"discard":             {Outcome{Action: policy.Discard}, []string{"d"}},
		"reject":              {Outcome{Action: policy.Reject, Reply: reject, Edits: edits}, []string{`y "550 5.7.1 Spam"`}},
		"tempfail":            {Outcome{Action: policy.TempFail, Reply: later}, []string{`y "451 4.7.1 Later"`}},
		"reject with 4xx":     {Outcome{Action: policy.Reject, Reply: later}, []string{fault}},
		"tempfail with 5xx":   {Outcome{Action: policy.TempFail, Reply: reject}, []string{fault}},
		"reject, no reply":    {Outcome{Action: policy.Reject}, []string{fault}},
		"tempfail, no reply":  {Outcome{Action: policy.TempFail}, []string{fault}},
		"no action":           {Outcome{Action: 99}, []string{fault}},
		"one edit is invalid": {Outcome{Edits: append(edits[:3:3], policy.Edit{Op: policy.AddField, Name: "X Y"})}, []string{fault}},
	} {
		t.Run(name, func(t *testing.T) {
			got, done := answersTo(t, c.outcome)
			same(t, "replies", got, c.want...)
			if failed := strings.HasPrefix(done, "Done 451: outcome"); failed != (c.want[0] == fault) {
				t.Errorf("the session was told %q", done)
			}
		})
	}
}

// An MTA that does not offer a change gets none of the message's changes.
func TestChangesNotOffered(t *testing.T) {
	const addHeaders, changeHeaders, quarantine, changeFrom = 1, 0x10, 0x20, 0x40
	add := policy.Edit{Op: policy.AddField, Name: "A", Value: "b"}
	for name, c := range map[string]struct {
		missing uint32
		outcome Outcome
		done    string
	}{
		"add":         {addHeaders, Outcome{Edits: []policy.Edit{add}}, `Done 451: outcome "accept" can't be carried out: "add" of "A": the mail server does not let this filter make such changes`},
		"insert":      {addHeaders, Outcome{Edits: []policy.Edit{{Op: policy.InsertField, Name: "A"}}}, `Done 451: outcome "accept" can't be carried out: "insert" of "A": the mail server does not let this filter make such changes`},
		"delete":      {changeHeaders, Outcome{Edits: []policy.Edit{add, {Op: policy.DeleteField, Name: "A", Index: 1}}}, `Done 451: outcome "accept" can't be carried out: "delete" of "A": the mail server does not let this filter make such changes`},
		"change":      {changeHeaders, Outcome{Edits: []policy.Edit{{Op: policy.ChangeField, Name: "A", Value: "v", Index: 1}}}, `Done 451: outcome "accept" can't be carried out: "change" of "A": the mail server does not let this filter make such changes`},
		"change-from": {changeFrom, Outcome{Edits: []policy.Edit{add, {Op: policy.ChangeSender, Value: "a@b"}}}, `Done 451: outcome "accept" can't be carried out: "change-from" of "": the mail server does not let this filter make such changes`},
		"quarantine":  {quarantine, Outcome{Action: policy.Quarantine}, `Done 451: outcome "quarantine" can't be carried out: the mail server does not let this filter quarantine messages`},
		"readdress":   {0x80, Outcome{Edits: []policy.Edit{add}, Readdress: []Envelope{{Raw: "<b>"}}}, `Done 451: outcome "accept" can't be carried out: the mail server does not let this filter delete and add recipients, so it would choose their way by the old sender`},
		"others":      {0x1ff &^ addHeaders, Outcome{Edits: []policy.Edit{add}}, "Done"},
	} {
		t.Run(name, func(t *testing.T) {
			d := &diary{outcome: always(c.outcome)}
			replies, calls, _ := talk(t, d, offer(6, 0x1ff&^c.missing, 0x1fffff), someConnect, mail("<a>"), rcpt("<b>"), eoh, eom, quit)
			want := []string{fault}
			if c.done == "Done" {
				want = []string{`h "A" " b"`, "c"}
			}
			same(t, "replies", replies[3:], want...)
			same(t, "end", calls[len(calls)-2:], c.done, "Close")
		})
	}
}

func TestCheckEdit(t *testing.T) {
	add := func(name, value string) policy.Edit {
		return policy.Edit{Op: policy.AddField, Name: name, Value: value}
	}
	sender := func(a string) policy.Edit { return policy.Edit{Op: policy.ChangeSender, Value: a} }
	for _, c := range []struct {
		edit policy.Edit
		want string
	}{
		{add("X-A", "b"), ""},
		{add("X-A", ""), ""},
		{add("X-A", "b\n c\r\n\td"), ""},
		{add(strings.Repeat("a", maxFieldName), strings.Repeat("b", maxFieldValue)), ""},
		{add("", "b"), "not the name of a header field"},
		{add("X:", "b"), "not the name of a header field"},
		{add("X A", "b"), "not the name of a header field"},
		{add("X\x00i", "b"), "not the name of a header field"},
		{add("X\n", "b"), "not the name of a header field"},
		{add("Ü", "b"), "not the name of a header field"},
		{add(strings.Repeat("a", maxFieldName+1), "b"), "not the name of a header field"},
		{add("X", strings.Repeat("b", maxFieldValue+1)), "value of 61441 octets, limit 61440"},
		{add("X", "b\nBcc: c"), `value "b\nBcc: c" has a line break that is no folding`},
		{add("X", "b\n"), `value "b\n" has a line break that is no folding`},
		{add("X", "b\n\n c"), `value "b\n\n c" has a line break that is no folding`},
		{add("X", "b\n \n c"), `value "b\n \n c" has a line break that is no folding`},
		{add("X", "b\rc"), `value "b\rc" has a control character`},
		{add("X", "b\x00c"), `value "b\x00c" has a control character`},
		{add("X", "\x1b[2J"), `value "\x1b[2J" has a control character`},
		{policy.Edit{Op: policy.InsertField, Name: "X", Value: "v", Index: -1}, "index -1 is not between 0 and 20000"},
		{policy.Edit{Op: policy.InsertField, Name: "X", Value: "v", Index: maxFields + 1}, "index 20001 is not between 0 and 20000"},
		{policy.Edit{Op: policy.DeleteField, Name: "X", Index: 0}, "index 0 is not between 1 and 20000"},
		{policy.Edit{Op: policy.ChangeField, Name: "X", Value: "v", Index: 0}, "index 0 is not between 1 and 20000"},
		{policy.Edit{Op: policy.ChangeField, Name: "X", Index: 1}, "an empty value deletes the field: use delete"},
		{sender("a@b"), ""},
		{sender(""), ""},
		{sender("<a@b>"), `"<a@b>" is not an envelope sender: leave out blanks and brackets`},
		{sender("a@b SIZE=1"), `"a@b SIZE=1" is not an envelope sender: leave out blanks and brackets`},
		{sender("a@b\x00"), `"a@b\x00" is not an envelope sender: leave out blanks and brackets`},
		{sender(strings.Repeat("a", maxAddress+1)), "address of 1001 octets, limit 1000"},
	} {
		var got string
		if err := checkEdit(c.edit); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%v %.40q %.40q: %s\nwant: %s", c.edit.Op, c.edit.Name, c.edit.Value, got, c.want)
		}
	}
	if err := checkEdits(make([]policy.Edit, maxEdits+1), ^Abilities(0)); err == nil {
		t.Errorf("%d edits pass", maxEdits+1)
	}
}

// Replies can't break out of their line, and mean to an MTA what they say.
func TestReplies(t *testing.T) {
	for name, c := range map[string]struct {
		reply policy.Reply
		want  string
	}{
		"plain":                 {policy.Reply{Code: 550, Enhanced: "5.7.1", Text: "Send to the MX"}, `y "550 5.7.1 Send to the MX"`},
		"percent":               {policy.Reply{Code: 550, Enhanced: "5.7.1", Text: "100% %s"}, `y "550 5.7.1 100%% %%s"`},
		"line break and NUL":    {policy.Reply{Code: 550, Enhanced: "5.7.1", Text: "a\r\n250 b\x00c\x7f"}, `y "550 5.7.1 a??250 b?c?"`},
		"not ASCII":             {policy.Reply{Code: 450, Enhanced: "4.7.1", Text: "für"}, `y "450 4.7.1 f?r"`},
		"no text":               {policy.Reply{Code: 450, Enhanced: "4.7.1"}, `y "450 4.7.1"`},
		"long":                  {policy.Reply{Code: 450, Enhanced: "4.7.1", Text: strings.Repeat("x", 1000)}, `y "450 4.7.1 ` + strings.Repeat("x", maxReplyText) + `"`},
		"classes differ":        {policy.Reply{Code: 550, Enhanced: "4.7.1", Text: "a"}, fault},
		"no enhanced code":      {policy.Reply{Code: 550, Text: "a"}, fault},
		"enhanced code is text": {policy.Reply{Code: 550, Enhanced: "5.7.1 x", Text: "a"}, fault},
		"not a refusal":         {policy.Reply{Code: 250, Enhanced: "2.0.0", Text: "fine"}, fault},
		"no code":               {policy.Reply{Text: "a"}, fault},
	} {
		t.Run(name, func(t *testing.T) {
			d := &diary{rcpt: func(Envelope) policy.Reply { return c.reply }}
			replies, _, reports := talk(t, d, fullOffer, someConnect, mail("<a>"), rcpt("<b>"), abort, quit)
			same(t, "replies", replies, fullAnswer, "c", c.want)
			if (len(reports) > 0) != (c.want == fault) {
				t.Errorf("reports: %q", reports)
			}
		})
	}
}
