package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"gatemilter/cmd/internal/daemon"
	"gatemilter/cmd/internal/doctor"
	"gatemilter/cmd/internal/postfix"
	"gatemilter/policy"
)

var doctorCommand = command{
	name:    "doctor",
	args:    "[DOMAIN...] [FLAGS]",
	summary: "look whether everything is wired, reachable and safe, and say how to correct it",
	help: `
Looks at the configuration and who can read its files; at the sockets, and whether
the mail server's user can use them; at the settings of Postfix, or of Sendmail; at
the MX records of all domains that gateways name, and of each DOMAIN that is given
(for a gateway with domains = *); at the name servers, the certificates of all mail hosts of routes and
users, the database of identities and its keys, the portal with the servers that it needs,
and the clock. It changes nothing and sends no mail.

Each line is ok, warn or FAIL, and says what to do: a command, or a line to write.
Run it as root: others can't see all of it, which it says.

Exit status: 0 when nothing fails, 1 when something does, 2 when called wrongly.

With --json: failures and warnings, which are numbers, and checks, a list of subject,
what, state (ok, warn or fail), found, and fix where there is something to do.

Examples
  gatemilter doctor
  gatemilter doctor example.com example.org`,
	setUp: func(flags *flag.FlagSet) runner {
		path := flags.String("config", defaultConfig, "configuration `FILE`")
		dir := flags.String("postfix-config", "", "`DIR` of main.cf, if it is not Postfix's default")
		cf := flags.String("sendmail-cf", "/etc/mail/sendmail.cf", "configuration `FILE` of Sendmail, where there is no Postfix")
		offline := flags.Bool("no-network", false, "leave out MX records, name servers, mail hosts, a database on another host, and what the portal needs of others")
		json := flags.Bool("json", false, "show the result as JSON, for scripts")
		try := flags.String("try", "", "only try one `SOCKET` of gatemilter's, such as milter=unix:PATH, as the user who runs this")
		return func(ctx context.Context, args []string, io stdio) error {
			if *try != "" {
				return trySocket(ctx, *try, args, io)
			}
			domains, err := domainsOf(args)
			if err != nil {
				return err
			}
			if *offline && len(domains) > 0 {
				return usagef("--no-network leaves out MX records, so it takes no domain")
			}
			d := doctor.Doctor{
				Config: *path, SendmailCF: *cf, Postfix: postfix.Postfix{ConfigDir: *dir}, Domains: domains, Offline: *offline, TryAs: tryAs(),
				Built: built(), Now: time.Now, Synchronised: doctor.KernelSynchronised, Mechanisms: doctor.SASLMechanisms,
				Identities: func(ctx context.Context) (doctor.Stock, error) { return identityStock(ctx, *path) },
			}
			return showChecks(d.Examine(ctx), *json, io.out)
		}
	},
}

// domainsOf reads the domains whose MX records are to be looked at.
func domainsOf(args []string) ([]string, error) {
	var domains []string
	for _, arg := range args {
		domain := policy.CanonicalDomain(arg)
		if !policy.IsDomain(domain) || !strings.Contains(domain, ".") {
			return nil, usagef("%q is no domain: write one such as example.com", arg)
		}
		domains = append(domains, domain)
	}
	return domains, nil
}

// built is when the source of this program was committed, or the zero time.
func built() time.Time {
	info, _ := debug.ReadBuildInfo()
	if info == nil {
		return time.Time{}
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			at, _ := time.Parse(time.RFC3339, s.Value)
			return at
		}
	}
	return time.Time{}
}

func trySocket(ctx context.Context, text string, args []string, io stdio) error {
	s, err := doctor.ParseSocket(text)
	if err != nil {
		return usagef("--try: %v", err)
	}
	if len(args) > 0 {
		return usagef("--try takes no domain")
	}
	answer, err := doctor.Try(ctx, s)
	if err == nil {
		fmt.Fprintln(io.out, answer)
	}
	return err
}

// ourselves is this very program, wherever it is: another user need not be able to search
// the directories above it.
const ourselves = "/proc/self/exe"

// tryAs returns what runs this program as another user to try a socket, which only root
// can.
func tryAs() func(context.Context, doctor.Account, doctor.Socket) error {
	if os.Geteuid() != 0 {
		return nil
	}
	return func(ctx context.Context, a doctor.Account, s doctor.Socket) error {
		cmd := exec.CommandContext(ctx, ourselves, "doctor", "--try", s.Argument())
		cmd.Args[0] = os.Args[0]
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: a.UID, Gid: a.GID, Groups: a.Groups}}
		var said strings.Builder
		cmd.Stderr = &said
		if err := cmd.Run(); err != nil {
			text := strings.TrimPrefix(strings.TrimSpace(said.String()), "gatemilter: ")
			if text == "" {
				text = err.Error()
			}
			return errors.New(text)
		}
		return nil
	}
}

// checksJSON is the JSON form.
type checksJSON struct {
	Failures int            `json:"failures"`
	Warnings int            `json:"warnings"`
	Checks   []doctor.Check `json:"checks"`
}

func showChecks(checks []doctor.Check, json bool, out io.Writer) error {
	doc := checksJSON{Checks: checks}
	for _, c := range checks {
		switch c.State {
		case doctor.Fail:
			doc.Failures++
		case doctor.Warn:
			doc.Warnings++
		}
	}
	var err error
	if json {
		err = writeJSONDoc(doc, out)
	} else {
		_, err = io.WriteString(out, checksText(doc))
	}
	if err == nil && doc.Failures > 0 {
		err = errFinding
	}
	return err
}

// maxShown is how much is shown of a text, in characters: lines of master.cf are long.
const maxShown = 4000

// checksText groups the checks by subject.
func checksText(doc checksJSON) string {
	var b strings.Builder
	for i, c := range doc.Checks {
		if i == 0 || c.Subject != doc.Checks[i-1].Subject {
			if i > 0 {
				b.WriteByte('\n')
			}
			b.WriteString(c.Subject + "\n")
		}
		what := daemon.Visible(c.What, maxReason)
		padding := strings.Repeat(" ", max(0, width(doc.Checks, c.Subject)-utf8.RuneCountInString(what)))
		fmt.Fprintf(&b, "  %-4s  %s%s  %s\n", stateWords[c.State], what, padding, daemon.Visible(c.Found, maxShown))
		if c.Fix != "" {
			fmt.Fprintf(&b, "        -> %s\n", daemon.Visible(c.Fix, maxShown))
		}
	}
	fmt.Fprintf(&b, "\n%s looked at: %s, %s\n", count(len(doc.Checks), "thing"), count(doc.Failures, "failure"), count(doc.Warnings, "warning"))
	return b.String()
}

var stateWords = map[doctor.State]string{doctor.OK: "ok", doctor.Warn: "warn", doctor.Fail: "FAIL"}

// maxWidth is the width of the widest column of what was looked at; what is wider stands
// out.
const maxWidth = 50

// width is that of what was looked at of a subject.
func width(checks []doctor.Check, subject string) int {
	widest := 0
	for _, c := range checks {
		if n := utf8.RuneCountInString(c.What); c.Subject == subject && n <= maxWidth {
			widest = max(widest, n)
		}
	}
	return widest
}
