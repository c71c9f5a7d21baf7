package dns

import (
	"fmt"
	"testing"

	"gatemilter/policy/auth/dnstest"
)

func BenchmarkCached(b *testing.B) {
	server := dnstest.StartFor(b, zone)
	client := newClient(b, Config{Servers: []string{server.Addr()}})
	for _, bc := range []struct{ typ, name string }{
		{"TXT", "example.com"}, {"TXT", "EXAMPLE.com."}, {"MX", "example.com"}, {"IP", "host.example.com"},
		{"PTR", "192.0.2.1"}, {"none", "nowhere.example.com"},
	} {
		b.Run(bc.typ+"/"+bc.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				lookupOnce(b, client, bc.typ, bc.name)
			}
		})
	}
}

func BenchmarkCachedParallel(b *testing.B) {
	client := newClient(b, Config{Servers: []string{dnstest.StartFor(b, zone).Addr()}})
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			lookupOnce(b, client, "TXT", "example.com")
		}
	})
}

func BenchmarkUncached(b *testing.B) {
	server := dnstest.StartFor(b, zone)
	client := newClient(b, Config{Servers: []string{server.Addr()}})
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		lookupOnce(b, client, "none", fmt.Sprintf("n%d.example.com", i))
	}
}

// BenchmarkTCP has an answer that UDP cannot hold.
func BenchmarkTCP(b *testing.B) {
	server := dnstest.StartFor(b, zone)
	for b.Loop() {
		client := newClient(b, Config{Servers: []string{server.Addr()}})
		lookupOnce(b, client, "TXT", "long.example.com")
	}
}

// lookupOnce looks up what is there, or, for "none", what isn't.
func lookupOnce(b *testing.B, client *Client, typ, name string) {
	var err error
	switch typ {
	case "MX":
		_, err = client.LookupMX(b.Context(), name)
	case "IP":
		_, err = client.LookupIPAddr(b.Context(), name)
	case "PTR":
		_, err = client.LookupAddr(b.Context(), name)
	default:
		_, err = client.LookupTXT(b.Context(), name)
	}
	if (err != nil) != (typ == "none") {
		b.Fatal(err)
	}
}
