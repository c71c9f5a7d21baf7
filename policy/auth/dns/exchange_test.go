package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
	miekg "github.com/miekg/dns"

	"gatemilter/policy/auth/dnstest"
)

// Who forges an answer must guess id and port (RFC 5452): neither is used again soon,
// nor follows from the last.
func TestIDsAndPorts(t *testing.T) {
	const queries = 64
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ids, ports := make(chan uint16, queries), make(chan uint16, queries)
	server := &miekg.Server{PacketConn: socket, Handler: miekg.HandlerFunc(func(w miekg.ResponseWriter, query *miekg.Msg) {
		ids <- query.Id
		ports <- w.RemoteAddr().(*net.UDPAddr).AddrPort().Port()
		_ = w.WriteMsg(new(miekg.Msg).SetRcode(query, miekg.RcodeNameError))
	})}
	served := make(chan error, 1)
	go func() { served <- server.ActivateAndServe() }()
	client := newClient(t, Config{Servers: []string{socket.LocalAddr().String()}})
	for i := range queries {
		if got := query(t.Context(), client, "TXT", fmt.Sprintf("n%d.example", i)); got != "not found: no such name" {
			t.Fatal(got)
		}
	}
	if err := server.Shutdown(); err != nil {
		t.Fatal(err)
	}
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	for what, values := range map[string]chan uint16{"ids": ids, "ports": ports} {
		close(values)
		seen := map[uint16]bool{}
		steps, last := 0, uint16(0)
		for value := range values {
			if value == last+1 {
				steps++
			}
			seen[value], last = true, value
		}
		if len(seen) < queries-8 || steps > 8 {
			t.Errorf("%s: %d different ones in %d queries, %d of them the last plus one", what, len(seen), queries, steps)
		}
	}
}

// A query that is called off ends, by UDP as by TCP, though no answer comes.
func TestCalledOff(t *testing.T) {
	server := dnstest.StartFor(t, "name.example TIMEOUT")
	for _, network := range []string{"udp", "tcp"} {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		before := server.Total()
		go func() {
			_, err := overNetwork(ctx, network, server.Addr(), question{"name.example", miekg.TypeTXT})
			ended <- err
		}()
		for server.Total() == before && ctx.Err() == nil {
			runtime.Gosched()
		}
		cancel()
		if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %v", network, err)
		}
	}
}

// What is sent: one question, recursion desired, and the size of datagram we take.
func TestQuery(t *testing.T) {
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	received := make(chan string, 1)
	go func() {
		buffer := make([]byte, 512)
		n, from, err := socket.ReadFrom(buffer)
		if err != nil {
			received <- err.Error()
			return
		}
		received <- fmt.Sprintf("%q", buffer[2:n])
		header := append(buffer[:2:2], "\x81\x83\x00\x01\x00\x00\x00\x00\x00\x00"...)
		_, _ = socket.WriteTo(header, from)
	}()
	q := question{`a\@b.example`, miekg.TypeMX}
	_, got := overNetwork(t.Context(), "udp", socket.LocalAddr().String(), q)
	if got != errNotOurs {
		t.Errorf("a reply that is but a header: %v", got)
	}
	want := fmt.Sprintf("%q", "\x01\x00"+"\x00\x01\x00\x00\x00\x00\x00\x01"+
		"\x03a@b\x07example\x00\x00\x0f\x00\x01"+"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00")
	if diff := cmp.Diff(want, <-received); diff != "" {
		t.Error(diff)
	}
}
