package main

import (
	"context"
	"flag"

	"gatemilter/cmd/internal/daemon"
)

var serveCommand = command{
	name:    "serve",
	args:    "[--config FILE]",
	summary: "run the daemon that the mail server calls for each message",
	help: `
Runs in the foreground until SIGTERM or SIGINT, then lets the messages in
progress finish. SIGHUP reads the configuration again: all of it takes effect, or,
if anything is wrong with it, nothing. The log goes to systemd's journal where stderr
leads there, and to stderr otherwise, unless the configuration says where ([log]).

Example
  gatemilter serve --config /etc/gatemilter/gatemilter.conf`,
	setUp: func(flags *flag.FlagSet) runner {
		config := flags.String("config", defaultConfig, "configuration `FILE`")
		return func(ctx context.Context, args []string, io stdio) error {
			if len(args) > 0 {
				return usagef("it takes no argument %q", args[0])
			}
			return daemon.Run(ctx, version(), *config, io.err)
		}
	},
}
