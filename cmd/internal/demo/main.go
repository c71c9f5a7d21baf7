// Command demo shows gatemilter at work: it starts a throw-away Postfix on loopback with
// gatemilter as its milter, sends a handful of messages, prints what became of
// each and why, and cleans up. It is run by "make demo".
//
// Without root, or where Postfix can't be installed, it shows the same messages
// through "gatemilter explain".
package main

import (
	"context"
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
	if err := lab.NeedPostfix(ctx, func(format string, args ...any) { fmt.Printf(format+"\n", args...) }); err != nil {
		fmt.Printf("There is no Postfix to show gatemilter with: %v.\n", err)
		fmt.Printf("So here is what gatemilter would decide, by \"gatemilter explain\".\n")
		return explainAll(ctx, program)
	}
	s, err := newStage(ctx, program)
	if err != nil {
		return err
	}
	defer s.close()
	var shown []result
	for _, scene := range scenes {
		r, err := s.play(ctx, scene)
		if err != nil {
			return fmt.Errorf("message %q: %w", scene.title, err)
		}
		shown = append(shown, r)
	}
	show(os.Stdout, s, shown)
	fmt.Printf("\nEvery decision can be looked at without a mail server, here that on message %d:\n\n", explained+1)
	return explain(ctx, program, s.config, scenes[explained])
}
