package admin

import (
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"gatemilter/milter"
	"gatemilter/milter/lookup"
	"gatemilter/policy"
)

// metrics are what is counted as it happens. (What is looked at when somebody asks, a
// stateCollector collects.)
type metrics struct {
	registry, process *prometheus.Registry

	messages, reasons, recipients, authentication *prometheus.CounterVec
	gatewayMessages, userGateways, routes         *prometheus.CounterVec
	lookups, reloads, portal                      *prometheus.CounterVec
	decisions                                     prometheus.Histogram
	lookupTimes                                   *prometheus.HistogramVec

	gateways, routeNames, tables names
}

func newMetrics(m *Monitor) *metrics {
	s := &metrics{registry: prometheus.NewRegistry(), process: prometheus.NewRegistry()}
	s.messages = s.counter("messages_total", "Messages by set of rules, by what was decided on them, and by mode: in mode observe it was not carried out.", "direction", "verdict", "mode")
	s.reasons = s.counter("message_reasons_total", "Messages of which a rule spoke, by rule; several may speak of one.", "direction", "verdict", "reason")
	s.recipients = s.counter("recipients_total", "Recipients of messages by what was decided on each.", "verdict")
	s.authentication = s.counter("authentication_results_total", "Results of authentication: one a message for spf and dmarc, one a signature for dkim.", "method", "result")
	s.gatewayMessages = s.counter("gateway_messages_total", "Messages that came through an inbound gateway.", "gateway", "verdict")
	s.userGateways = s.counter("user_gateway_messages_total", "Messages that leave by servers of users' own, by transport.", "transport")
	s.routes = s.counter("route_answers_total", "Answers to the mail server's question for a route, by route (- is none) and by the rule that chose it.", "route", "rule")
	s.lookups = s.counter("lookups_total", "Questions of the mail server by table and status; temp holds mail back.", "table", "status")
	s.reloads = s.counter("reloads_total", "Reloads of the configuration by result.", "result")
	s.portal = s.counter("portal_events_total", "What users did in the portal, by kind, and by result: ok, or why not.", "kind", "result")
	s.decisions = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: prefix + "decision_duration_seconds", Help: "Time that the decision at the end of a message took.",
		Buckets: []float64{.0001, .001, .005, .025, .1, .25, 1, 2.5, 5, 10, 30},
	})
	s.lookupTimes = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: prefix + "lookup_duration_seconds", Help: "Time that an answer to the mail server took, by table.",
		Buckets: []float64{.00001, .0001, .001, .01, .1, 1, 5, 30},
	}, []string{"table"})
	s.registry.MustRegister(s.decisions, s.lookupTimes, stateCollector{m}, buildInfo(m.version))
	for _, result := range []string{"ok", "refused"} {
		s.reloads.WithLabelValues(result)
	}
	s.process.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return s
}

// prefix of all names (https://prometheus.io/docs/practices/naming/).
const prefix = "gatemilter_"

func (s *metrics) counter(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + name, Help: help}, labels)
	s.registry.MustRegister(c)
	return c
}

func buildInfo(version string) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: prefix + "build_info", Help: "1, for the build that runs.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	}, func() float64 { return 1 })
}

// begin makes the counters that rates are taken of: Prometheus doesn't see a counter rise
// that begins at 1.
func (s *metrics) begin(mode policy.Mode) {
	for _, direction := range []policy.Direction{policy.Inbound, policy.Outgoing, policy.Exempt} {
		for _, outcome := range outcomes {
			s.messages.WithLabelValues(direction.String(), outcome, mode.String())
		}
	}
}

func (s *metrics) message(r *milter.Record, outcome string) {
	v := &r.Verdict
	direction := v.Direction.String()
	s.messages.WithLabelValues(direction, outcome, r.Mode.String()).Inc()
	for _, code := range codes(v) {
		s.reasons.WithLabelValues(direction, outcome, ruleLabel(code, policy.Meanings)).Inc()
	}
	for i := range v.Recipients {
		s.recipients.WithLabelValues(v.Recipients[i].Action.String()).Inc()
	}
	s.authenticated(&v.Authentication)
	if v.Gateway != "" {
		s.gatewayMessages.WithLabelValues(s.gateways.label(v.Gateway), outcome).Inc()
	}
	if g := v.UserGateway; g != nil {
		s.userGateways.WithLabelValues(g.Transport()).Inc()
	}
	if r.Stage == milter.StageEnd && r.Failure == nil {
		s.decisions.Observe(r.Duration.Seconds())
	}
}

func (s *metrics) authenticated(a *policy.Authentication) {
	s.result("spf", a.SPF.Result)
	for i := range a.DKIM {
		s.result("dkim", a.DKIM[i].Result)
	}
	s.result("dmarc", a.DMARC.Result)
}

// result counts the result of a method, unless that was not asked.
func (s *metrics) result(method string, r policy.AuthResult) {
	switch r {
	case "":
		return
	case policy.AuthNone, policy.AuthPass, policy.AuthFail, policy.AuthSoftFail, policy.AuthNeutral, policy.AuthPolicy, policy.AuthTempError, policy.AuthPermError:
	default:
		r = other
	}
	s.authentication.WithLabelValues(method, string(r)).Inc()
}

func (s *metrics) lookup(table, status string, took time.Duration) {
	table = s.tables.label(table)
	for _, each := range lookup.Statuses {
		s.lookups.WithLabelValues(table, each)
	}
	s.lookups.WithLabelValues(table, status).Inc()
	s.lookupTimes.WithLabelValues(table).Observe(took.Seconds())
}

func (s *metrics) routed(r *policy.Route, why policy.Code) {
	name := "-"
	if r != nil {
		name = s.routeNames.label(r.Name)
	}
	s.routes.WithLabelValues(name, ruleLabel(why, policy.RouteMeanings)).Inc()
}

// other stands for all values of a label beyond those that it may have.
const other = "other"

// ruleLabel is a rule of the list.
func ruleLabel(code policy.Code, known []policy.Reason) string {
	if slices.ContainsFunc(known, func(r policy.Reason) bool { return r.Code == code }) {
		return string(code)
	}
	return other
}

// maxNames is how many values a label may have that the configuration names.
const maxNames = 1000

// names are the values that a label has had. They don't go away with a reload, as
// counters don't, so their number has a bound.
type names struct {
	mu   sync.Mutex
	seen map[string]bool
}

// label returns the value for a name.
func (n *names) label(name string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.seen[name] {
		return name
	}
	if len(n.seen) >= maxNames {
		return other
	}
	if n.seen == nil {
		n.seen = make(map[string]bool)
	}
	n.seen[name] = true
	return name
}
