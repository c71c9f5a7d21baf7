package dns

import (
	"slices"
	"testing"

	"gatemilter/policy/auth/dnstest"
)

// What is known is told without asking, and nothing else is.
func TestCachedTXT(t *testing.T) {
	server := dnstest.StartFor(t, "here.example TXT \"text\"\n. SOA ns.example. admin.example. 1 3600 600 86400 60\n")
	client := newClient(t, Config{Servers: []string{server.Addr()}})
	for _, name := range []string{"here.example", "missing.example"} {
		if records, known, err := client.CachedTXT(name); records != nil || known || err != nil {
			t.Errorf("%s: %q, %v, %v before it was asked for", name, records, known, err)
		}
	}
	want, _ := client.LookupTXT(t.Context(), "here.example")
	if got, known, err := client.CachedTXT("here.example"); !slices.Equal(got, want) || !known || err != nil {
		t.Errorf("%q, %v, %v; want %q", got, known, err, want)
	}
	_, missing := client.LookupTXT(t.Context(), "missing.example")
	if got, known, err := client.CachedTXT("missing.example"); got != nil || !known || err == nil || err.Error() != missing.Error() {
		t.Errorf("%q, %v, %v; want the error %v", got, known, err, missing)
	}
	if _, known, err := client.CachedTXT("..bad"); !known || err == nil {
		t.Errorf("no name: %v, %v", known, err)
	}
	if server.Total() != 2 {
		t.Errorf("%d queries", server.Total())
	}
}
