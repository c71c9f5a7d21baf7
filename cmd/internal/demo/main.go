// Command demo shows gatemilter at work: it starts a throw-away Postfix on loopback with
// gatemilter beside it, sends a handful of messages, prints what became of each and why,
// and cleans up; first for incoming mail, then for that of users, which leaves by mail
// hosts on loopback, and at last for a user who attaches an address of hers in the portal. It is run by "make demo".
//
// Without root, or where Postfix can't be installed, it shows the same messages
// through "gatemilter explain".
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"gatemilter/cmd/internal/lab"
)

// timeLimit is for the whole demo, the installation of Postfix included.
const timeLimit = 10 * time.Minute

func main() {
	program := flag.String("gatemilter", "build/gatemilter", "the `PROGRAM` to show")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, timeLimit)
	defer cancel()
	if err := run(ctx, *program); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, program string) error {
	program, err := filepath.Abs(program)
	if err != nil {
		return err
	}
	if err := needPostfix(ctx); err != nil {
		fmt.Printf("No Postfix: %v.\nSo \"gatemilter explain\" shows what would become of each message.\n", err)
		return explainAll(ctx, program, inbound(), outbound())
	}
	ca, err := lab.NewCA("Demo CA")
	if err != nil {
		return err
	}
	if err := showInbound(ctx, program, ca); err != nil {
		return err
	}
	if err := showOutbound(ctx, program, ca); err != nil {
		return err
	}
	return showSelfService(ctx, program, ca)
}

// needPostfix sees that Postfix is there and can be started, or says what to do.
func needPostfix(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return errors.New(`starting one needs root, so run "make demo" as root`)
	}
	return lab.NeedPostfix(ctx, func(format string, args ...any) { fmt.Printf(format+"\n", args...) })
}
