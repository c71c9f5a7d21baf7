package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"gatemilter/policy/auth/dnstest"
)

// explainAll shows all scenes of the parts without a mail server.
func explainAll(ctx context.Context, program string, parts ...part) error {
	dir, err := os.MkdirTemp("", "gatemilter-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	dns, err := dnstest.Start(zone)
	if err != nil {
		return err
	}
	defer dns.Close()
	config := filepath.Join(dir, "gatemilter.conf")
	for _, p := range parts {
		if err := os.WriteFile(config, []byte(settings("", dns.Addr(), p.rules)), 0o600); err != nil {
			return err
		}
		if err := p.explain(ctx, program, config); err != nil {
			return err
		}
	}
	return nil
}

// explain shows the part's rules, and its scenes without a mail server.
func (p part) explain(ctx context.Context, program, config string) error {
	fmt.Printf("\n=== %s ===\n\nThe rules:\n\n", p.title)
	showRules(os.Stdout, p.rules)
	for i, s := range p.scenes {
		fmt.Printf("\n--- %d: %s ---\n\n", i+1, s.title)
		if err := explain(ctx, program, config, s); err != nil {
			return err
		}
	}
	return nil
}

// explainOne shows, after all that a mail server did, how to ask about one scene.
func (p part) explainOne(ctx context.Context, program, config string) error {
	fmt.Printf("\nEvery decision can be looked at without a mail server, here that on message %d:\n\n", p.explained+1)
	return explain(ctx, program, config, p.scenes[p.explained])
}

// explain runs "gatemilter explain" on a scene.
func explain(ctx context.Context, program, config string, s scene) error {
	args := []string{"explain", "--config", config, "--client-ip", s.from.ip, "--client-name", s.from.name, "--mail-from", s.sender()}
	if s.tls {
		args = append(args, "--tls", "1.3")
	}
	if s.from.login != "" {
		args = append(args, "--user", s.from.login)
	}
	for _, to := range strings.Fields(s.to) {
		args = append(args, "--rcpt-to", to)
	}
	cmd := exec.CommandContext(ctx, program, append(args, "-")...)
	cmd.Stdin = strings.NewReader(s.message())
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}
