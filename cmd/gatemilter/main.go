// Command gatemilter stands beside a Postfix or Sendmail and gives it the
// mail-gateway settings of a hosted mail service: see the README, or run
// "gatemilter help".
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
)

// defaultConfig is where the Debian package puts the configuration.
const defaultConfig = "/etc/gatemilter/gatemilter.conf"

// Exit statuses. A finding is an answer that the user may not like: a bad
// configuration, an expression that doesn't match.
const (
	exitFine    = 0
	exitFinding = 1
	exitUsage   = 2
)

// commands in the order of the help.
var commands = []command{serveCommand, checkCommand, doctorCommand, explainCommand, routeCommand, testExpressionCommand, mtaSetupCommand, verifyTLSCommand, identitiesCommand}

// A command is one of the program's subcommands.
type command struct {
	name    string
	args    string // as shown in its usage line
	summary string // one line, for the list of commands
	help    string // what it does, and examples
	// setUp registers the command's flags and returns what runs it.
	setUp func(*flag.FlagSet) runner
	// part, if it is there, returns the usage of that part of the command which arguments are
	// for, or "".
	part func(args []string) string
}

// A runner does a command's work with the arguments that are no flags. Results
// go to stdout, messages to stderr.
type runner func(ctx context.Context, args []string, io stdio) error

type stdio struct {
	in       io.Reader
	out, err io.Writer
}

// usageError says that a command was called wrongly.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

// inputError says that a command, called rightly, was given what it can't use, where
// that has to differ from a finding.
type inputError struct{ error }

// errFinding ends a command that has shown its finding already.
var errFinding = errors.New("finding")

func main() {
	os.Exit(run(context.Background(), os.Args[1:], stdio{os.Stdin, os.Stdout, os.Stderr}))
}

// run runs the program and returns its exit status.
func run(ctx context.Context, args []string, io stdio) int {
	if len(args) == 0 {
		fmt.Fprint(io.err, overview())
		return exitUsage
	}
	name, args := args[0], args[1:]
	switch name {
	case "help", "-h", "-help", "--help":
		return help(args, io)
	case "version", "-version", "--version":
		fmt.Fprintln(io.out, "gatemilter", version())
		return exitFine
	}
	c, ok := find(name)
	if !ok {
		return unknown(name, io)
	}
	return c.run(ctx, args, io)
}

func find(name string) (command, bool) {
	for _, c := range commands {
		if c.name == name {
			return c, true
		}
	}
	return command{}, false
}

func (c command) run(ctx context.Context, args []string, io stdio) int {
	flags := flag.NewFlagSet(c.name, flag.ContinueOnError)
	flags.SetOutput(discard{})
	do := c.setUp(flags)
	rest, err := parse(flags, args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(io.out, c.usageFor(args))
		return exitFine
	}
	if err == nil {
		err = do(ctx, rest, io)
	}
	var (
		usage usageError
		input inputError
	)
	switch {
	case err == nil:
		return exitFine
	case errors.Is(err, errFinding):
		return exitFinding
	case errors.As(err, &usage):
		fmt.Fprintf(io.err, "gatemilter %s: %v\nusage: gatemilter %s %s\n\"gatemilter help %s\" explains it\n", c.name, err, c.name, c.args, c.name)
		return exitUsage
	}
	fmt.Fprintf(io.err, "gatemilter: %v\n", err)
	if errors.As(err, &input) {
		return exitUsage
	}
	return exitFinding
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// parse takes flags before, between and behind the other arguments, as people
// write them.
func parse(flags *flag.FlagSet, args []string) (rest []string, err error) {
	for {
		if err := flags.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, flagError(flags, err)
		}
		left := flags.Args()
		consumed := len(args) - len(left)
		if len(left) == 0 || consumed > 0 && args[consumed-1] == "--" {
			return append(rest, left...), nil
		}
		rest, args = append(rest, left[0]), left[1:]
	}
}

// flagError says in our words what package flag found.
func flagError(flags *flag.FlagSet, err error) error {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		return usagef("there is no flag --%s", name)
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: -"); ok {
		value, what := flag.UnquoteUsage(flags.Lookup(name))
		return usagef("--%s: %s is missing: %s", name, value, what)
	}
	text, ok := strings.CutPrefix(text, "invalid value ")
	given, rest, found := strings.Cut(text, " for flag -")
	name, why, _ := strings.Cut(rest, ": ")
	f := flags.Lookup(name)
	if !ok || !found || f == nil {
		return usagef("%v", err)
	}
	if why == "parse error" {
		_, why = flag.UnquoteUsage(f)
	}
	return usagef("--%s: %s can't be used: %s", name, given, why)
}

// help shows the overview or what one command does.
func help(args []string, io stdio) int {
	if len(args) == 0 {
		fmt.Fprint(io.out, overview())
		return exitFine
	}
	switch name := args[0]; name {
	case "help", "version", "-h", "-help", "--help":
		fmt.Fprint(io.out, overview())
	default:
		c, ok := find(name)
		if !ok {
			return unknown(name, io)
		}
		fmt.Fprint(io.out, c.usageFor(args[1:]))
	}
	return exitFine
}

// unknown says that there is no such command.
func unknown(name string, io stdio) int {
	fmt.Fprintf(io.err, "gatemilter: %q is no command; \"gatemilter help\" lists them\n", name)
	return exitUsage
}

func overview() string {
	var b strings.Builder
	b.WriteString("gatemilter: inbound gateways and routes for a mail server of your own\n\nusage: gatemilter COMMAND [FLAGS] [ARGUMENTS]\n\n")
	for _, c := range commands {
		fmt.Fprintf(&b, "  %-16s %s\n", c.name, c.summary)
	}
	fmt.Fprintf(&b, "  %-16s %s\n  %-16s %s\n", "help [COMMAND]", "show this, or how a command is used", "version", "show the version")
	b.WriteString("\nExit status: 0 fine, 1 a finding or an error, 2 wrong usage.\n")
	return b.String()
}

// usageFor is the usage of what the arguments are for.
func (c command) usageFor(args []string) string {
	if c.part != nil {
		if text := c.part(args); text != "" {
			return text
		}
	}
	return c.usage()
}

func (c command) usage() string {
	var b strings.Builder
	fmt.Fprintf(&b, "usage: gatemilter %s %s\n\n%s\n", c.name, c.args, strings.TrimSpace(c.help))
	flags := flag.NewFlagSet(c.name, flag.ContinueOnError)
	c.setUp(flags)
	b.WriteString("\nFlags\n")
	flags.VisitAll(func(f *flag.Flag) {
		_, text := flag.UnquoteUsage(f)
		writeFlag(&b, f, text)
	})
	return b.String()
}

// Columns of the flags in a usage.
const (
	flagColumn = 27
	lastColumn = 90
)

// writeFlag writes what a flag does, in several lines if need be.
func writeFlag(b *strings.Builder, f *flag.Flag, text string) {
	value, _ := flag.UnquoteUsage(f)
	if f.DefValue != "" && f.DefValue != "false" {
		text += " (default " + f.DefValue + ")"
	}
	line := fmt.Sprintf("  %-24s", strings.TrimSpace("--"+f.Name+" "+value))
	if len(line) >= flagColumn {
		fmt.Fprintln(b, line)
		line = strings.Repeat(" ", flagColumn-1)
	}
	for _, word := range strings.Fields(text) {
		if len(line)+1+len(word) > lastColumn {
			fmt.Fprintln(b, line)
			line = strings.Repeat(" ", flagColumn-1)
		}
		line += " " + word
	}
	fmt.Fprintln(b, line)
}

// release is the version that a package's build gives the program (go build -ldflags "-X main.release=0.1.0").
var release string

// version is that of the package, or else what the build recorded of itself.
func version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(unknown build)"
	}
	return info.Main.Version
}
