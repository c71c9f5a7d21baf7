package dns

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatemilter/policy/auth/dnstest"
)

const zone = `
. SOA ns.example. admin.example. 1 3600 600 86400 60
example.com       MX    20 b.example.com
example.com       MX    10 z.example.com
example.com       MX    20 a.example.com
example.com       TXT   "v=spf1 " "mx -all"
example.com       TXT   "back\\slash \"quote\" \000\200"
host.example.com  A     192.0.2.20
host.example.com  A     192.0.2.3
host.example.com  AAAA  2001:db8::2
four.example.com  A     192.0.2.4
six.example.com   AAAA  2001:db8::6
null.example.com  MX    0 .
www.example.com   CNAME web.example.com
web.example.com   CNAME host.example.com
gone.example.com  CNAME nowhere.example.com
loop.example.com  CNAME pool.example.com
pool.example.com  CNAME loop.example.com
1.2.0.192.in-addr.arpa PTR b.example.com
1.2.0.192.in-addr.arpa PTR a.example.com
1.2.0.192.in-addr.arpa PTR evil\032one.example.com
1.2.0.192.in-addr.arpa PTR evil\.two.example.com
2.2.0.192.in-addr.arpa PTR evil\"three.example.com
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR six.example.com
back\\.slash.example.com TXT "backslash at the end of a label"
nul\000.example.com TXT "control octet"
\195\188.example.com TXT "UTF-8"
a\;b\@c.example.com TXT "special"

broken.example.com SERVFAIL
refuse.example.com REFUSED
half.example.com   SERVFAIL AAAA
half.example.com   A     192.0.2.5
long.example.com   TXT   "whole"
long.example.com   TRUNCATED
forged.example.com WRONGID
noise.example.com  GARBAGE
localhost          A     192.0.2.9
`

func TestLookup(t *testing.T) {
	t.Parallel()
	client := newClient(t, Config{Servers: []string{dnstest.StartFor(t, zone).Addr()}})
	label := strings.Repeat("x", 63)
	for _, tc := range []struct{ typ, name, want string }{
		{"TXT", "example.com", "back\\slash \"quote\" \x00\xc8 | v=spf1 mx -all"},
		{"TXT", "EXAMPLE.com.", "back\\slash \"quote\" \x00\xc8 | v=spf1 mx -all"},
		{"MX", "example.com", "10 z.example.com. | 20 a.example.com. | 20 b.example.com."},
		{"MX", "null.example.com", "0 ."},
		{"IP", "host.example.com", "192.0.2.3 | 192.0.2.20 | 2001:db8::2"},
		{"IP", "four.example.com", "192.0.2.4"},
		{"IP", "six.example.com", "2001:db8::6"},
		{"IP", "localhost", "192.0.2.9"},
		{"A", "host.example.com", "192.0.2.3 | 192.0.2.20"},
		{"AAAA", "host.example.com", "2001:db8::2"},
		{"PTR", "192.0.2.1", "a.example.com. | b.example.com."},
		{"PTR", "::ffff:192.0.2.1", "a.example.com. | b.example.com."},
		{"PTR", "2001:db8::1", "six.example.com."},
		{"PTR", "2001:db8::1%eth0", "not found: not a domain name"},
		{"PTR", "192.0.2.2", "not found: no usable records"},

		{"IP", "www.example.com", "192.0.2.3 | 192.0.2.20 | 2001:db8::2"},
		{"MX", "www.example.com", "not found: no records of type MX"},
		{"IP", "gone.example.com", "not found: no such name"},
		{"IP", "loop.example.com", "temporary: the aliases (CNAME) lead in a circle or further than 8 steps"},

		{"TXT", "nowhere.example.com", "not found: no such name"},
		{"IP", "192.0.2.1", "not found: no such name"},
		{"TXT", "host.example.com", "not found: no records of type TXT"},
		{"A", "six.example.com", "not found: no records of type A"},
		{"AAAA", "four.example.com", "not found: no records of type AAAA"},
		{"TXT", "broken.example.com", "temporary: the name server fails: it answers SERVFAIL"},
		{"TXT", "refuse.example.com", "temporary: the name server fails: it answers REFUSED"},
		{"IP", "half.example.com", "temporary: the name server fails: it answers SERVFAIL"},
		{"A", "half.example.com", "192.0.2.5"},
		{"AAAA", "half.example.com", "temporary: the name server fails: it answers SERVFAIL"},
		{"TXT", "long.example.com", "whole"},
		{"TXT", "forged.example.com", "temporary: the name server fails: its answer is not to our question, or is no DNS message"},
		{"TXT", "noise.example.com", "temporary: the name server fails: its answer is not to our question, or is no DNS message"},

		{"TXT", `back\.slash.example.com`, "backslash at the end of a label"},
		{"TXT", "NUL\x00.example.com", "control octet"},
		{"TXT", `nul\000.example.com`, "not found: no such name"},
		{"TXT", "ü.example.com", "UTF-8"},
		{"TXT", "a;b@c.example.com", "special"},
		{"TXT", "", "not found: not a domain name"},
		{"MX", ".", "not found: not a domain name"},
		{"IP", "example..com", "not found: not a domain name"},
		{"IP", ".example.com", "not found: not a domain name"},
		{"IP", "example.com..", "not found: not a domain name"},
		{"IP", label + ".example.com", "not found: no such name"},
		{"IP", label + "x.example.com", "not found: not a domain name"},
		{"IP", label + "." + label + "." + label + "." + label[:61], "not found: no such name"},
		{"IP", label + "." + label + "." + label + "." + label[:62], "not found: not a domain name"},
		{"TXT", strings.Repeat("\xff", 100000), "not found: not a domain name"},
		{"PTR", "192.0.2", "not found: not a domain name"},
		{"PTR", "host.example.com", "not found: not a domain name"},
	} {
		if got := query(t.Context(), client, tc.typ, tc.name); got != tc.want {
			t.Errorf("%s %.80q:\n got %q\nwant %q", tc.typ, tc.name, got, tc.want)
		}
	}
}

// What an error shows is printable and short, whatever was asked.
func TestErrorText(t *testing.T) {
	t.Parallel()
	client := newClient(t, Config{Servers: []string{dnstest.StartFor(t, zone).Addr()}})
	for _, name := range []string{"\r\nü\x00\"\\;.example", strings.Repeat("\x01\n.", 1000), "\x1b[2J", strings.Repeat("\xff", 63) + ".test"} {
		_, err := client.LookupTXT(t.Context(), name)
		text := err.Error()
		if len(text) > 512 || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%.80q: %q", name, text)
		}
	}
}

// Callers get what they may change.
func TestResultsAreCopies(t *testing.T) {
	t.Parallel()
	client := newClient(t, Config{Servers: []string{dnstest.StartFor(t, zone).Addr()}})
	for range 2 {
		mxs, err := client.LookupMX(t.Context(), "null.example.com")
		if err != nil || mxs[0].Host != "." {
			t.Fatalf("%v, %v", mxs, err)
		}
		mxs[0].Host = "changed."
		_, err = client.LookupTXT(t.Context(), "nowhere.example.com")
		failure := err.(*net.DNSError)
		if !failure.IsNotFound {
			t.Fatal("changed by the caller before")
		}
		failure.IsNotFound = false
	}
}

// An answer that is too large is not shown in part, nor is it none.
func TestHugeAnswers(t *testing.T) {
	t.Parallel()
	var zone strings.Builder
	for i := range maxRecords {
		fmt.Fprintf(&zone, "many.example TXT %d\nmore.example TXT %d\n", i, i)
		fmt.Fprintf(&zone, "alias%d.example CNAME alias%d.example\n", i, i+1)
	}
	zone.WriteString("more.example TXT last\n")
	half := strings.Repeat(`"`+strings.Repeat("x", 128)+`" `, maxTXT/2/128)
	zone.WriteString("fits.example TXT " + half + "\nfits.example TXT " + strings.Replace(half, "x", "y", 1) + "\n")
	zone.WriteString("wide.example TXT " + half + "\nwide.example TXT " + half + "z\n")
	zone.WriteString("alias" + fmt.Sprint(maxRecords) + ".example TXT end\n")
	client := newClient(t, Config{Servers: []string{dnstest.StartFor(t, zone.String()).Addr()}})

	many, err := client.LookupTXT(t.Context(), "many.example")
	if err != nil || len(many) != maxRecords {
		t.Errorf("many: %d records, %v", len(many), err)
	}
	fits, err := client.LookupTXT(t.Context(), "fits.example")
	if err != nil || len(fits) != 2 || len(fits[0])+len(fits[1]) != maxTXT {
		t.Errorf("fits: %d records, %v", len(fits), err)
	}
	for name, want := range map[string]string{
		"more.example":   "temporary: more than 256 records in the answer",
		"wide.example":   "temporary: more than 32768 octets of TXT records",
		"alias0.example": "temporary: more than 256 records in the answer",
		fmt.Sprintf("alias%d.example", maxRecords-maxAliases-1): "temporary: the aliases (CNAME) lead in a circle or further than 8 steps",
		fmt.Sprintf("alias%d.example", maxRecords-maxAliases):   "end",
	} {
		if got := query(t.Context(), client, "TXT", name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// One server after the other is asked until one knows. Each has its own zone; the one
// without is down.
func TestServers(t *testing.T) {
	t.Parallel()
	const good, down = "name.example TXT good", ""
	for name, tc := range map[string]struct {
		zones   []string
		want    string
		queries []int
	}{
		"first answers":  {[]string{good, good}, "good", []int{1, 0}},
		"SERVFAIL":       {[]string{"name.example SERVFAIL", good}, "good", []int{1, 1}},
		"REFUSED":        {[]string{"name.example REFUSED", good}, "good", []int{1, 1}},
		"wrong id":       {[]string{"name.example WRONGID", good}, "good", []int{2, 1}},
		"garbage":        {[]string{"name.example GARBAGE", good}, "good", []int{2, 1}},
		"down":           {[]string{down, good}, "good", []int{0, 1}},
		"NXDOMAIN is it": {[]string{"name.example NXDOMAIN", good}, "not found: no such name", []int{1, 0}},
		"all fail": {
			[]string{"name.example SERVFAIL", "name.example REFUSED"},
			"temporary: the name server fails: it answers REFUSED", []int{1, 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var config Config
			var servers []*dnstest.Server
			for _, zone := range tc.zones {
				server := dnstest.StartFor(t, zone)
				addr := server.Addr()
				if zone == down {
					addr = nobody
				}
				servers, config.Servers = append(servers, server), append(config.Servers, addr)
			}
			got := query(t.Context(), newClient(t, config), "TXT", "name.example")
			var queries []int
			for _, server := range servers {
				queries = append(queries, server.Queries("name.example", "TXT"))
			}
			if got != tc.want || !cmp.Equal(queries, tc.queries) {
				t.Errorf("got %q after %v queries, want %q after %v", got, queries, tc.want, tc.queries)
			}
		})
	}
}

func TestSilentServer(t *testing.T) {
	t.Parallel()
	client := newClient(t, Config{
		Servers: []string{dnstest.StartFor(t, "name.example TIMEOUT").Addr()},
		Timeout: 20 * time.Millisecond,
	})
	if got := query(t.Context(), client, "TXT", "name.example"); got != "temporary: time" {
		t.Errorf("got %q", got)
	}
}

// nobody is where no server is: a port that is given to nobody who asks for any.
const nobody = "127.0.0.1:1"

func TestAllDown(t *testing.T) {
	t.Parallel()
	client := newClient(t, Config{Servers: []string{nobody, nobody}})
	got := query(t.Context(), client, "IP", "name.example")
	if !strings.HasPrefix(got, "temporary: the name server fails: ") || !strings.Contains(got, "connection refused") {
		t.Errorf("got %q", got)
	}
}

// A caller has no longer than its context.
func TestContext(t *testing.T) {
	t.Parallel()
	server := dnstest.StartFor(t, "dead.example TIMEOUT\nname.example TXT here")
	client := newClient(t, Config{Servers: []string{server.Addr()}})
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if got := query(short, client, "IP", "dead.example"); got != "temporary: time" {
		t.Errorf("deadline: got %q", got)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if got := query(ended, client, "TXT", "name.example"); got != "temporary: time" || server.Queries("name.example", "TXT") != 0 {
		t.Errorf("cancelled: got %q after %d queries", got, server.Queries("name.example", "TXT"))
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	system := file("system", "search example.com\nnameserver 192.0.2.53\nnameserver fe80::1%eth0\noptions ndots:5\n")
	for name, tc := range map[string]struct {
		servers []string
		system  string
		want    string
	}{
		"configured":   {[]string{"127.0.0.1:53", "[2001:db8::53]:5353"}, system, "127.0.0.1:53 [2001:db8::53]:5353"},
		"the system's": {nil, system, "192.0.2.53:53 [fe80::1%eth0]:53"},
		"no such file": {nil, filepath.Join(dir, "none"), "cannot read the system's name servers: open DIR/none: no such file or directory: configure some"},
		"none":         {nil, file("empty", "# nothing\n"), "0 name servers in DIR/empty: configure 1 to 8"},
		"many":         {make([]string, 9), system, "9 name servers in the configuration: configure 1 to 8"},
		"name":         {[]string{"ns.example:53"}, system, `the name server "ns.example:53" in the configuration is no address with a port: write it as "127.0.0.1:53" or "[2001:db8::53]:53"`},
		"port missing": {[]string{"127.0.0.1"}, system, `the name server "127.0.0.1" in the configuration is no address with a port: write it as "127.0.0.1:53" or "[2001:db8::53]:53"`},
		"port 0":       {[]string{"127.0.0.1:0"}, system, `the name server "127.0.0.1:0" in the configuration is no address with a port: write it as "127.0.0.1:53" or "[2001:db8::53]:53"`},
	} {
		servers, err := Config{Servers: tc.servers}.servers(tc.system)
		got := strings.Join(servers, " ")
		if err != nil {
			got = strings.ReplaceAll(err.Error(), dir, "DIR")
		}
		if got != tc.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, tc.want)
		}
	}
}
