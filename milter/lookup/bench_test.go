package lookup

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// benchEntries is the size of the table that is asked.
const benchEntries = 100_000

func benchKey(i int) string { return fmt.Sprintf("user%d@customer%d.example", i, i%1000) }

// benchTables has the table "route", which knows every second sender.
func benchTables() map[string]Table {
	routes := map[string]Answer{}
	for i := range benchEntries {
		routes[benchKey(2*i)] = OK("gatemilter:[relay" + strconv.Itoa(i%50) + ".example]:25")
	}
	return map[string]Table{"route": {Lookup: func(_ context.Context, _ Peer, key string) Answer {
		if a, ok := routes[key]; ok {
			return a
		}
		return NotFound()
	}}}
}

// The load of a mail server's processes, each of which has a connection and
// waits for a reply before it asks again.
//
//	go test -run '^$' -bench . ./milter/lookup
func BenchmarkLookup(b *testing.B) {
	for _, clients := range []int{1, 8} {
		b.Run(fmt.Sprintf("connections=%d", clients), func(b *testing.B) { benchmarkLookup(b, clients) })
	}
}

func benchmarkLookup(b *testing.B, clients int) {
	path := filepath.Join(b.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		b.Fatal(err)
	}
	s := &Server{Tables: benchTables(), Report: func(_ string, err error) { b.Error(err) }}
	go s.Serve(ln)
	defer s.Shutdown(context.Background())

	latencies := make([]time.Duration, b.N)
	b.ReportAllocs()
	b.ResetTimer()
	var running sync.WaitGroup
	for c := range clients {
		running.Go(func() {
			// Client c makes lookups c, c+clients…
			if err := askAll(path, c, clients, latencies); err != nil {
				b.Error(err)
			}
		})
	}
	running.Wait()
	b.StopTimer()
	slices.Sort(latencies)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lookups/s")
	b.ReportMetric(float64(latencies[len(latencies)*99/100].Nanoseconds())/1e3, "p99-µs")
}

// askAll makes the lookups first, first+step… over one connection and notes how
// long each took.
func askAll(path string, first, step int, latencies []time.Duration) error {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return err
	}
	defer conn.Close()
	requests := make([][]byte, 100)
	for i := range requests {
		requests[i] = request("route " + benchKey((first+i*step)*991%(2*benchEntries)))
	}
	reply := make([]byte, 200)
	for i := first; i < len(latencies); i += step {
		began := time.Now()
		if _, err := conn.Write(requests[i/step%len(requests)]); err != nil {
			return err
		}
		n, err := conn.Read(reply)
		if err != nil {
			return err
		}
		latencies[i] = time.Since(began)
		if reply[n-1] != ',' || bytes.Contains(reply[:n], []byte("TEMP")) {
			return fmt.Errorf("reply %q", reply[:n])
		}
	}
	return nil
}

// What the server itself costs: no sockets, requests that arrive in bulk.
func BenchmarkPipelined(b *testing.B) {
	s := &Server{Tables: benchTables()}
	s.init()
	c := newConn(s.conns.NewConn(endless(request("route "+benchKey(4)))), s)
	b.ReportAllocs()
	for b.Loop() {
		if err := c.step(); err != nil {
			b.Fatal(err)
		}
	}
}

// An endless connection repeats what it reads, and forgets what it is sent.
type endlessConn struct {
	scripted
	octets []byte
	at     int
}

func endless(octets []byte) net.Conn { return &endlessConn{octets: octets} }

func (e *endlessConn) Read(p []byte) (int, error) {
	n := copy(p, e.octets[e.at:])
	e.at = (e.at + n) % len(e.octets)
	return n, nil
}

func (e *endlessConn) Write(p []byte) (int, error) { return len(p), nil }
