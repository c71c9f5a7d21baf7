// Package daemon is the life of the gatemilter process: it reads the
// configuration, opens the sockets, serves the mail server until it is told
// to stop, and reads the configuration again when it is told to.
//
// A configuration is one immutable generation. Reading it again builds the new one
// completely, and only then swaps one pointer; each message keeps the
// generation in which it began. A change in the database of identities makes another
// generation of the same configuration, which shares all that is unchanged.
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
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"gatemilter/cmd/internal/admin"
	"gatemilter/milter"
	"gatemilter/milter/lookup"
	"gatemilter/policy/auth/dns"
	"gatemilter/policy/config"
)

// stopLimit is how long messages in progress may take to finish when the process
// is told to stop. systemd waits 90 s before it kills.
const stopLimit = 60 * time.Second

// A daemon is one running process.
type daemon struct {
	path string
	log  *eventLog
	// started is the configuration whose sockets are open.
	started *config.Config
	current atomic.Pointer[generation]
	// changing is held while the next generation is made of the current one.
	changing sync.Mutex
	// identities are those of the database.
	identities identities
	// attempts are the deliveries to users' own servers.
	attempts attempts
	// hosts are those for which Sendmail has asked the way.
	hosts hostNames
	// sendmailAsks is set when Sendmail has asked anything.
	sendmailAsks atomic.Bool
	// admin makes the admin pages; nil where none are served.
	admin *admin.Monitor
	// probe looks at users' own servers.
	probe prober
}

// A generation is a configuration and what was made of it.
type generation struct {
	config *config.Config
	rules  milter.Rules
	ways   map[string]*way
	users  userServers
	// certificates are those of hosts to which Sendmail connects.
	certificates *certificates
	// dnsStats counts the questions to the DNS; nil where nothing is asked.
	dnsStats func() dns.Stats
}

// read makes a generation of the files.
func read(path string) (*generation, error) {
	cfg, err := config.Load(path)
	if err != nil {
		return nil, err
	}
	rules, dnsStats, err := newRules(cfg)
	if err != nil {
		return nil, err
	}
	users, err := newUserServers(cfg)
	if err != nil {
		return nil, err
	}
	if err := checkIdentities(cfg.Identities); err != nil {
		return nil, err
	}
	return &generation{cfg, rules, ways(cfg.Settings.Outbound.Routes), users, new(certificates), dnsStats}, nil
}

// Run serves with the configuration in the file path until ctx ends or SIGTERM or
// SIGINT comes. The log goes to stderr or the journal. The error says why it could not
// start or had to end.
// Version is what the admin pages show.
func Run(ctx context.Context, version, path string, stderr io.Writer) error {
	g, err := read(path)
	if err != nil {
		return fmt.Errorf("configuration refused:\n%w", err)
	}
	cfg := g.config
	d := &daemon{path: path, started: cfg, log: newEventLog(cfg.Log, stderr), probe: probeLogin, hosts: hostNames{resolve: resolves}}
	defer d.log.Sync()
	d.current.Store(g)
	d.monitor(g, version)
	shareProcessors()
	// When the reader of the log goes away, that is no reason to go away too.
	signal.Ignore(syscall.SIGPIPE)
	// Signals are caught before anybody can know that we run.
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)

	if err := d.follow(); err != nil {
		return err
	}
	defer d.unfollow()
	d.awaitIdentities(ctx)
	services, err := d.open(cfg)
	if err != nil {
		return err
	}
	d.log.started(cfg, services)
	d.serving(services)
	d.notifyReady(services)
	return d.serve(ctx, services, hangup)
}

// A service is a server and where it listens.
type service struct {
	name      string // as the key of [server] that configures it
	listeners []net.Listener
	server    interface {
		Serve(net.Listener) error
		Shutdown(context.Context) error
	}
}

// open opens all sockets, or none.
func (d *daemon) open(cfg *config.Config) ([]service, error) {
	sessions := &milter.Sessions{Rules: d.rules, Report: d.message}
	services := []service{{name: "milter", server: &milter.Server{NewSession: sessions.New, Report: d.log.trouble}}}
	addresses := [][]config.Listener{cfg.Server.Milter}
	if cfg.Settings.AsksLookup() {
		services = append(services, service{name: "lookup", server: &lookup.Server{Tables: d.tables(), Report: d.log.lookupTrouble, Observe: d.admin.Lookup}})
		addresses = append(addresses, cfg.Server.Lookup)
	}
	if len(cfg.Server.Admin) > 0 {
		services, addresses = append(services, d.adminService()), append(addresses, cfg.Server.Admin)
	}
	for i := range services {
		var err error
		if services[i].listeners, err = listen(addresses[i], cfg.Server); err != nil {
			closeAll(services)
			return nil, err
		}
	}
	return append(services, d.openPortal(cfg)...), nil
}

func closeAll(services []service) {
	for _, s := range services {
		for _, l := range s.listeners {
			l.Close()
		}
	}
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

// serve runs all services until a listener fails or ctx ends.
func (d *daemon) serve(ctx context.Context, services []service, hangup <-chan os.Signal) error {
	failed := make(chan error)
	stop := make(chan struct{})
	defer close(stop)
	for _, s := range services {
		for _, l := range s.listeners {
			go func() {
				select {
				case failed <- s.server.Serve(l):
				case <-stop:
				}
			}()
		}
	}
	watched, unwatch := context.WithCancel(ctx)
	defer unwatch()
	go d.watch(watched, services)
	var cause error
	for cause == nil && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-hangup:
			d.notifyReloading()
			d.notifyReloaded(services, d.reload())
		case err := <-failed:
			cause = fmt.Errorf("socket lost: %w", err)
		}
	}
	unwatch()
	d.log.stopping(cause)
	d.admin.Stopping()
	d.notifyStopping()
	return errors.Join(cause, d.shutdown(ctx, services))
}

// shutdown lets messages in progress finish. The MTA may ask for routes until then, and
// the admin pages tell until the end that we stop.
func (d *daemon) shutdown(ctx context.Context, services []service) error {
	defer d.log.stopped()
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
	defer cancel()
	var all error
	for _, s := range services {
		if err := s.server.Shutdown(limit); err != nil {
			all = errors.Join(all, fmt.Errorf("%s: cut off after %s: %w", s.name, stopLimit, err))
		}
	}
	return all
}

// reload reads the configuration again. All that can fail happens before anything
// changes.
func (d *daemon) reload() error {
	next, err := read(d.path)
	if err != nil {
		d.log.reloadRefused(err)
		d.admin.ReloadRefused(err)
		return err
	}
	before := d.adopt(next)
	d.admin.Configured(next.config, next.dnsStats)
	d.log.reloaded(next.config, needsRestart(d.started, next.config))
	if next.config.Settings.AsksLookup() && !d.started.Settings.AsksLookup() {
		d.log.notAsked()
	}
	d.log.changes(next.config.Changes(before.config))
	d.compareSetups(before.config, next.config)
	return d.follow()
}

// adopt puts a generation of another configuration into force, with the identities that are known,
// and returns the one before.
func (d *daemon) adopt(next *generation) (before *generation) {
	d.changing.Lock()
	defer d.changing.Unlock()
	r := &d.identities.roster
	if next.config.Identities.Database == "" {
		*r = roster{guard: r.guard}
	} else if r.records != nil {
		r.configure(next.config)
		next.employ(r)
	}
	before = d.current.Swap(next)
	d.logLeftOut()
	return before
}

// needsRestart names what differs and takes effect only at the next start.
func needsRestart(a, b *config.Config) (what []string) {
	sockets := func(c *config.Config) config.Server {
		s := c.Server
		s.AuthservID, s.MTAUser, s.GatewayMilters = "", "", ""
		return s
	}
	portal := len(a.Portal.Listen)+len(b.Portal.Listen) > 0
	for _, c := range []struct {
		name    string
		differs bool
	}{
		{"the sockets", !reflect.DeepEqual(sockets(a), sockets(b))},
		{"[log]", a.Log != b.Log},
		{"[portal]", portal && !reflect.DeepEqual(a.Portal, b.Portal)},
		{"[identities]", portal && a.Identities != b.Identities},
		{"the lookup socket, which is no longer needed,", a.Settings.AsksLookup() && !b.Settings.AsksLookup()},
	} {
		if c.differs {
			what = append(what, c.name)
		}
	}
	return what // a lookup socket that is needed now is another matter: see notAsked
}
