package admin

import (
	"maps"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gatemilter/milter/accept"
)

// A stateCollector collects what is so at the moment.
type stateCollector struct{ *Monitor }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prefix+name, help, labels, nil)
}

var (
	descConnections = desc("connections", "Open connections by service.", "service")
	descRefused     = desc("connections_refused_total", "Connections that were closed at once because there were too many, by service.", "service")
	descReady       = desc("ready", "1 while /readyz says so.")
	descReloadOK    = desc("config_last_reload_successful", "0 if the last reload was refused.")
	descLoaded      = desc("config_loaded_timestamp_seconds", "When the configuration in force was loaded.")
	descWarnings    = desc("config_warnings", "How many settings of the configuration in force are doubtful.")
	descDropped     = desc("log_lines_dropped_total", "Log lines that were lost because nobody took them.")
	descQueries     = desc("dns_queries_total", "Questions that went out to the name servers.")
	descHits        = desc("dns_cache_hits_total", "Questions that needed no query of their own.")
	descFailures    = desc("dns_failures_total", "Questions that the name servers failed to answer.")
	descEntries     = desc("dns_cache_entries", "Answers that the DNS cache holds.")
	descOctets      = desc("dns_cache_bytes", "Memory that the DNS cache takes, estimated.")
	descIdentities  = desc("identities", "Addresses in the database of identities, by state; those that are left out can't be used beside others.", "state")
	descDatabaseUp  = desc("identities_database_up", "1 while the database of identities can be used; without it, changes are not seen.")
	descSynced      = desc("identities_last_sync_timestamp_seconds", "When what is in force was last known to be what the database of identities has.")
	descHolds       = desc("host_demands_hold", "1 if a route's host held what the route demands when it was last looked at.", "route", "host")
	descProbed      = desc("host_probe_timestamp_seconds", "When a route's host was last looked at, which is when there is mail for it.", "route", "host")
	descExpires     = desc("host_certificate_expiry_timestamp_seconds", "When the certificate ends that a route's host has shown last.", "route", "host")
)

func (stateCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descConnections, descRefused, descReady, descReloadOK, descLoaded, descWarnings, descDropped,
		descQueries, descHits, descFailures, descEntries, descOctets, descIdentities, descDatabaseUp, descSynced, descHolds, descProbed, descExpires} {
		out <- d
	}
}

func (s stateCollector) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge(descReady, yes(len(s.unready()) == 0))
	counter(descDropped, s.dropped())
	for name, c := range s.connections() {
		gauge(descConnections, float64(c.Open), name)
		counter(descRefused, c.Refused, name)
	}
	s.mu.Lock()
	state, hosts := s.config, maps.Clone(s.hosts)
	s.mu.Unlock()
	if c := state.config; c != nil {
		gauge(descReloadOK, yes(state.refused == nil))
		gauge(descLoaded, seconds(state.loaded))
		gauge(descWarnings, float64(len(c.Warnings)))
	}
	dns := state.dnsCounts()
	counter(descQueries, dns.Misses)
	counter(descHits, dns.Hits)
	counter(descFailures, dns.Failures)
	gauge(descEntries, float64(dns.Entries))
	gauge(descOctets, float64(dns.Octets))
	if i := s.askIdentities(); i.Configured {
		for state, n := range map[string]int{"active": i.Active, "pending": i.Pending, "disabled": i.Disabled, "left-out": i.LeftOut} {
			gauge(descIdentities, float64(n), state)
		}
		gauge(descDatabaseUp, yes(i.Down == nil && !i.Synced.IsZero()))
		if !i.Synced.IsZero() {
			gauge(descSynced, seconds(i.Synced))
		}
	}
	for nexthop, h := range hosts {
		gauge(descHolds, yes(h.Failure == nil), h.route, nexthop)
		gauge(descProbed, seconds(h.at), h.route, nexthop)
		if !h.Expires.IsZero() {
			gauge(descExpires, seconds(h.Expires), h.route, nexthop)
		}
	}
}

// connections of the services that count them.
func (m *Monitor) connections() map[string]accept.Counts {
	m.mu.Lock()
	services := m.services
	m.mu.Unlock()
	counts := make(map[string]accept.Counts)
	for _, s := range services {
		if s.Connections != nil {
			counts[s.Name] = s.Connections()
		}
	}
	return counts
}

func yes(holds bool) float64 {
	if holds {
		return 1
	}
	return 0
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
