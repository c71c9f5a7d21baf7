package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"

	"gatemilter/cmd/internal/daemon"
	"gatemilter/cmd/internal/doctor"
	"gatemilter/cmd/internal/sendmail"
	"gatemilter/policy/config"
)

var checkCommand = command{
	name:    "check",
	args:    "[FILE]",
	summary: "check a configuration and show all errors at once",
	help: `
Each error and warning is shown as FILE:LINE: [SECTION] KEY: what was found, what
was expected. With errors, "serve" would refuse the file; warnings are about
what is surely not meant, is missing on this host, or is more than Sendmail can do.

Example
  gatemilter check /etc/gatemilter/gatemilter.conf`,
	setUp: func(flags *flag.FlagSet) runner {
		path := flags.String("config", defaultConfig, "configuration `FILE`")
		return func(_ context.Context, args []string, io stdio) error {
			switch len(args) {
			case 0:
			case 1:
				*path = args[0]
			default:
				return usagef("it takes one file, but got %s", count(len(args), "argument"))
			}
			return check(*path, io)
		}
	},
}

func check(path string, io stdio) error {
	cfg, err := load(path, io)
	if err != nil {
		return err
	}
	for _, w := range cfg.Warnings {
		fmt.Fprintln(io.err, w.Warning())
	}
	doubts := len(cfg.Warnings)
	for _, err := range append(daemon.Preflight(cfg), missing(cfg)...) {
		doubts++
		fmt.Fprintf(io.err, "%s: warning: on this host, %v\n", path, err)
	}
	for _, problem := range beyondSendmail(path, cfg) {
		doubts++
		fmt.Fprintf(io.err, "%s: warning: Sendmail can't do this: %s\n", path, problem)
	}
	fmt.Fprintf(io.out, "%s: no errors, %s, %s\n", path, count(doubts, "warning"),
		summary(cfg))
	return nil
}

// summary counts what the configuration has.
func summary(cfg *config.Config) string {
	text := fmt.Sprintf("%s, %s, %s", count(len(cfg.Settings.Gateways), "inbound gateway"), count(len(cfg.Settings.Outbound.Routes), "route"), count(len(cfg.Settings.Outbound.Users), "user"))
	if cfg.Identities.Database != "" {
		text += ", 1 database of identities"
	}
	if n := len(cfg.Portal.Listen); n > 0 {
		text += ", " + count(n, "portal listener")
	}
	return text
}

// beyondSendmail is what mta-setup refuses, where the mail server is Sendmail: the daemon starts with it.
func beyondSendmail(path string, cfg *config.Config) []string {
	if !cfg.Server.IsSendmail() {
		return nil
	}
	if _, err := sendmail.File(path, cfg); err != nil {
		return strings.Split(err.Error(), "\n")
	}
	return nil
}

// missing are the files that the database of identities needs, and that are not there.
func missing(cfg *config.Config) (found []error) {
	if cfg.Identities.Database == "" {
		return nil
	}
	absent := func(path string) bool {
		_, err := os.Stat(path)
		return errors.Is(err, fs.ErrNotExist)
	}
	if path := cfg.Identities.KeyFile; absent(path) && absent(doctor.Credential) {
		found = append(found, fmt.Errorf("there is no key_file %s, so no password of a user's server can be used or stored; bring it back from your backup, or, where no password is in the database yet, run openssl rand -base64 32 | install -m 0640 -g gatemilter /dev/stdin %s", path, path))
	}
	if name, err := url.Parse(cfg.Identities.Database); err == nil {
		if path := name.Query().Get("passfile"); path != "" && absent(path) {
			found = append(found, fmt.Errorf("there is no passfile %s, which [identities] database names; write it, with a line HOST:PORT:DATABASE:USER:PASSWORD, readable by the group gatemilter", path))
		}
	}
	return found
}

// load reads a configuration, or shows all that is wrong with it.
func load(path string, io stdio) (*config.Config, error) {
	cfg, err := config.Load(path)
	var problems config.Errors
	if errors.As(err, &problems) {
		fmt.Fprintln(io.err, problems)
		fmt.Fprintf(io.err, "gatemilter: %s in %s\n", count(len(problems), "error"), path)
		return nil, errFinding
	}
	return cfg, err
}

func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
