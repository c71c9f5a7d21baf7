package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"text/tabwriter"

	"gatemilter/cmd/internal/postfix"
	"gatemilter/cmd/internal/sendmail"
	"gatemilter/policy/config"
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

For Sendmail it prints the m4 file by which Sendmail uses gatemilter. --apply writes
it beside sendmail.mc, which then includes it in its last line; --remove undoes
that. Build sendmail.cf afterwards: on Debian, sendmailconfig also restarts Sendmail.

Exit status: 0 when all is as it should be, 1 when there is something to do (on
Postfix), or when the mail server can't do what is configured.

Examples
  gatemilter mta-setup postfix
  gatemilter mta-setup postfix --apply
  gatemilter mta-setup sendmail --apply && sendmailconfig`,
	setUp: func(flags *flag.FlagSet) runner {
		path := flags.String("config", defaultConfig, "configuration `FILE`")
		dir := flags.String("postfix-config", "", "`DIR` of main.cf, if it is not Postfix's default")
		mail := flags.String("sendmail-config", "/etc/mail", "`DIR` of sendmail.mc")
		apply := flags.Bool("apply", false, "make the changes")
		remove := flags.Bool("remove", false, "undo them")
		return func(ctx context.Context, args []string, io stdio) error {
			switch {
			case len(args) != 1:
				return usagef("name the mail server: postfix or sendmail")
			case args[0] != "postfix" && args[0] != "sendmail":
				return usagef("it can set up postfix and sendmail, but not %q", args[0])
			case *apply && *remove:
				return usagef("--apply and --remove contradict each other")
			}
			cfg, err := load(*path, io)
			if err != nil {
				return err
			}
			if args[0] == "sendmail" {
				return setUpSendmail(sendmail.Directory(*mail), *path, cfg, *apply, *remove, io.out)
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
		fmt.Fprintln(out, p.Postfix("reload"))
		return errFinding
	}
	if err := p.Apply(ctx, changes); err != nil {
		return err
	}
	fmt.Fprintln(out, "\nDone. Now run:", p.Postfix("reload"))
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

// setUpSendmail prints what Sendmail needs, or puts it in place or away.
func setUpSendmail(d sendmail.Directory, path string, cfg *config.Config, apply, remove bool, out io.Writer) error {
	text, err := sendmail.File(path, cfg)
	switch {
	case err != nil && !remove:
		if !apply {
			fmt.Fprint(out, sendmail.Failed)
		}
		return err
	case !apply && !remove:
		fmt.Fprint(out, text)
		return nil
	}
	var changed []string
	if remove {
		changed, err = d.Remove()
	} else {
		changed, err = d.Apply(text)
	}
	for _, name := range changed {
		fmt.Fprintln(out, "changed", name)
	}
	switch {
	case err != nil:
		return err
	case len(changed) == 0:
		fmt.Fprintln(out, "Sendmail's files need no change. If sendmail.cf is not built from them yet, run: sendmailconfig")
	default:
		fmt.Fprintln(out, "\nDone. Now run: sendmailconfig")
	}
	return nil
}
