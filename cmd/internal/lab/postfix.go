package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// stopLimit is how long daemons may take to end by themselves; Postfix's own limit is 5 seconds.
const stopLimit = 10 * time.Second

// A Postfix is a running private instance.
type Postfix struct {
	layout
	family    family
	addrs     map[string]string // service → host:port; the main one is ""
	saslauthd *saslauthd        // nil where nobody can log in
	temporary bool              // Stop removes the directory
}

// Addr is the host:port of the SMTP server.
func (p *Postfix) Addr() string { return p.addrs[""] }

// ServiceAddr is the host:port of one of Config.Services.
func (p *Postfix) ServiceAddr(name string) string { return p.addrs[name] }

// ConfigDir holds main.cf and master.cf. Edit them, with postconf by Command, and Reload.
func (p *Postfix) ConfigDir() string { return p.config() }

// QueueDir is $queue_directory, in which a milter's socket can be used chrooted and not.
func (p *Postfix) QueueDir() string { return p.queue() }

// Command is one of Postfix's administrative commands, applied to this instance.
func (p *Postfix) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := command(ctx, program(name), args...)
	cmd.Env = append(cmd.Env, "MAIL_CONFIG="+p.config())
	return cmd
}

// Sendmail submits message with the sendmail command: the way that non_smtpd_milters see.
func (p *Postfix) Sendmail(ctx context.Context, message string, args ...string) error {
	return run(p.Command(ctx, "sendmail", args...), strings.NewReader(message))
}

// Reload makes the instance read its configuration and waits until every daemon has the new one. An SMTP session
// that is open keeps its daemon, and Reload waiting for it.
func (p *Postfix) Reload(ctx context.Context) error {
	old := p.family.members()
	if err := p.settle(); err != nil {
		return err
	}
	if err := run(p.Command(ctx, "postfix", "reload"), nil); err != nil {
		return err
	}
	return Until(ctx, "the daemons to end that have the old configuration", func() bool {
		return !slices.ContainsFunc(p.family.members(), func(pid int) bool {
			return pid != p.family.master && slices.Contains(old, pid)
		})
	})
}

// Stop ends the instance and waits for its last process. It kills, as the last resort, those which don't end within
// ten seconds, and then returns an error. A second Stop does nothing.
func (p *Postfix) Stop() error {
	err := p.terminate()
	if p.saslauthd != nil {
		err = errors.Join(err, p.saslauthd.stop())
		p.saslauthd = nil
	}
	if p.temporary {
		err = errors.Join(err, os.RemoveAll(p.dir))
	}
	return err
}

func (p *Postfix) terminate() error {
	if p.family.has(p.family.master) {
		if err := syscall.Kill(p.family.master, syscall.SIGTERM); err != nil { // it ends its daemons
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	err := Until(ctx, "Postfix's daemons to end", func() bool { return len(p.family.members()) == 0 })
	if err != nil {
		pids := p.family.members()
		for _, pid := range pids {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		err = fmt.Errorf("%w; killed %v\n%s", err, pids, p.Log())
	}
	if gone := os.Remove(p.pidFile()); !errors.Is(gone, fs.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return err
}

// Log is what the instance has logged so far.
func (p *Postfix) Log() string {
	text, _ := os.ReadFile(p.maillog()) // not there before the first line
	return string(text)
}

// WaitLog waits until a line of the log matches, and returns the first that does.
func (p *Postfix) WaitLog(ctx context.Context, re *regexp.Regexp) (line string, err error) {
	return waitLine(ctx, re, p.Log)
}
