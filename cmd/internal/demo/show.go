package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"gatemilter/policy"
)

// show prints the table of results.
func show(w io.Writer, s *stage, results []result) {
	fmt.Fprintf(w, "\nA private Postfix at %s asks gatemilter about each message. The rules:\n\n", s.postfix.Addr())
	for line := range strings.Lines(rules) {
		fmt.Fprint(w, "    ", line)
	}
	fmt.Fprint(w, "\nWhat was sent, what Postfix answered, what arrived, and why:\n\n")
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "  #\tmessage\tfrom\tto\tPostfix answered\tarrived")
	fmt.Fprintln(t, "  -\t-------\t----\t--\t----------------\t-------")
	for i, r := range results {
		fmt.Fprintf(t, "  %d\t%s\t%s\t%s\t%s\t%s\n", i+1, r.title, r.sentFrom(), strings.ReplaceAll(r.to, " ", ", "), r.answer, r.arrived())
	}
	t.Flush()
	for i, r := range results {
		fmt.Fprintf(w, "\n  %d: %s\n", i+1, r.title)
		for _, code := range r.log.Reasons {
			fmt.Fprintf(t, "     %s\t%s\n", code, policy.Code(code).Meaning())
		}
		t.Flush()
		if r.log.SourceIP != "" {
			fmt.Fprintf(w, "     source %s: spf=%s, dmarc=%s\n", r.log.SourceIP, r.log.SPF, r.log.DMARC)
		}
	}
	fmt.Fprintf(w, "\nOn top of message 1, for filters and mail readers:\n\n")
	for _, value := range results[0].delivered[0].Values("Authentication-Results") {
		fmt.Fprintf(w, "  Authentication-Results: %s\n", strings.ReplaceAll(value, "; ", ";\n      "))
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
