package admin

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatemilter/cmd/internal/lab"
	"gatemilter/milter"
	"gatemilter/policy"
	"gatemilter/policy/auth/dns"
)

func get(t testing.TB, url string) (int, string) {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

// foreign are the lines about process and Go, which are never the same.
var foreign = regexp.MustCompile(`(?m)^(# (HELP|TYPE) )?(go|process)_.*\n`)

// ours leaves out of a page of metrics what is foreign, and the Go version.
func ours(page string) string {
	return strings.ReplaceAll(foreign.ReplaceAllString(page, ""), runtime.Version(), "go1.x")
}

// TestS6Metrics: the whole page, after an hour of everything (UPDATE_GOLDEN=1 writes it).
func TestS6Metrics(t *testing.T) {
	_, page := get(t, serve(t, eventful(t))+"/metrics")
	for _, wanted := range []string{"process_open_fds ", "go_goroutines "} {
		if !strings.Contains(page, "\n"+wanted) {
			t.Errorf("there is no %s", wanted)
		}
	}
	got, golden := ours(page), filepath.Join("testdata", "metrics.txt")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := must(os.ReadFile(golden))
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("not as in %s:\n%s", golden, diff)
	}
	for _, secret := range append(secrets, "alice", "<script", "evil.example", "friend.example") {
		if strings.Contains(page, secret) {
			t.Errorf("%q is in the page", secret)
		}
	}
}

// Prometheus itself finds nothing to say against the page.
func TestS6MetricsLint(t *testing.T) {
	_, page := get(t, serve(t, eventful(t))+"/metrics")
	promtool(t, ours(page), "check", "metrics")
}

func promtool(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	if err := lab.NeedPackages(t.Context(), t.Logf, "prometheus"); err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), "promtool", args...)
	c.Stdin = strings.NewReader(stdin)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Errorf("promtool %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// What a peer can vary makes no new series, and what the administrator can vary a limited
// number.
func TestS6SeriesAreBounded(t *testing.T) {
	m, _ := monitored(t, settings)
	series := func() (n int) {
		for _, f := range must(m.metrics.registry.Gather()) {
			n += len(f.GetMetric())
		}
		return n
	}
	m.Message(throughGateway(hostile))
	m.Message(throughGateway(outgoing))
	before := series()
	for i := range 2 * maxNames {
		m.Message(throughGateway(hostile, func(r *milter.Record) {
			r.Sender, r.QueueID = fmt.Sprint(i), fmt.Sprint(i)
			r.Verdict.Reasons[0] = policy.Reason{Code: policy.UnrecognisedHop, Text: fmt.Sprint(i)}
			r.Verdict.Authentication.SPF.Result = policy.AuthResult(fmt.Sprint(i))
		}))
		m.Message(throughGateway(outgoing, func(r *milter.Record) {
			r.Login, r.Verdict.UserGateway = fmt.Sprint(i), &policy.UserGateway{Host: fmt.Sprint(i), Username: fmt.Sprint(i)}
		}))
	}
	if after := series(); after != before {
		t.Errorf("%d series have become %d", before, after)
	}
	for i := range 2 * maxNames {
		m.Message(throughGateway(func(r *milter.Record) { r.Verdict.Gateway = fmt.Sprint(i) }))
	}
	if n := len(m.metrics.gateways.seen); n != maxNames {
		t.Errorf("%d gateways are told apart, want %d", n, maxNames)
	}
	if _, page := get(t, serve(t, m)+"/metrics"); !strings.Contains(page, `gatemilter_gateway_messages_total{gateway="other",verdict="accept"} 1000`) {
		t.Error("the rest is not counted as other")
	}
}

// A reload begins with a resolver of its own; the counters go on.
func TestS6DNSCountsGoOn(t *testing.T) {
	m, _ := monitored(t, settings)
	for range 2 {
		m.Configured(parse(t, settings), func() dns.Stats { return dns.Stats{Hits: 1, Misses: 2, Failures: 3, Entries: 4, Octets: 5} })
	}
	m.Configured(parse(t, settings), nil)
	if diff := cmp.Diff(dns.Stats{Hits: 42, Misses: 29, Failures: 8}, m.config.dnsCounts()); diff != "" {
		t.Error(diff)
	}
}

// A daemon without admin pages has no monitor.
func TestNoMonitor(t *testing.T) {
	var m *Monitor
	m.Configured(nil, nil)
	m.ReloadRefused(nil)
	m.Serving(nil)
	m.Stopping()
	m.Message(nil)
	m.Lookup("", "", 0)
	m.Routed(nil, "")
	m.Probed("", "", Probe{})
}

// An hour forgets what is older, and only that.
func TestHour(t *testing.T) {
	var h hour
	at := func(minute int) time.Time { return began.Add(time.Duration(minute) * time.Minute) }
	one := func() tally { return tallyOf(throughGateway(), "accept", "filter") }
	h.add(at(0), one())
	h.add(at(0), one())
	h.add(at(1), one())
	for _, c := range []struct{ minute, messages, oldest int }{{1, 3, 0}, {59, 3, 2}, {60, 1, 1}, {61, 0, 0}, {1000, 0, 0}} {
		sum, each := h.last(at(c.minute))
		if sum.verdicts["accept"] != c.messages || sum.gateways["filter"].Messages != c.messages || sum.reasons[policy.FromGateway] != c.messages || each[0]["accept"] != c.oldest {
			t.Errorf("after %d minutes: %+v, in the oldest minute %v, want %d and %d", c.minute, sum, each[0], c.messages, c.oldest)
		}
	}
	h.add(at(60), one()) // in the place of minute 0
	if sum, _ := h.last(at(60)); sum.verdicts["accept"] != 2 {
		t.Errorf("%+v", sum)
	}
}
