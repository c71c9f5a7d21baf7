package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatemilter/cmd/internal/lab"
)

// R8: each host of a route is tried, and judged by what the route demands.
func TestR8VerifyRoute(t *testing.T) {
	ca := must(lab.NewCA("Route CA"))
	caFile := writeCA(t, ca)
	host := func(c *lab.Cert) string {
		t.Helper()
		return startPostfix(t, lab.Config{Cert: c}).Addr()
	}
	good := host(must(ca.Issue(lab.Subject{Hosts: []string{"127.0.0.1"}})))
	wrongName := host(must(ca.Issue(lab.Subject{Hosts: []string{"mx.example.com"}})))
	selfSigned := host(must(lab.SelfSigned(lab.Subject{Hosts: []string{"127.0.0.1"}})))
	config := filepath.Join(t.TempDir(), "gatemilter.conf")
	text := fmt.Sprintf("[route mixed]\nprimary = %s 100\nsecondary = %s 100\nca_file = %s\n[route lax]\nhost = %s\nca_file = %s\nverify_hostname = no\n[route away]\nhost = 127.0.0.1:1025\n[outbound]\ngateway = mixed\n[sender @example.com]\nroute = lax\n",
		good, selfSigned, caFile, wrongName, caFile)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		route  string
		status int
		want   []string
	}{
		{"mixed", exitFinding, []string{
			fmt.Sprintf("%s  primary    ok", strings.Replace(good, ":", ", port ", 1)),
			fmt.Sprintf("%s  secondary  FAIL: require_ca; no mail goes to this host", strings.Replace(selfSigned, ":", ", port ", 1)),
		}},
		{"away", exitFinding, []string{"127.0.0.1, port 1025  primary  FAIL: not reached; no mail goes to this host"}},
		{"Lax", exitFine, []string{fmt.Sprintf("%s  primary  ok", strings.Replace(wrongName, ":", ", port ", 1))}},
	} {
		var out, errs bytes.Buffer
		if status := run(t.Context(), []string{"verify-tls", c.route, "--config", config}, stdio{nil, &out, &errs}); status != c.status {
			t.Errorf("%s: exit status %d, want %d: %s", c.route, status, c.status, errs.String())
		}
		for _, want := range c.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: there is no %q in\n%s", c.route, want, out.String())
			}
		}
		var doc bytes.Buffer
		run(t.Context(), []string{"verify-tls", c.route, "--json", "--config", config}, stdio{nil, &doc, &errs})
		if want := fmt.Sprintf(`"passed": %v`, c.status == exitFine); !strings.Contains(doc.String(), want) {
			t.Errorf("%s: there is no %s in\n%s", c.route, want, doc.String())
		}
	}
}
