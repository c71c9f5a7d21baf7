package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"text/tabwriter"

	"gatemilter/cmd/internal/postfix"
	"gatemilter/cmd/internal/sendmail"
)

var mtaSetupCommand = command{
	name:    "mta-setup",
	args:    "postfix|sendmail [--apply|--remove] [FLAGS]",
	summary: "show or make the mail server's settings for gatemilter",
	help: `
Shows the postconf commands by which Postfix uses gatemilter with this
configuration, and what they change. --apply runs them; --remove undoes them.
What else is set in main.cf stays, and doing it twice changes nothing. Reload
Postfix afterwards.

For Sendmail it prints an m4 file, which sendmail.mc has to include in its last
line (its first lines say how). Then build sendmail.cf, and restart Sendmail: on
Debian, sendmailconfig does both.

Exit status: 0 when all is as it should be, 1 when there is something to do, or
when the mail server can't do what is configured.

Examples
  gatemilter mta-setup postfix
  gatemilter mta-setup postfix --apply
  gatemilter mta-setup sendmail > /etc/mail/gatemilter.m4`,
	setUp: func(flags *flag.FlagSet) runner {
		path := flags.String("config", defaultConfig, "configuration `FILE`")
		dir := flags.String("postfix-config", "", "`DIR` of main.cf, if it is not Postfix's default")
		apply := flags.Bool("apply", false, "make the changes")
		remove := flags.Bool("remove", false, "undo them")
		return func(ctx context.Context, args []string, io stdio) error {
			switch {
			case len(args) != 1:
				return usagef("name the mail server: postfix or sendmail")
			case args[0] != "postfix" && args[0] != "sendmail":
				return usagef("it can set up postfix and sendmail, but not %q", args[0])
			case args[0] == "sendmail" && (*apply || *remove || *dir != ""):
				return usagef("for sendmail it writes a file, and has no --apply, --remove or --postfix-config: redirect its output to /etc/mail/gatemilter.m4")
			case *apply && *remove:
				return usagef("--apply and --remove contradict each other")
			}
			cfg, err := load(*path, io)
			if err != nil {
				return err
			}
			if args[0] == "sendmail" {
				text, err := sendmail.File(*path, cfg)
				fmt.Fprint(io.out, text)
				return err
			}
			p := postfix.Postfix{ConfigDir: *dir}
			wanted, err := p.Wanted(ctx, cfg)
			if err != nil {
				return err
			}
			changes, err := p.Plan(ctx, wanted, *remove)
			if err != nil {
				return err
			}
			return setUpPostfix(ctx, p, changes, *apply || *remove, io.out)
		}
	},
}

// setUpPostfix shows the changes, and makes them if it is told to.
func setUpPostfix(ctx context.Context, p postfix.Postfix, changes []postfix.Change, apply bool, out io.Writer) error {
	if len(changes) == 0 {
		fmt.Fprintln(out, "Postfix needs no change.")
		return nil
	}
	t := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	for _, c := range changes {
		fmt.Fprintf(t, "%s\tis\t%s\n\tbecomes\t%s\n", c.Parameter, orUnset(c.Before), becomes(c))
	}
	t.Flush()
	fmt.Fprintln(out)
	if apply {
		fmt.Fprintln(out, "Running:")
	}
	for _, c := range changes {
		fmt.Fprintln(out, c)
	}
	if !apply {
		fmt.Fprintln(out, "postfix reload")
		return errFinding
	}
	if err := p.Apply(ctx, changes); err != nil {
		return err
	}
	fmt.Fprintln(out, "\nDone. Now run: postfix reload")
	return nil
}

// becomes shows what a change leads to. A line of master.cf, which is long, stands in the
// command below.
func becomes(c postfix.Change) string {
	if c.Service && c.After != "" {
		return "(as in the command below)"
	}
	return orUnset(c.After)
}

func orUnset(value string) string {
	if value == "" {
		return "(unset)"
	}
	return value
}
