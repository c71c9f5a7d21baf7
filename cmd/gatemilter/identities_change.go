package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"gatemilter/milter/tlsprobe"
	"gatemilter/policy"
	"gatemilter/policy/config"
	"gatemilter/policy/identity"
)

// add attaches an address to a user's account.
func (c *identityCommand) add(ctx context.Context, args []string) error {
	r, err := c.record(args[0], args[1])
	if err != nil {
		return err
	}
	cfg, err := load(c.config, c.io)
	if err != nil {
		return err
	}
	if r.Gateway != nil && !c.untested && cfg.Identities.Database != "" {
		if err := tryLogin(ctx, cfg, r.Gateway); err != nil {
			return err
		}
	}
	s, err := openIdentities(cfg, c.config, r.Gateway != nil, c.io)
	if err != nil {
		return err
	}
	defer s.close()
	if r.Account, err = s.accountOf(r.Login, c.account); err != nil {
		return err
	}
	if err := s.clashes(r); err != nil {
		return err
	}
	if err := s.Add(ctx, s.by, r); err != nil {
		return s.explain(err, r.Login, r.Address)
	}
	fmt.Fprintf(c.io.out, "%s may write as %s, %s.\n", r.Login, r.Address, c.delivery(r.Gateway))
	notes := s.notes(r)
	if note := s.othersNote(r); note != "" {
		notes = append(notes, note)
	}
	for _, note := range notes {
		fmt.Fprintf(c.io.err, "gatemilter: %s\n", note)
	}
	return nil
}

// delivery says by which server an address's mail leaves.
func (c *identityCommand) delivery(g *policy.UserGateway) string {
	switch {
	case g == nil:
		return "by the domain's servers"
	case c.untested:
		return "by " + serverOf(g) + ", whose login was not tried"
	}
	return "by " + serverOf(g) + ", which took the login"
}

// record makes a record of the arguments and flags.
func (c *identityCommand) record(login, address string) (r identity.Record, err error) {
	if r.Login, err = config.ParseLogin(login); err != nil {
		return r, usagef("%v", err)
	}
	if r.Address, err = config.ParseAddress(bare(address)); err != nil {
		return r, usagef("%v", err)
	}
	r.Name, r.State = c.name, identity.Active
	if c.account != "" {
		if _, err := config.ParseAddress(c.account); err != nil {
			return r, usagef("--account: %v", err)
		}
	}
	if c.server == "" {
		for _, f := range []struct{ name, value string }{{"tls", c.tls}, {"username", c.username}, {"password-file", c.passwordFile}} {
			if f.value != "" {
				return r, usagef("--%s is for a server: write --server too", f.name)
			}
		}
		return r, nil
	}
	r.Gateway, err = c.gateway(r.Address)
	return r, err
}

// gateway makes the user's own server of the flags.
func (c *identityCommand) gateway(address string) (*policy.UserGateway, error) {
	g := &policy.UserGateway{Username: address}
	switch {
	case c.tls == "implicit" || c.tls == "" && strings.HasSuffix(c.server, ":465"):
		g.TLS = policy.ImplicitTLS
	case c.tls == "none":
		return nil, usagef("--tls: a password is not sent in clear: write starttls or implicit; what has neither goes into the configuration, as [user-gateway]")
	case c.tls != "" && c.tls != "starttls":
		return nil, usagef("--tls: %q is none of starttls, implicit", c.tls)
	}
	var err error
	if g.Host, g.Port, err = config.ParseUserServer(c.server, g.TLS); err != nil {
		return nil, usagef("--server: %v", err)
	}
	if c.username != "" {
		g.Username = c.username
	}
	if err := identity.CheckUsername(g.Username); err != nil {
		return nil, usagef("--username: %v", err)
	}
	if c.passwordFile == "" {
		return nil, usagef("the server's password is missing: name a file that has it as its only line with --password-file, or write --password-file - and give it on standard input")
	}
	if g.Password, err = readPassword(c.passwordFile, c.io.in); err != nil {
		return nil, inputError{fmt.Errorf("--password-file: %w", err)}
	}
	return g, nil
}

// maxPasswordFile is more than the longest password.
const maxPasswordFile = 4096

// readPassword reads a file, or standard input, whose only line is a password.
func readPassword(path string, stdin io.Reader) (policy.Secret, error) {
	in := bufio.NewReader(stdin)
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return policy.Secret{}, err
		}
		defer f.Close()
		in.Reset(f)
	}
	line, err := io.ReadAll(io.LimitReader(in, maxPasswordFile))
	if err != nil {
		return policy.Secret{}, err
	}
	line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
	password := policy.NewSecret(string(line))
	if err := identity.CheckPassword(password); err != nil {
		return policy.Secret{}, fmt.Errorf("%w: let it have the password as its only line", err)
	}
	return password, nil
}

// tryLogin logs in at a user's server, on the same way as mail takes.
func tryLogin(ctx context.Context, cfg *config.Config, g *policy.UserGateway) error {
	inside := cfg.Portal.AllowedNetworks
	prober := tlsprobe.Prober{HELO: ownName(), Dial: tlsprobe.PublicOnly(inside), Refuse: tlsprobe.RefuseInside(inside), Login: &tlsprobe.Login{Username: g.Username, Password: g.Password}}
	report, err := prober.Probe(ctx, tlsprobe.ServerTarget(g, cfg.Server.SendsSNI()), nil)
	if err != nil {
		return err
	}
	for _, check := range []tlsprobe.Check{report.TLS, report.Trust, report.Name, report.Accepted} {
		switch {
		case check.Holds:
			continue
		case check.Problem == tlsprobe.Inside:
			return fmt.Errorf("%s can't be used: %s: write its network as allowed_networks into [portal]", serverOf(g), visible(check.Reason))
		case check.Problem == tlsprobe.LoginRefused:
			return fmt.Errorf("%s: %s: correct user name and password, or ask who runs it whether programs need a password of their own there", serverOf(g), visible(check.Reason))
		}
		return fmt.Errorf("%s can't be used: %s: gatemilter verify-tls %s says more; --untested adds it nevertheless", serverOf(g), visible(check.Reason), verifyArguments(g))
	}
	return nil
}

func verifyArguments(g *policy.UserGateway) string {
	if g.TLS == policy.ImplicitTLS {
		return serverOf(g) + " --implicit"
	}
	return serverOf(g)
}

func (c *identityCommand) disable(ctx context.Context, args []string) error {
	return c.change(args, "may no longer write as", func(s *openStore, login, address string) error {
		return s.Disable(ctx, s.by, login, address)
	})
}

func (c *identityCommand) enable(ctx context.Context, args []string) error {
	return c.change(args, "may write again as", func(s *openStore, login, address string) error {
		return s.Enable(ctx, s.by, login, address)
	})
}

func (c *identityCommand) remove(ctx context.Context, args []string) error {
	return c.change(args, "no longer has", func(s *openStore, login, address string) error {
		return s.Remove(ctx, s.by, login, address)
	})
}

// change does one thing to an address and says what it has come to.
func (c *identityCommand) change(args []string, now string, do func(s *openStore, login, address string) error) error {
	login, address := policy.CanonicalLogin(args[0]), policy.CanonicalAddress(bare(args[1]))
	s, err := c.open(false)
	if err != nil {
		return err
	}
	defer s.close()
	if err := do(s, login, address); err != nil {
		return s.explain(err, login, address)
	}
	fmt.Fprintf(c.io.out, "%s %s %s.\n", visible(login), now, visible(address))
	return nil
}

// export writes all that is in the database.
func (c *identityCommand) export(ctx context.Context, args []string) (err error) {
	switch {
	case len(args) == 0 && c.withPasswords:
		return usagef("--with-passwords needs a FILE, which is made so that only its owner can read it")
	case len(args) == 1 && args[0] == "-":
		return usagef("leave FILE out to write to standard output")
	}
	cfg, err := load(c.config, c.io)
	if err != nil {
		return err
	}
	out := c.io.out
	if len(args) == 1 && cfg.Identities.Database != "" {
		file, err := os.OpenFile(args[0], os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%s is there already, and is not overwritten: name a new file", args[0])
		}
		if err != nil {
			return err
		}
		defer func() {
			if err = errors.Join(err, file.Sync(), file.Close()); err != nil && !errors.Is(err, errFinding) {
				os.Remove(args[0]) // which may be somebody else's directory by now
				err = fmt.Errorf("%w; %s is not complete", err, args[0])
			}
		}()
		out = file
	}
	s, err := openIdentities(cfg, c.config, c.withPasswords, c.io)
	if err != nil {
		return err
	}
	defer s.close()
	return s.writeAll(ctx, out, len(args) == 1, c.withPasswords, c.io.err)
}
