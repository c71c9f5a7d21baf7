package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"text/tabwriter"

	"gatemilter/cmd/internal/lab"
	"gatemilter/policy"
)

// showInbound plays the part about incoming mail and prints what became of it.
func showInbound(ctx context.Context, program string, ca *lab.CA) error {
	p := inbound()
	s, err := newStage(ctx, program, ca, lab.Config{Mailboxes: []string{"user@example.com", "user@free.example"}}, p.rules)
	if err != nil {
		return err
	}
	defer s.close()
	results, err := s.playAll(ctx, p.scenes)
	if err != nil {
		return err
	}
	w := os.Stdout
	fmt.Fprintf(w, "\n=== %s ===\n\nA private Postfix at %s asks gatemilter about each message. The rules:\n\n", p.title, s.postfix.Addr())
	showRules(w, p.rules)
	fmt.Fprint(w, "\nWhat was sent, what Postfix answered, what arrived, and why:\n\n")
	showArrivals(w, results)
	showReasons(w, results)
	fmt.Fprintf(w, "\nOn top of message 1, for filters and mail readers:\n\n")
	for _, value := range results[0].delivered[0].Values("Authentication-Results") {
		fmt.Fprintf(w, "  Authentication-Results: %s\n", strings.ReplaceAll(strings.Join(strings.Fields(value), " "), "; ", ";\n      "))
	}
	return p.explainOne(ctx, program, s.config)
}

// passwords are what nobody should see, not even in a demo.
var passwords = regexp.MustCompile(`(?m)^(password *= ).*`)

// showRules prints a configuration, without passwords.
func showRules(w io.Writer, rules string) {
	for line := range strings.Lines(passwords.ReplaceAllString(rules, "$1…")) {
		if line != "\n" {
			line = "    " + line
		}
		fmt.Fprint(w, line)
	}
}

// newTable aligns columns; its first two lines are the titles.
func newTable(w io.Writer, titles ...string) *tabwriter.Writer {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	row(t, titles...)
	for i := range titles {
		titles[i] = strings.Repeat("-", len(titles[i]))
	}
	row(t, titles...)
	return t
}

func row(t *tabwriter.Writer, cells ...string) { fmt.Fprintln(t, "  "+strings.Join(cells, "\t")) }

// showArrivals prints the table of incoming mail.
func showArrivals(w io.Writer, results []result) {
	t := newTable(w, "#", "message", "from", "to", "Postfix answered", "arrived")
	for i, r := range results {
		row(t, fmt.Sprint(i+1), r.title, r.sentFrom(), r.recipients(), r.answer, r.arrived())
	}
	t.Flush()
}

// showReasons prints for each message the rules that spoke, and what else is to be seen of it.
func showReasons(w io.Writer, results []result) {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for i, r := range results {
		fmt.Fprintf(w, "\n  %d: %s\n", i+1, r.title)
		for _, code := range r.log.Reasons {
			fmt.Fprintf(t, "     %s\t%s\n", code, policy.Code(code).Meaning())
		}
		t.Flush()
		switch {
		case r.left != nil:
			fmt.Fprintln(w, "     "+r.left.note())
		case r.log.SourceIP != "":
			fmt.Fprintf(w, "     source %s: spf=%s, dmarc=%s\n", r.log.SourceIP, r.log.SPF, r.log.DMARC)
		}
	}
}

func (r result) sentFrom() string {
	how := ", in clear"
	if r.tls {
		how = ", TLS"
	}
	if r.from.login != "" {
		how += ", logged in"
	}
	return r.from.ip + how
}

// arrived says in which form the message reached a mailbox.
func (r result) arrived() string {
	if len(r.delivered) == 0 {
		return "no"
	}
	flag := r.delivered[0].Values("X-Spam-Flag")
	if len(flag) == 0 {
		return "yes"
	}
	return "yes, X-Spam-Flag: " + strings.Join(flag, ", ")
}
