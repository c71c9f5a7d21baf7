package admin

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"gopkg.in/yaml.v3"
)

// The tests of this file hold what is delivered for Prometheus and Grafana against the metrics
// that there are.

var (
	rulesFile     = filepath.Join("..", "..", "..", "packaging", "prometheus", "gatemilter.rules.yml")
	dashboardFile = filepath.Join("..", "..", "..", "packaging", "grafana", "gatemilter.json")
)

// A query is a PromQL expression and where it stands.
type query struct{ where, expr string }

// alerts are the expressions of the rules.
func alerts(t *testing.T) (list []query) {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	if err := yaml.Unmarshal(must(os.ReadFile(rulesFile)), &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			list = append(list, query{r.Alert, r.Expr})
		}
	}
	if len(list) == 0 {
		t.Fatal("there are no alerts")
	}
	return list
}

// A panel is what we look at of a panel of Grafana.
type panel struct {
	ID                 int
	Title, Description string
	GridPos            struct{ H, W, X, Y int }
	Targets            []struct{ Expr string }
}

func panels(t *testing.T) []panel {
	t.Helper()
	var file struct {
		Panels []panel
	}
	if err := json.Unmarshal(must(os.ReadFile(dashboardFile)), &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Panels) == 0 {
		t.Fatal("there are no panels")
	}
	return file.Panels
}

// grafana stands for what Grafana puts in place of its variables.
var grafana = strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*")

func dashboard(t *testing.T) (list []query) {
	for _, p := range panels(t) {
		for _, target := range p.Targets {
			list = append(list, query{p.Title, grafana.Replace(target.Expr)})
		}
	}
	return list
}

// labelsOf returns the labels of each metric, after an hour of everything; those that
// Prometheus adds are everywhere.
func labelsOf(t *testing.T) map[string][]string {
	t.Helper()
	known := map[string][]string{"up": {"job"}}
	m := eventful(t)
	for _, gatherer := range []prometheus.Gatherer{m.metrics.registry, m.metrics.process} {
		for _, f := range must(gatherer.Gather()) {
			labels := []string{"instance", "job"}
			for _, pair := range f.GetMetric()[0].GetLabel() {
				labels = append(labels, pair.GetName())
			}
			known[f.GetName()] = labels
			if f.GetMetric()[0].GetHistogram() != nil {
				delete(known, f.GetName())
				known[f.GetName()+"_bucket"] = append(labels, "le")
				known[f.GetName()+"_sum"], known[f.GetName()+"_count"] = labels, labels
			}
		}
	}
	return known
}

var (
	metricName = regexp.MustCompile(`\b(?:gatemilter|process|go)_[a-z_]+\b|\bup\b`)
	matcherOf  = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)`)
	groupedBy  = regexp.MustCompile(`\b(?:by|on) \(([^)]*)\)`)
	selector   = regexp.MustCompile(`\{([^}]*)\}`)
)

// TestS6DeliveredQueries: each metric that an alert or a panel asks for exists, and has the labels
// that it is asked by.
func TestS6DeliveredQueries(t *testing.T) {
	known := labelsOf(t)
	asked := map[string]bool{}
	for _, q := range append(alerts(t), dashboard(t)...) {
		var labels []string
		for _, name := range metricName.FindAllString(q.expr, -1) {
			asked[name] = true
			if known[name] == nil {
				t.Errorf("%s: there is no metric %q", q.where, name)
			}
			labels = append(labels, known[name]...)
		}
		for _, label := range labelsIn(q.expr) {
			if !slices.Contains(append(labels, "instance"), label) {
				t.Errorf("%s: label %q is of none of the metrics in %s", q.where, label, q.expr)
			}
		}
	}
	for name := range known {
		if strings.HasPrefix(name, prefix) && !asked[name] && !strings.HasSuffix(name, "_sum") && !strings.HasSuffix(name, "_count") {
			t.Errorf("%s is in no alert and no panel", name)
		}
	}
}

func labelsIn(expr string) (labels []string) {
	for _, s := range selector.FindAllStringSubmatch(expr, -1) {
		for _, m := range matcherOf.FindAllStringSubmatch(s[1], -1) {
			labels = append(labels, m[1])
		}
	}
	for _, g := range groupedBy.FindAllStringSubmatch(expr, -1) {
		labels = append(labels, strings.Split(strings.ReplaceAll(g[1], " ", ""), ",")...)
	}
	return labels
}

// TestS6Alerts: Prometheus takes the rules, and each of them fires when it should and only then.
func TestS6Alerts(t *testing.T) {
	promtool(t, "", "check", "rules", rulesFile)
	dir := t.TempDir()
	for _, path := range []string{rulesFile, filepath.Join("testdata", "rules_test.yml")} {
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(path)), must(os.ReadFile(path)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	promtool(t, "", "test", "rules", filepath.Join(dir, "rules_test.yml"))
	tested := string(must(os.ReadFile(filepath.Join("testdata", "rules_test.yml"))))
	for _, a := range alerts(t) {
		if !strings.Contains(tested, `alertname="`+a.where+`"`) {
			t.Errorf("no test says when %s fires", a.where)
		}
	}
}

// TestS6Dashboard: Prometheus understands all that the panels ask, and none hides another.
func TestS6Dashboard(t *testing.T) {
	var rules strings.Builder
	rules.WriteString("groups:\n- name: dashboard\n  rules:\n")
	for i, q := range dashboard(t) {
		fmt.Fprintf(&rules, "  - {record: 'panel:%d', expr: %q}\n", i, q.expr)
	}
	path := filepath.Join(t.TempDir(), "dashboard.yml")
	if err := os.WriteFile(path, []byte(rules.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	promtool(t, "", "check", "rules", path)
	taken := map[[2]int]string{}
	ids := map[int]bool{}
	for _, p := range panels(t) {
		if p.Title == "" || p.Description == "" || ids[p.ID] || len(p.Targets) == 0 {
			t.Errorf("panel %d %q: no title, description or query of its own", p.ID, p.Title)
		}
		ids[p.ID] = true
		if p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("%q sticks out", p.Title)
		}
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if other := taken[at]; other != "" {
					t.Fatalf("%q covers %q", p.Title, other)
				}
				taken[at] = p.Title
			}
		}
	}
}
