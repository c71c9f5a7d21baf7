package dmarc

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
)

// A zone is a DNS for tests: "NAME TYPE" to data, in which "servfail" is trouble,
// and "silence" no answer as long as one waits. It keeps the queries.
type zone struct {
	data map[string][]string

	mu      sync.Mutex
	queries []string
}

// newZone reads lines of the form "NAME TYPE DATA".
func newZone(t testing.TB, text string) *zone {
	t.Helper()
	z := &zone{data: make(map[string][]string)}
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		parts := strings.SplitN(line, " ", 3)
		if len(parts) != 3 {
			t.Fatalf("zone line %q", line)
		}
		key := parts[0] + " " + parts[1]
		z.data[key] = append(z.data[key], parts[2])
	}
	return z
}

func (z *zone) lookup(ctx context.Context, name, kind string) ([]string, error) {
	z.mu.Lock()
	z.queries = append(z.queries, name+" "+kind)
	z.mu.Unlock()
	data := z.data[name+" "+kind]
	if len(data) > 0 && data[0] == "silence" {
		<-ctx.Done()
	}
	switch {
	case ctx.Err() != nil:
		return nil, &net.DNSError{Err: ctx.Err().Error(), Name: name, IsTemporary: true, IsTimeout: true}
	case len(data) == 0:
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	case data[0] == "servfail":
		return nil, &net.DNSError{Err: "server failure", Name: name, IsTemporary: true}
	default:
		return data, nil
	}
}

func (z *zone) LookupTXT(ctx context.Context, name string) ([]string, error) {
	return z.lookup(ctx, name, "TXT")
}

func (z *zone) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	data, err := z.lookup(ctx, name, "MX")
	var mxs []*net.MX
	for _, host := range data {
		mxs = append(mxs, &net.MX{Host: host})
	}
	return mxs, err
}

func (z *zone) LookupIPAddr(ctx context.Context, name string) ([]net.IPAddr, error) {
	data, err := z.lookup(ctx, name, "A")
	var addrs []net.IPAddr
	for _, ip := range data {
		addrs = append(addrs, net.IPAddr{IP: net.ParseIP(ip)})
	}
	return addrs, err
}
