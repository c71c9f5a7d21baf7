package dnstest_test

import (
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	miekg "github.com/miekg/dns"

	"gatemilter/policy/auth/dnstest"
)

const zone = `
. SOA ns.example. admin.example. 1 3600 600 86400 60
; a comment, and an empty line

example.com               MX    10 mail.example.com
Example.COM               TXT   "v=spf1 mx -all; \"quoted\"" "second"
mail.example.com       60 A     192.0.2.1
  mail.example.com        AAAA  2001:db8::1
www.example.com           CNAME web.example.com
web.example.com           CNAME mail.example.com
gone.example.com          CNAME nowhere.example.com
loop.example.com          CNAME pool.example.com
pool.example.com          CNAME loop.example.com
1.2.0.192.in-addr.arpa    PTR   mail.example.com
deep.below.example.com    A     192.0.2.9
long.example.com          TXT   "whole"
forged.example.com        A     192.0.2.3
half.example.com          A     192.0.2.4
broken.example.com        SERVFAIL
half.example.com          REFUSED TXT MX
dead.example.com          TIMEOUT
long.example.com          TRUNCATED
forged.example.com        WRONGID
noise.example.com         GARBAGE
`

// ask shows an answer as text: its response code, then the records.
func ask(t *testing.T, s *dnstest.Server, network, name string, typ uint16) string {
	t.Helper()
	client := miekg.Client{Net: network, Timeout: 30 * time.Second}
	query := new(miekg.Msg).SetQuestion(name, typ)
	reply, _, err := client.Exchange(query, s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	parts := []string{miekg.RcodeToString[reply.Rcode]}
	if reply.Truncated {
		parts = append(parts, "TC")
	}
	for _, rr := range append(reply.Answer, reply.Ns...) {
		parts = append(parts, strings.Join(strings.Fields(rr.String()), " "))
	}
	return strings.Join(parts, " | ")
}

func TestAnswers(t *testing.T) {
	const soa = ". 300 IN SOA ns.example. admin.example. 1 3600 600 86400 60"
	s := dnstest.StartFor(t, zone)
	for _, tc := range []struct {
		network, name string
		typ           uint16
		want          string
	}{
		{"udp", "example.com.", miekg.TypeMX, "NOERROR | example.com. 300 IN MX 10 mail.example.com."},
		{"tcp", "example.com.", miekg.TypeMX, "NOERROR | example.com. 300 IN MX 10 mail.example.com."},
		{"udp", "EXAMPLE.com.", miekg.TypeTXT, `NOERROR | Example.COM. 300 IN TXT "v=spf1 mx -all; \"quoted\"" "second"`},
		{"udp", "mail.example.com.", miekg.TypeA, "NOERROR | mail.example.com. 60 IN A 192.0.2.1"},
		{"udp", "mail.example.com.", miekg.TypeAAAA, "NOERROR | mail.example.com. 300 IN AAAA 2001:db8::1"},
		{"udp", "1.2.0.192.in-addr.arpa.", miekg.TypePTR, "NOERROR | 1.2.0.192.in-addr.arpa. 300 IN PTR mail.example.com."},
		{"udp", "www.example.com.", miekg.TypeA, "NOERROR | www.example.com. 300 IN CNAME web.example.com." +
			" | web.example.com. 300 IN CNAME mail.example.com. | mail.example.com. 60 IN A 192.0.2.1"},
		{"udp", "www.example.com.", miekg.TypeMX, "NOERROR | www.example.com. 300 IN CNAME web.example.com." +
			" | web.example.com. 300 IN CNAME mail.example.com. | " + soa},
		{"udp", "gone.example.com.", miekg.TypeA, "NXDOMAIN | gone.example.com. 300 IN CNAME nowhere.example.com. | " + soa},
		{"udp", "loop.example.com.", miekg.TypeA, "NOERROR | loop.example.com. 300 IN CNAME pool.example.com." +
			" | pool.example.com. 300 IN CNAME loop.example.com."},
		{"udp", "mail.example.com.", miekg.TypeMX, "NOERROR | " + soa},
		{"udp", "below.example.com.", miekg.TypeA, "NOERROR | " + soa},
		{"udp", "nowhere.example.com.", miekg.TypeA, "NXDOMAIN | " + soa},
		{"udp", "broken.example.com.", miekg.TypeA, "SERVFAIL"},
		{"udp", "half.example.com.", miekg.TypeTXT, "REFUSED"},
		{"tcp", "half.example.com.", miekg.TypeMX, "REFUSED"},
		{"udp", "half.example.com.", miekg.TypeA, "NOERROR | half.example.com. 300 IN A 192.0.2.4"},
		{"udp", "long.example.com.", miekg.TypeTXT, "NOERROR | TC"},
		{"tcp", "long.example.com.", miekg.TypeTXT, `NOERROR | long.example.com. 300 IN TXT "whole"`},
	} {
		if got := ask(t, s, tc.network, tc.name, tc.typ); got != tc.want {
			t.Errorf("%s %s %s:\n got %s\nwant %s", tc.network, tc.name, miekg.TypeToString[tc.typ], got, tc.want)
		}
	}
}

// What does not fit the size that the client takes comes by TCP.
func TestSize(t *testing.T) {
	var zone strings.Builder
	for range 10 {
		zone.WriteString("example.com TXT " + strings.Repeat("x", 200) + "\n")
	}
	s := dnstest.StartFor(t, zone.String())
	if got := ask(t, s, "udp", "example.com.", miekg.TypeTXT); got != "NOERROR | TC" {
		t.Errorf("by UDP: %s", got)
	}
	if got := strings.Count(ask(t, s, "tcp", "example.com.", miekg.TypeTXT), "xxx\""); got != 10 {
		t.Errorf("%d records by TCP, want 10", got)
	}
}

// exchange sends one query by UDP and returns the octets that come back.
func exchange(t *testing.T, s *dnstest.Server, name string, wait time.Duration) ([]byte, error) {
	t.Helper()
	conn, err := net.Dial("udp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	query := new(miekg.Msg).SetQuestion(name, miekg.TypeA)
	query.Id = 0x1234
	octets, err := query.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(octets); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, miekg.MaxMsgSize)
	n, err := conn.Read(buffer)
	return buffer[:n], err
}

func TestFaults(t *testing.T) {
	s := dnstest.StartFor(t, zone)
	if got, err := exchange(t, s, "dead.example.com.", 50*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("TIMEOUT: %x, %v", got, err)
	}
	octets, err := exchange(t, s, "forged.example.com.", 30*time.Second)
	var forged miekg.Msg
	if err != nil || forged.Unpack(octets) != nil || forged.Id != 0xedcb || len(forged.Answer) != 1 {
		t.Errorf("WRONGID: %s, %v", &forged, err)
	}
	octets, err = exchange(t, s, "noise.example.com.", 30*time.Second)
	var noise miekg.Msg
	if err != nil || octets[0] != 0x12 || octets[1] != 0x34 || noise.Unpack(octets) == nil {
		t.Errorf("GARBAGE: %x, %v", octets, err)
	}
}

func TestQueries(t *testing.T) {
	s := dnstest.StartFor(t, zone)
	ask(t, s, "udp", "Example.com.", miekg.TypeMX)
	ask(t, s, "tcp", "example.com.", miekg.TypeMX)
	ask(t, s, "udp", "example.com.", miekg.TypeTXT)
	got := []int{s.Queries("example.com", "MX"), s.Queries("EXAMPLE.COM.", "txt"), s.Queries("example.com", "A"), s.Total()}
	if diff := cmp.Diff([]int{2, 1, 0, 3}, got); diff != "" {
		t.Error(diff)
	}
}

// A server can be had at a known place, and only once.
func TestStartOn(t *testing.T) {
	first, err := dnstest.StartOn("127.5.3.5:0", zone) // which nobody else uses
	if err != nil {
		t.Fatal(err)
	}
	if second, err := dnstest.StartOn(first.Addr(), zone); err == nil {
		second.Close()
		t.Error("an address was given twice")
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := dnstest.StartOn(first.Addr(), zone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { second.Close() })
	if got, want := ask(t, second, "udp", "mail.example.com.", miekg.TypeA), "NOERROR | mail.example.com. 60 IN A 192.0.2.1"; second.Addr() != first.Addr() || got != want {
		t.Errorf("at %s: %s", second.Addr(), got)
	}
}

func TestBadZone(t *testing.T) {
	_, err := dnstest.Start("example.com A 192.0.2.1\nexample.com TIMEOUT\nexample.com A 192.0.2.300\n")
	if err == nil || !strings.Contains(err.Error(), "line 3 ") || !strings.Contains(err.Error(), "SERVFAIL TXT") {
		t.Errorf("error %v", err)
	}
}

func TestClose(t *testing.T) {
	s := dnstest.StartFor(t, zone)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if conn, err := net.Dial("tcp", s.Addr()); err == nil {
		conn.Close()
		t.Error("the port is still open")
	}
	if err := s.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
}
