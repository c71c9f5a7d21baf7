package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"gatemilter/cmd/internal/lab"
)

// showSelfService shows a user who attaches an address herself, and what the administrator
// sees of it.
func showSelfService(ctx context.Context, program string, ca *lab.CA) error {
	hosts, err := startMailHosts(ca)
	if err != nil {
		return err
	}
	defer hosts.close()
	portal, err := freePort()
	if err != nil {
		return err
	}
	s, err := newPortalStage(ctx, program, ca, hosts, portal)
	if err != nil {
		return err
	}
	defer s.close()
	v, err := newVisitor(ca, "https://"+portal.String())
	if err != nil {
		return err
	}
	partner := hosts[0]
	steps, err := s.attach(ctx, v, partner)
	if err != nil {
		return err
	}
	w := os.Stdout
	fmt.Fprint(w, "\n=== Users attach their own addresses ===\n\nNo rule names alice@example.com or her other address. The rules, with a portal\n(and some for what is different on loopback: the demo's own authority, and users' servers inside):\n\n")
	showRules(w, portalRulesAt(portal, s.postfix.Addr()))
	fmt.Fprintf(w, "\nWhat Alice does there in her browser, and what the page says:\n\n")
	t := newTable(w, "#", "Alice", "the page says")
	for i, st := range steps {
		row(t, fmt.Sprint(i+1), st.does, st.says)
	}
	t.Flush()
	if err := s.identityInForce(ctx); err != nil {
		return err
	}
	played, err := s.play(ctx, theirScene)
	if err != nil {
		return err
	}
	if played.left == nil || played.left.by != partner || played.left.Login != "alice" {
		return fmt.Errorf("her mail does not leave by her own server: %+v", played.left)
	}
	fmt.Fprint(w, "\nThen she writes as that address:\n\n")
	showDepartures(w, []result{played})
	fmt.Fprint(w, "\nThe administrator sees it, and who did what; passwords are shown to nobody:\n\n")
	return s.showIdentities(ctx, program, w)
}

// identityInForce waits until the metrics say that the daemon knows the address, which takes less
// than a second.
func (s *stage) identityInForce(ctx context.Context) error {
	return lab.Until(ctx, "the address to be in force", func() bool {
		text, err := lab.Metrics(ctx, filepath.Join(s.sockets(), "admin.sock"))
		return err == nil && strings.Contains(text, "gatemilter_identities{state=\"active\"} 1\n")
	})
}

// showIdentities runs the command with which the administrator looks at a user's addresses.
func (s *stage) showIdentities(ctx context.Context, program string, w *os.File) error {
	cmd := exec.CommandContext(ctx, program, "identities", "show", newcomer.login, "--config", s.config)
	fmt.Fprintf(w, "  $ gatemilter identities show %s\n\n", newcomer.login)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("identities show: %w: %s", err, out)
	}
	showRules(w, string(out))
	return nil
}
