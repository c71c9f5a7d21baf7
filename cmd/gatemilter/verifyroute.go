package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"gatemilter/cmd/internal/verify"
	"gatemilter/milter/tlsprobe"
	"gatemilter/policy"
	"gatemilter/policy/config"
)

// routeNamed returns the route of that name, or nil if there is none, and whether the mail server
// asks for hosts by name. Without a configuration at its usual place there are no routes.
func routeNamed(path, name string, io stdio) (r *policy.Route, sni bool, err error) {
	if _, err := os.Stat(path); path == defaultConfig && errors.Is(err, fs.ErrNotExist) {
		return nil, true, nil
	}
	cfg, err := load(path, io)
	if err != nil {
		return nil, false, err
	}
	r = findRoute(cfg, name)
	if r == nil && !strings.ContainsAny(name, ".:") {
		fmt.Fprintf(io.err, "gatemilter: %s has no route %q (there are %s), so it is taken for a host\n", path, name, routeNames(cfg))
	}
	return r, cfg.Server.SendsSNI(), nil
}

func routeNames(cfg *config.Config) string {
	var names []string
	for _, r := range cfg.Settings.Outbound.Routes {
		names = append(names, r.Name)
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, ", ")
}

func findRoute(cfg *config.Config, name string) *policy.Route {
	for _, r := range cfg.Settings.Outbound.Routes {
		if strings.EqualFold(r.Name, name) {
			return r
		}
	}
	return nil
}

// A hostReport is what one host of a route offers.
type hostReport struct {
	*tlsprobe.Report
	table string // primary or secondary
	// failed are the options that the route demands and the host doesn't hold.
	failed []string
}

// verifyRoute probes each host of a route, and judges it by what the route demands.
func verifyRoute(ctx context.Context, prober *tlsprobe.Prober, r *policy.Route, sni, json bool, out io.Writer) error {
	roots, err := verify.Roots(r.TLS.CAFile)
	if err != nil {
		return fmt.Errorf("ca_file of route %s: %w", r.Name, err)
	}
	var reports []hostReport
	for _, table := range []struct {
		name  string
		hosts []policy.Host
	}{{"primary", r.Primary}, {"secondary", r.Secondary}} {
		for _, h := range table.hosts {
			targets, err := verify.Targets(ctx, r, h, sni)
			if err != nil {
				return err
			}
			for _, t := range targets {
				report, err := prober.Probe(ctx, t, roots)
				if err != nil {
					return err
				}
				reports = append(reports, hostReport{&report, table.name, namesOf(verify.Failed(r.TLS, &report))})
			}
		}
	}
	if json {
		err = writeRouteJSON(r, reports, out)
	} else {
		err = writeRouteText(r, reports, out)
	}
	if err == nil && anyFailed(reports) {
		err = errFinding
	}
	return err
}

func namesOf(options []verify.Option) (names []string) {
	for _, o := range options {
		names = append(names, o.Name)
	}
	return names
}

func anyFailed(reports []hostReport) bool {
	for _, r := range reports {
		if len(r.failed) > 0 {
			return true
		}
	}
	return false
}

// writeRouteText shows each host, and then all of them at a glance.
func writeRouteText(r *policy.Route, reports []hostReport, out io.Writer) error {
	for _, h := range reports {
		if err := writeTLSText(h.Report, time.Now(), out); err != nil {
			return err
		}
		fmt.Fprintln(out)
	}
	t := &text{tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)}
	t.row("Route "+r.Name, "table", "result")
	for _, h := range reports {
		result := "ok"
		switch {
		case len(h.failed) > 0 && !h.Address.IsValid():
			result = "FAIL: not reached; no mail goes to this host"
		case len(h.failed) > 0:
			result = "FAIL: " + strings.Join(h.failed, ", ") + "; no mail goes to this host"
		}
		t.row(fmt.Sprintf("%s, port %d", h.Target.Host, h.Target.Port), h.table, result)
	}
	return t.Flush()
}

// The JSON form: the hosts as for verify-tls HOST, and what they fail of the route's
// demands.
type routeReportJSON struct {
	Route  string           `json:"route"`
	Passed bool             `json:"passed"`
	Hosts  []hostReportJSON `json:"hosts"`
}

type hostReportJSON struct {
	Table  string    `json:"table"`
	Failed []string  `json:"failed,omitempty"`
	Probe  probeJSON `json:"probe"`
}

func writeRouteJSON(r *policy.Route, reports []hostReport, out io.Writer) error {
	doc := routeReportJSON{Route: r.Name, Passed: !anyFailed(reports)}
	for _, h := range reports {
		doc.Hosts = append(doc.Hosts, hostReportJSON{h.table, h.failed, probeOf(h.Report)})
	}
	return writeJSONDoc(doc, out)
}
