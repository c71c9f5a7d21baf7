package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"gatemilter/cmd/internal/daemon"
	"gatemilter/cmd/internal/relaymaps"
	"gatemilter/policy"
	"gatemilter/policy/identity"
)

// importAll adds what was exported, or what Postfix was told: all of it, or nothing.
func (c *identityCommand) importAll(ctx context.Context, args []string) error {
	found, problems, err := c.imported(args)
	if err != nil {
		return err
	}
	s, err := c.open(!c.dryRun)
	if err != nil {
		return err
	}
	defer s.close()
	present, err := s.present(ctx)
	if err != nil {
		return s.explain(err, "", "")
	}
	var plan []importStep
	for _, f := range found {
		step, err := s.plan(f, present, c)
		if err != nil {
			problems = append(problems, relaymaps.Problem{File: f.File, Line: f.Line, Text: err.Error()})
			continue
		}
		plan = append(plan, step)
	}
	if len(problems) > 0 {
		return c.refuseImport(problems)
	}
	if !c.dryRun {
		if err := s.carryOut(ctx, plan, c.replace); err != nil {
			return err
		}
	}
	return c.writeImport(plan, s)
}

// imported reads what is to be imported.
func (c *identityCommand) imported(args []string) (found []relaymaps.Found, problems []relaymaps.Problem, err error) {
	fromPostfix := c.relayhosts != "" || c.saslPasswords != ""
	switch {
	case fromPostfix && len(args) > 0:
		return nil, nil, usagef("it reads the FILE of an export, or Postfix's files, but not both at once")
	case fromPostfix && (c.relayhosts == "" || c.saslPasswords == ""):
		return nil, nil, usagef("Postfix has the servers in one file and the logins in another: write --postfix-relayhost-maps and --postfix-sasl-passwd")
	case fromPostfix && (c.login == "") == (c.owners == ""):
		return nil, nil, usagef("say whose the addresses are: with --login if all are one user's, or with --owners")
	case !fromPostfix && (c.login != "" || c.owners != ""):
		return nil, nil, usagef("--login and --owners are for Postfix's files, as an export says itself whose each address is")
	case fromPostfix:
		return c.fromPostfix()
	case len(args) == 0:
		return nil, nil, usagef("name the FILE of an export, - for standard input, or Postfix's files with --postfix-relayhost-maps and --postfix-sasl-passwd")
	case args[0] == "-":
		return readExport("standard input", c.io.in)
	}
	f, err := os.Open(args[0])
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	return readExport(args[0], f)
}

// fromPostfix reads Postfix's files.
func (c *identityCommand) fromPostfix() (found []relaymaps.Found, problems []relaymaps.Problem, err error) {
	table := func(path string) *relaymaps.Table {
		if path == "" || err != nil {
			return nil
		}
		t, wrong, failed := relaymaps.Open(path)
		problems, err = append(problems, wrong...), failed
		return t
	}
	relayhosts, passwords, owners := table(c.relayhosts), table(c.saslPasswords), table(c.owners)
	if err != nil {
		return nil, nil, err
	}
	whose := relaymaps.OwnersIn(owners)
	if owners == nil {
		if whose, err = relaymaps.OneOwner(c.login); err != nil {
			return nil, nil, usagef("--login: %v", err)
		}
	}
	if info, err := os.Stat(passwords.Name); err == nil && info.Mode()&0o004 != 0 {
		fmt.Fprintf(c.io.err, "gatemilter: %s has passwords in it, and every user of this host can read it: run chmod o= on it, or remove it afterwards\n", passwords.Name)
	}
	found, skipped, wrong := relaymaps.Identities(relayhosts, passwords, whose)
	for _, s := range skipped {
		fmt.Fprintf(c.io.err, "%s\n", visible(fmt.Sprintf("%s:%d: left out: %s", s.File, s.Line, s.Text)))
	}
	return found, append(problems, wrong...), nil
}

// An importStep is what is to be done with an identity.
type importStep struct {
	relaymaps.Found
	does string
}

// What an import does with an identity.
const (
	stepAdds     = "added"
	stepReplaces = "replaced"
	stepKeeps    = "as it is"
)

// present returns what is in the database, by login and address.
func (s *openStore) present(ctx context.Context) (map[[2]string]identity.Record, error) {
	present := make(map[[2]string]identity.Record)
	for r, err := range s.All(ctx) {
		var bad *identity.RowError
		if err != nil && !errors.As(err, &bad) {
			return nil, err
		}
		present[[2]string{r.Login, r.Address}] = r
	}
	return present, nil
}

// plan completes a record and says what is to be done with it, or why it can't be.
func (s *openStore) plan(f relaymaps.Found, present map[[2]string]identity.Record, c *identityCommand) (step importStep, err error) {
	was, there := present[[2]string{f.Login, f.Address}]
	if there && f.Account == "" && c.account == "" {
		f.Account = was.Account
	} else if f.Account == "" {
		if f.Account, err = s.accountOf(f.Login, c.account); err != nil {
			return step, err
		}
	}
	if c.relayhosts != "" {
		f.Name = was.Name // which Postfix's files can't have
	}
	if err := f.Check(); err != nil {
		return step, fmt.Errorf("%w: correct it", err)
	}
	if err := s.clashes(f.Record); err != nil {
		return step, err
	}
	if g := f.Gateway; g != nil && g.Password.Reveal() == "" && !(there && sameLogin(was.Gateway, g)) {
		return step, fmt.Errorf("%s has no password for %s: export with --with-passwords; or if that is lost, remove server, tls and username from the line, and let the user add the server again", f.Address, serverOf(g))
	}
	step = importStep{f, stepAdds}
	switch {
	case there && sameRecord(was, f.Record):
		step.does = stepKeeps
	case there && !c.replace:
		return step, fmt.Errorf("%s has %s already, in another way (%s): write --replace to overwrite it, or remove the line", f.Login, f.Address, shortly(was))
	case there:
		step.does = stepReplaces
	}
	return step, nil
}

// shortly shows a record in a few words.
func shortly(r identity.Record) string {
	i := recordJSON(r, nil)
	if r.Gateway == nil {
		return "no server, " + i.state()
	}
	return fmt.Sprintf("%s as %s, %s", serverOf(r.Gateway), r.Gateway.Username, i.state())
}

// sameLogin says whether two servers have the same password, as far as that can be seen.
func sameLogin(a, b *policy.UserGateway) bool {
	return a != nil && b != nil && a.Host == b.Host && a.Port == b.Port && a.TLS == b.TLS && a.Username == b.Username
}

// sameRecord says whether an import would change nothing.
func sameRecord(was, r identity.Record) bool {
	if was.Account != r.Account || was.Name != r.Name || was.State != r.State || was.Disabled != r.Disabled {
		return false
	}
	if was.Gateway == nil || r.Gateway == nil {
		return was.Gateway == r.Gateway
	}
	password := r.Gateway.Password.Reveal()
	return sameLogin(was.Gateway, r.Gateway) && (password == "" || password == was.Gateway.Password.Reveal())
}

func (s *openStore) carryOut(ctx context.Context, plan []importStep, replace bool) error {
	var records []identity.Record
	for _, step := range plan {
		if step.does != stepKeeps {
			records = append(records, step.Record)
		}
	}
	if len(records) == 0 {
		return nil
	}
	if _, _, err := s.Import(ctx, s.by, records, replace); err != nil {
		return fmt.Errorf("nothing was imported: %w", s.explain(err, "", ""))
	}
	return nil
}

// maxProblems is how many lines that can't be imported are shown.
const maxProblems = 1000

func (c *identityCommand) refuseImport(problems []relaymaps.Problem) error {
	slices.SortStableFunc(problems, func(a, b relaymaps.Problem) int {
		if a.File != b.File {
			return strings.Compare(a.File, b.File)
		}
		return a.Line - b.Line
	})
	for _, p := range problems[:min(len(problems), maxProblems)] {
		fmt.Fprintln(c.io.err, daemon.Visible(p.Error(), maxReason))
	}
	fmt.Fprintf(c.io.err, "gatemilter: %s can't be imported, so nothing was\n", count(len(problems), "line"))
	return errFinding
}

// writeImport shows what was done, or would be.
func (c *identityCommand) writeImport(plan []importStep, s *openStore) error {
	done := make(map[string]int)
	said := make(map[string]bool)
	t := &text{tabwriter.NewWriter(c.io.out, 0, 8, 2, ' ', 0)}
	if len(plan) > 0 {
		t.row("login", "address", "server", "result")
	}
	for _, step := range plan {
		done[step.does]++
		t.row(step.Login, step.Address, orDash(serverOf(step.Gateway)), step.does)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	others, first := 0, ""
	for _, step := range plan {
		if note := s.othersNote(step.Record); note != "" && step.does != stepKeeps {
			others++
			first = cmp.Or(first, note)
		}
		notes := s.notes(step.Record)
		if step.Note != "" {
			notes = append(notes, fmt.Sprintf("%s:%d: %s", step.File, step.Line, step.Note))
		}
		for _, note := range notes {
			if !said[note] {
				said[note] = true
				fmt.Fprintf(c.io.err, "gatemilter: %s\n", visible(note))
			}
		}
	}
	if first != "" { // there may be thousands
		fmt.Fprintf(c.io.err, "gatemilter: %s\n", visible(first))
	}
	if others > 1 {
		fmt.Fprintf(c.io.err, "gatemilter: and so for %d more of these addresses\n", others-1)
	}
	summary := fmt.Sprintf("%d added, %d replaced, %d as they were", done[stepAdds], done[stepReplaces], done[stepKeeps])
	if c.dryRun {
		summary = "Not done (--dry-run): " + summary
	}
	_, err := fmt.Fprintln(c.io.out, summary)
	return err
}
