// Package lab sets up what a test, the demo or a benchmark of a mail filter needs around it: a private Postfix on
// loopback, mail filters of others, a certification authority, and an SMTP client that shows every reply as it came.
//
// # Postfix
//
// [NeedPostfix] sees that Postfix is installed, and [Start] runs an instance of its own: configuration, queue,
// mailboxes and log live in one directory. The system's instance is not touched, whether it runs or not, and
// /etc/postfix/main.cf need not exist. As master(8) changes user and root directory, all of it needs root.
//
// The instance accepts mail for the mailboxes in [Config] and lets the loopback client take any identity by XCLIENT
// (https://www.postfix.org/XCLIENT_README.html), so that a test connects "from" any address, name or login. Mail for
// other domains leaves only through [Config.Relay]; where there is none it stays, and never goes to the outside.
//
// # Sendmail
//
// [NeedSendmail] fetches Sendmail, without installing it, and [StartSendmail] runs an instance of its own in a directory. As
// Sendmail has no XCLIENT, a test that wants clients from other addresses runs in namespaces of its own, where all
// addresses for documentation are local: see [Isolate], [EnterIsolation] and [DialFrom].
//
// # Filters
//
// [Postfix.StartFilter] runs Debian's OpenDKIM or OpenDMARC beside an instance, in a directory and with a name server of
// its own: what they sign is for a verifier to be tested, what they conclude for comparison. [NeedPackages] installs them.
//
// # Mail hosts
//
// [StartSink] runs a mail host that mail leaves for: it remembers what it was sent and how, and is refused, slow or broken
// when a test wants it to be. [SinkConfig] makes it a submission server, which takes mail from those who log in, and
// remembers all passwords that it was shown.
//
// # PostgreSQL
//
// [NeedPostgres] sees that there is a PostgreSQL, and [StartPostgres] runs a server of its own on loopback, which can be
// stopped, killed and started again while a test looks on.
//
// # TLS
//
// [NewCA] makes an authority whose certificates, good or bad in a chosen way, serve on both sides of STARTTLS.
package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"
)

const (
	// pollInterval is short beside what is waited for (a delivery takes tens of milliseconds).
	pollInterval = 10 * time.Millisecond
	// waitLimit bounds every wait whose context has no deadline.
	waitLimit = time.Minute
)

// Until waits until cond holds. It fails when ctx ends, or after a minute where ctx has no deadline, and then says
// what it waited for.
func Until(ctx context.Context, what string, cond func() bool) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for !cond() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}

// waitLine waits until a line of a log matches, and returns the first that does.
func waitLine(ctx context.Context, re *regexp.Regexp, log func() string) (line string, err error) {
	err = Until(ctx, fmt.Sprintf("a log line that matches %q", re), func() bool {
		for l := range strings.Lines(log()) {
			if l = strings.TrimSuffix(l, "\n"); re.MatchString(l) {
				line = l
				return true
			}
		}
		return false
	})
	return line, err
}

// bounded gives ctx a deadline if it has none.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, waitLimit)
}

func needRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("a private mail server needs root, as its daemons change user: run as root")
	}
	return nil
}
