package admin

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"gatemilter/milter"
	"gatemilter/milter/accept"
	"gatemilter/policy"
	"gatemilter/policy/auth/dns"
	"gatemilter/policy/config"
)

// A Monitor is told what the daemon does, and makes the pages of that. It is safe for use by
// several goroutines. A nil Monitor takes no notice: where no pages are served, nothing
// has to be kept.
type Monitor struct {
	now     func() time.Time
	version string
	dropped func() uint64
	metrics *metrics

	mu       sync.Mutex
	started  time.Time
	stopping bool
	services []Service
	config   configState
	hosts    map[string]hostState
	recent   recent
	hour     hour
	// identities tell of the database; nil: there is nobody to ask.
	identities func() Identities
}

// Identities are what is known of the database of identities.
type Identities struct {
	// Configured says whether there is one, and Known whether it has ever been read, or its copy.
	Configured, Known bool
	// How many identities there are in each state. Those that are left out would be active.
	Active, Pending, Disabled, LeftOut int
	// Synced is when what is known was last known to be what the database has; zero: not yet.
	Synced time.Time
	// Down is why the database can't be used, since Since; nil: it can.
	Down  error
	Since time.Time
}

// A Service is one of the daemon's servers, and where it listens.
type Service struct {
	Name string
	// Sockets are those of the configuration.
	Sockets []config.Listener
	// Connections counts them; nil where nobody does.
	Connections func() accept.Counts
}

// A configState is what is known of the configuration in force, and of attempts to replace it.
type configState struct {
	config *config.Config
	// loaded is since when it is in force.
	loaded time.Time
	// refused is when the last reload failed, and why, a line for each fault; nil since it
	// hasn't.
	refusedAt time.Time
	refused   []string
	reloads   int
	// dns counts the questions of this configuration's resolver, and dnsBefore those of all
	// before it. dns may be nil.
	dns       func() dns.Stats
	dnsBefore dns.Stats
}

// New returns a monitor of the daemon of this version that starts now. Dropped counts the
// lines that the log has lost.
func New(version string, dropped func() uint64) *Monitor {
	return newMonitor(time.Now, version, dropped)
}

func newMonitor(now func() time.Time, version string, dropped func() uint64) *Monitor {
	m := &Monitor{now: now, version: version, dropped: dropped, started: now(), hosts: map[string]hostState{}}
	m.metrics = newMetrics(m)
	return m
}

// Configured says that a configuration is in force, the first one or another. Stats counts the
// questions of its resolver; it is nil where none is needed.
func (m *Monitor) Configured(c *config.Config, stats func() dns.Stats) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old := &m.config
	if old.config != nil {
		m.metrics.reloads.WithLabelValues("ok").Inc()
	}
	m.config = configState{config: c, loaded: m.now(), dns: stats, dnsBefore: old.dnsCounts(), reloads: old.reloads + 1}
	m.metrics.begin(c.Settings.Mode)
	m.keepHosts(c.Settings.Outbound.Routes)
}

// ReloadRefused says that the files have errors, so that the old configuration stays in force.
func (m *Monitor) ReloadRefused(err error) {
	if m == nil {
		return
	}
	m.metrics.reloads.WithLabelValues("refused").Inc()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.config.refusedAt, m.config.refused = m.now(), faults(err)
}

// maxFaults is how many faults of a configuration the page shows.
const maxFaults = 5

// faults are the first of those that an error has a line for each of.
func faults(err error) (shown []string) {
	lines := strings.Split(err.Error(), "\n")
	for _, line := range lines[:min(len(lines), maxFaults)] {
		shown = append(shown, short(line))
	}
	if more := len(lines) - len(shown); more > 0 {
		shown = append(shown, fmt.Sprintf("and %d more: gatemilter check shows all", more))
	}
	return shown
}

// dnsCounts returns the counts since the start. What the cache holds is that of now.
func (c *configState) dnsCounts() dns.Stats {
	sum := c.dnsBefore
	sum.Entries, sum.Octets = 0, 0
	if c.dns == nil {
		return sum
	}
	now := c.dns()
	sum.Hits, sum.Misses, sum.Failures = sum.Hits+now.Hits, sum.Misses+now.Misses, sum.Failures+now.Failures
	sum.Entries, sum.Octets = now.Entries, now.Octets
	return sum
}

// Serving says that all sockets are open.
func (m *Monitor) Serving(services []Service) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.services = services
}

// Stopping says that no new messages are taken.
func (m *Monitor) Stopping() {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stopping = true
}

// Message counts a message, and keeps what was decided on it.
func (m *Monitor) Message(r *milter.Record) {
	if m == nil {
		return
	}
	outcome := outcomeOf(r)
	m.metrics.message(r, outcome)
	d, kept := newDecision(r, outcome)
	gateway := r.Verdict.Gateway
	if gateway != "" {
		gateway = m.metrics.gateways.label(gateway)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	m.hour.add(now, tallyOf(r, outcome, gateway))
	if kept {
		d.Time = now
		m.recent.add(d)
	}
}

// Lookup counts an answer to the mail server.
func (m *Monitor) Lookup(table, status string, took time.Duration) {
	if m == nil {
		return
	}
	m.metrics.lookup(table, status, took)
}

// Portal counts what a user did in the portal, and what became of it: words of ours.
func (m *Monitor) Portal(kind, result string) {
	if m == nil {
		return
	}
	m.metrics.portal.WithLabelValues(kind, result).Inc()
}

// Identities says whom to ask about the database of identities.
func (m *Monitor) Identities(ask func() Identities) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.identities = ask
}

// askIdentities returns what is known of the database.
func (m *Monitor) askIdentities() Identities {
	m.mu.Lock()
	ask := m.identities
	m.mu.Unlock()
	if ask == nil {
		return Identities{}
	}
	return ask()
}

// Routed counts a route that was chosen for some mail, nil for none, and the rule that chose it.
func (m *Monitor) Routed(r *policy.Route, why policy.Code) {
	if m == nil {
		return
	}
	m.metrics.routed(r, why)
}
