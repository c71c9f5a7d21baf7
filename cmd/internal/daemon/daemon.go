// Package daemon is the life of the gatemilter process: it reads the
// configuration, opens the sockets, serves the mail server until it is told
// to stop, and reads the configuration again when it is told to.
//
// A configuration is one immutable generation. Reading it again builds the new one
// completely, and only then swaps one pointer; each message keeps the
// generation in which it began.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"reflect"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"gatemilter/milter"
	"gatemilter/policy/config"
)

// stopLimit is how long messages in progress may take to finish when the process
// is told to stop. systemd waits 90 s before it kills.
const stopLimit = 60 * time.Second

// A daemon is one running process.
type daemon struct {
	path    string
	log     *eventLog
	current atomic.Pointer[generation]
}

// A generation is a configuration and what was made of it.
type generation struct {
	config *config.Config
	rules  milter.Rules
}

// read makes a generation of the files.
func read(path string) (*generation, error) {
	cfg, err := config.Load(path)
	if err != nil {
		return nil, err
	}
	rules, err := NewRules(cfg)
	if err != nil {
		return nil, err
	}
	return &generation{cfg, rules}, nil
}

// Run serves with the configuration in the file path until ctx ends or SIGTERM or
// SIGINT comes. The log goes to stderr. The error says why it could not start or had
// to end.
func Run(ctx context.Context, path string, stderr io.Writer) error {
	g, err := read(path)
	if err != nil {
		return fmt.Errorf("configuration refused:\n%w", err)
	}
	cfg := g.config
	d := &daemon{path: path, log: newEventLog(cfg.Log, stderr)}
	defer d.log.Sync()
	d.current.Store(g)
	shareProcessors()
	// When the reader of the log goes away, that is no reason to go away too.
	signal.Ignore(syscall.SIGPIPE)
	// Signals are caught before anybody can know that we run.
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)

	listeners, err := listen(cfg.Server)
	if err != nil {
		return err
	}
	sessions := &milter.Sessions{Rules: d.rules, Report: d.log.message}
	server := &milter.Server{NewSession: sessions.New, Report: d.log.trouble}
	d.log.started(cfg, listeners)
	return d.serve(ctx, server, listeners, hangup)
}

func (d *daemon) rules() milter.Rules { return d.current.Load().rules }

// shareProcessors leaves half of the machine to the mail server, unless the environment
// says otherwise: idle processors of Go's scheduler look for work all the time that
// messages come, which cost more than the messages do.
func shareProcessors() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(1, runtime.GOMAXPROCS(0)/2))
	}
}

// serve runs the server on all listeners until the first of them fails or ctx ends.
func (d *daemon) serve(ctx context.Context, server *milter.Server, listeners []net.Listener, hangup <-chan os.Signal) error {
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { failed <- server.Serve(l) }()
	}
	var cause error
	for cause == nil && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-hangup:
			d.reload()
		case err := <-failed:
			cause = fmt.Errorf("socket lost: %w", err)
		}
	}
	d.log.stopping(cause)
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
	defer cancel()
	err := server.Shutdown(limit)
	if err != nil {
		err = fmt.Errorf("messages in progress were cut off after %s: %w", stopLimit, err)
	}
	d.log.stopped()
	return errors.Join(cause, err)
}

// reload reads the configuration again. All that can fail happens before anything
// changes.
func (d *daemon) reload() {
	next, err := read(d.path)
	if err != nil {
		d.log.reloadRefused(err)
		return
	}
	before := d.current.Swap(next)
	d.log.reloaded(next.config, needsRestart(before.config, next.config))
}

// needsRestart says whether anything differs that takes effect only at the next start.
func needsRestart(a, b *config.Config) bool {
	sockets := func(c *config.Config) config.Server {
		s := c.Server
		s.AuthservID = ""
		return s
	}
	return a.Log != b.Log || !reflect.DeepEqual(sockets(a), sockets(b))
}
