package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"gatemilter/cmd/internal/daemon"
	"gatemilter/policy"
	"gatemilter/policy/received"
)

// writeText shows an explanation in the order in which the rules are applied: who
// came, by which way, which rules spoke, what follows.
func (e *explanation) writeText(w io.Writer) error {
	t := &text{tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)}
	e.writeClient(t)
	e.writeHops(t)
	e.writeAuthentication(t)
	e.writeRules(t)
	e.writeVerdict(t)
	e.writeWays(t)
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
		io.WriteString(t, daemon.Visible(c, 160))
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
		client += ", in clear (--tls says otherwise)"
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
	} else {
		t.row("Recipients", "none given (--rcpt-to): what depends on their domains was not tried")
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

func (e *explanation) writeAuthentication(t *text) {
	a := &e.verdict.Authentication
	if a.SPF.Result == "" && a.DKIM == nil && a.DMARC.Result == "" {
		return
	}
	t.title("Authentication")
	t.row("  method", "result", "of", "why")
	if a.SPF.Result != "" {
		of := orDash(a.SPF.Domain)
		if a.SPF.IP.IsValid() {
			of += ", sent by " + a.SPF.IP.String()
		}
		t.row("  spf", string(a.SPF.Result), of, a.SPF.Reason)
	}
	for _, d := range a.DKIM {
		of := orDash(d.Domain)
		if d.Selector != "" {
			of += ", key " + d.Selector
		}
		t.row("  dkim", string(d.Result), of, d.Reason)
	}
	if d := a.DMARC; d.Result != "" {
		of := orDash(d.Domain)
		if d.Policy != "" {
			of += ", policy " + d.Policy
		}
		t.row("  dmarc", string(d.Result), of, d.Reason)
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
	v := &e.verdict
	observing := e.mode == policy.Observe
	t.title("Verdict")
	t.row("  "+v.Action.String(), v.Reply.String())
	if observing && v.Action != policy.Accept {
		t.row("  (not carried out: mode = observe)")
	}
	if v.Action.Refuses() || len(v.Edits) == 0 {
		return
	}
	title := "Changes to the message"
	if observing {
		title += " (not made: mode = observe)"
	}
	t.title(title)
	for i, edit := range v.Edits {
		switch edit.Op {
		case policy.DeleteField:
			what := "number " + strconv.Itoa(edit.Index) + " of this name"
			if edit.Name == policy.RouteField && v.UserGateway != nil && i == len(v.Edits)-1 {
				what = "again: Postfix has acted on it"
			}
			t.row("  "+edit.Op.String(), edit.Name, what)
		case policy.ChangeSender:
			t.row("  "+edit.Op.String(), "(envelope sender)", edit.Value)
		default:
			t.row("  "+edit.Op.String(), edit.Name, strings.Join(strings.Fields(edit.Value), " "))
		}
	}
}

// writeWays shows where the message goes.
func (e *explanation) writeWays(t *text) {
	if len(e.ways) == 0 {
		return
	}
	title := "Where it goes"
	if slices.ContainsFunc(e.ways, (*way).isBySender) {
		title += " (by rules on senders, unless the mailbox is on this server)"
	}
	if e.mode == policy.Observe {
		title += " (not carried out: mode = observe)"
	}
	t.title(title)
	for _, w := range e.ways {
		recipient := w.recipient
		if recipient == "" {
			recipient = "all recipients"
		}
		by := "the mail server delivers directly"
		if w.transport() != "" {
			by = "by " + w.name() + ", " + w.transport() + ":" + w.nexthop()
		}
		t.row("  "+recipient, by, string(w.why.Code))
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
