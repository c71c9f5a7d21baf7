package main

import (
	"context"
	"errors"
	"flag"
	"fmt"

	"gatemilter/cmd/internal/daemon"
	"gatemilter/policy/config"
)

var checkCommand = command{
	name:    "check",
	args:    "[FILE]",
	summary: "check a configuration and show all errors at once",
	help: `
Each error and warning is shown as FILE:LINE: [SECTION] KEY: what was found, what
was expected. With errors, "serve" would refuse the file; warnings are about
what is surely not meant, or is missing on this host.

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
	for _, err := range daemon.Preflight(cfg) {
		doubts++
		fmt.Fprintf(io.err, "%s: warning: on this host, %v\n", path, err)
	}
	fmt.Fprintf(io.out, "%s: no errors, %s, %s, %s, %s\n", path, count(doubts, "warning"),
		count(len(cfg.Settings.Gateways), "inbound gateway"), count(len(cfg.Settings.Outbound.Routes), "route"), count(len(cfg.Settings.Outbound.Users), "user"))
	return nil
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
