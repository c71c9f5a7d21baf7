package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"

	"gatemilter/policy"
	"gatemilter/policy/received"
)

// writeText shows an explanation in the order in which the rules are applied: who
// came, by which way, which rules spoke, what follows.
func (e *explanation) writeText(w io.Writer) error {
	t := &text{tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)}
	e.writeClient(t)
	e.writeHops(t)
	e.writeRules(t)
	e.writeVerdict(t)
	return t.Flush()
}

// text is a table whose cells never let bytes of a message through unescaped.
type text struct{ *tabwriter.Writer }

// row writes the cells of a line, without empty ones at its end.
func (t *text) row(cells ...string) {
	for len(cells) > 0 && cells[len(cells)-1] == "" {
		cells = cells[:len(cells)-1]
	}
	for i, c := range cells {
		if i > 0 {
			io.WriteString(t, "\t")
		}
		io.WriteString(t, visible(c, 160))
	}
	io.WriteString(t, "\n")
}

// title begins a new table.
func (t *text) title(s string) {
	t.Flush()
	fmt.Fprintf(t, "\n%s\n", s)
	t.Flush()
}

func (e *explanation) writeClient(t *text) {
	c := &e.message.Client
	client := c.IP.String()
	if c.Name != "" {
		client += " (" + c.Name + ")"
	}
	if c.HELO != "" {
		client += ", HELO " + c.HELO
	}
	switch {
	case c.TLS == policy.TLSNone:
		client += ", no TLS"
	default:
		client += ", TLS " + c.TLS.String()
	}
	if c.Certificate != "" {
		client += ", certificate for " + c.Certificate
	}
	if e.message.Login != "" {
		client += ", logged in as " + e.message.Login
	}
	t.row("Client", client)
	t.row("Sender", "<"+e.message.Sender+">")
	if len(e.message.Recipients) > 0 {
		t.row("Recipients", strings.Join(e.message.Recipients, ", "))
	}
	direction := e.verdict.Direction.String()
	if e.verdict.Gateway != "" {
		direction += ", via gateway " + e.verdict.Gateway
	}
	t.row("Direction", direction)
	switch s := e.verdict.Source; s.Outcome {
	case policy.NoSource:
	case policy.Internal:
		t.row("Source", "none: internal mail")
	default:
		source := s.IP.String() + " (" + s.Outcome.String() + ")"
		if s.HELO != "" {
			source += ", HELO " + s.HELO
		}
		t.row("Source", source)
	}
}

func (e *explanation) writeHops(t *text) {
	hops := e.verdict.Source.Hops
	if len(hops) == 0 {
		return
	}
	t.title("Hops, newest first")
	t.row("  hop", "address", "received by", "result", "how it was read")
	t.row("  client", e.message.Client.IP.String(), "this server", "skipped: a gateway", "the connection itself")
	for i, h := range hops {
		address := "-"
		if h.Kind == received.Relay {
			address = h.IP.String()
		}
		result := string(h.Role)
		if h.Role == policy.RoleSource {
			result = "THE SOURCE"
		}
		t.row("  "+strconv.Itoa(i+1), address, orDash(h.By), result, h.Why)
	}
}

func (e *explanation) writeRules(t *text) {
	if len(e.verdict.Reasons) > 0 {
		t.title("Rules that spoke")
		for _, r := range e.verdict.Reasons {
			t.row("  "+string(r.Code), r.Text)
		}
	}
	if e.verdict.Spam.Matched != "" {
		t.title("Tag that counted")
		t.row("  " + e.verdict.Spam.Matched)
	}
	if !anyRefused(e.verdict.Recipients) {
		return
	}
	t.title("Recipients")
	for _, d := range e.verdict.Recipients {
		t.row("  "+d.Address, d.Action.String(), d.Reply.String())
		for _, r := range d.Reasons {
			t.row("", "  "+string(r.Code), r.Text)
		}
	}
}

func anyRefused(decisions []policy.Decision) bool {
	for _, d := range decisions {
		if d.Action.Refuses() {
			return true
		}
	}
	return false
}

func (e *explanation) writeVerdict(t *text) {
	t.title("Verdict")
	verdict := e.verdict.Action.String()
	if e.mode == policy.Observe {
		verdict += " (mode observe: only logged)"
	}
	t.row("  "+verdict, e.verdict.Reply.String())
	if len(e.verdict.Edits) == 0 {
		return
	}
	t.title("Changes to the message")
	for _, edit := range e.verdict.Edits {
		switch edit.Op {
		case policy.DeleteField:
			t.row("  "+edit.Op.String(), edit.Name, "number "+strconv.Itoa(edit.Index)+" of this name")
		default:
			t.row("  "+edit.Op.String(), edit.Name, edit.Value)
		}
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// visible shows a text that may come from a stranger: what a terminal would not
// print is escaped, and it is cut to a length.
func visible(s string, length int) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n++; n > length {
			return b.String() + "…"
		}
		if r != unicode.ReplacementChar && unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
	}
	return b.String()
}
