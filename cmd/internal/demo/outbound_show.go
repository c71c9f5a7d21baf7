package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"gatemilter/cmd/internal/lab"
)

// showOutbound plays the part about mail of users and prints what became of it.
func showOutbound(ctx context.Context, program string, ca *lab.CA) error {
	p := outbound()
	hosts, err := startMailHosts(ca)
	if err != nil {
		return err
	}
	defer hosts.close()
	s, err := newOutboundStage(ctx, program, ca, hosts)
	if err != nil {
		return err
	}
	defer s.close()
	results, err := s.playAll(ctx, p.scenes)
	if err != nil {
		return err
	}
	w := os.Stdout
	fmt.Fprintf(w, "\n=== %s ===\n\nThe users alice and bob log in to another private Postfix, at %s. Mail leaves by these hosts:\n\n", p.title, s.postfix.Addr())
	showHosts(w, hosts)
	fmt.Fprint(w, "\nThe rules:\n\n")
	showRules(w, hosts.withAddresses(p.rules))
	fmt.Fprintf(w, "\nEach message is for %s, and for %s, whose mailbox is here.\nBy which server it left, with which login there, as what it arrived, and why:\n\n", far, here)
	showDepartures(w, results)
	showReasons(w, results)
	return p.explainOne(ctx, program, s.config)
}

func showHosts(w io.Writer, hosts mailHosts) {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, h := range hosts {
		fmt.Fprintf(t, "    %s\t%s: %s\n", h.Addr(), h.title, h.offers())
	}
	t.Flush()
}

// showDepartures prints the table of outgoing mail.
func showDepartures(w io.Writer, results []result) {
	t := newTable(w, "#", "user", "writes as", "left by", "login there", "envelope sender", "Sender", "mailbox here")
	for i, r := range results {
		by, login, from, sender := "refused: "+r.answer, "", "", ""
		if d := r.left; d != nil {
			by, login, from, sender = d.by.title, d.Login, d.From, strings.Join(d.values("Sender"), ", ")
		}
		row(t, fmt.Sprint(i+1), r.from.login, r.sender(), by, orDash(login), orDash(from), orDash(sender), r.arrived())
	}
	t.Flush()
}

func orDash(text string) string { return cmp.Or(text, "-") }
