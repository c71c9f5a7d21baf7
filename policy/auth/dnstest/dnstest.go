// Package dnstest is a small DNS server on the loopback interface, for tests,
// demonstrations and benchmarks. It answers by UDP and TCP, as a resolver that
// knows nothing but its zone.
//
// # The zone
//
// A zone is text in the form of RFC 1035, section 5.1, with one record a line.
// Names are absolute, with or without the final dot; the TTL and the class may be
// left out (300 seconds, IN). Any record type goes:
//
//	example.com               MX    10 mail.example.com
//	example.com               TXT   "v=spf1 mx -all"
//	mail.example.com       60 A     192.0.2.1
//	www.example.com           CNAME example.com
//	1.2.0.192.in-addr.arpa    PTR   mail.example.com
//
// A name without records of the type that is asked for has none (NODATA) where it
// or a name below it stands in the zone, and does not exist otherwise (NXDOMAIN).
// The negative answer carries the SOA record of the closest enclosing name that
// has one (RFC 2308); so one with a minimum of 60 seconds for the whole is
//
//	. SOA ns.example. admin.example. 1 3600 600 86400 60
//
// # Faults
//
// A line whose second word is not a TTL, class or type but one of these makes all
// questions for that name go wrong, or only those of the types that follow:
//
//	broken.example SERVFAIL         any response code, by its name
//	lame.example   REFUSED TXT MX
//	dead.example   TIMEOUT          no answer
//	long.example   TRUNCATED        no records by UDP, all by TCP
//	forged.example WRONGID          the answer to another query
//	noise.example  GARBAGE          a right header, and octets that are no message
package dnstest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"

	miekg "github.com/miekg/dns"
)

// bindAttempts is how often a port is asked for that is free for both UDP and TCP.
const bindAttempts = 16

// A Server answers until it is closed.
type Server struct {
	zone    *zone
	addr    string
	servers []*miekg.Server

	mu      sync.Mutex
	queries map[question]int
	total   int
}

// Start starts a server for a zone on a free port of 127.0.0.1.
func Start(zoneText string) (*Server, error) { return StartOn("127.0.0.1:0", zoneText) }

// StartFor starts one that ends with a test.
func StartFor(t testing.TB, zoneText string) *Server {
	t.Helper()
	s, err := Start(zoneText)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// StartOn starts a server for a zone on a host and port, where port 0 is a free one:
// programs that can't be told a port ask the one at 53.
func StartOn(addr, zoneText string) (*Server, error) {
	zone, err := parseZone(zoneText)
	if err != nil {
		return nil, err
	}
	packets, listener, err := bind(addr)
	if err != nil {
		return nil, err
	}
	s := &Server{zone: zone, addr: packets.LocalAddr().String(), queries: map[question]int{}}
	for _, server := range []*miekg.Server{{PacketConn: packets}, {Listener: listener}} {
		if err := s.serve(server); err != nil {
			s.Close()
			packets.Close()
			listener.Close()
			return nil, err
		}
	}
	return s, nil
}

// bind opens one port for both UDP and TCP.
func bind(addr string) (net.PacketConn, net.Listener, error) {
	var failed error
	for range bindAttempts {
		packets, err := net.ListenPacket("udp", addr)
		if err != nil {
			return nil, nil, err
		}
		listener, err := net.Listen("tcp", packets.LocalAddr().String())
		if err == nil {
			return packets, listener, nil
		}
		packets.Close()
		failed = err
	}
	return nil, nil, fmt.Errorf("%s is not free for both UDP and TCP: %w", addr, failed)
}

// serve returns when the server answers.
func (s *Server) serve(server *miekg.Server) error {
	started, failed := make(chan struct{}), make(chan error, 1)
	server.Handler = miekg.HandlerFunc(s.handle)
	server.NotifyStartedFunc = func() { close(started) }
	server.UDPSize = miekg.DefaultMsgSize
	go func() { failed <- server.ActivateAndServe() }()
	select {
	case <-started:
		s.servers = append(s.servers, server)
		return nil
	case err := <-failed:
		return err
	}
}

// Addr is the server's host and port.
func (s *Server) Addr() string { return s.addr }

// Queries tells how many queries came for a name and a type, such as "TXT"; one
// that is repeated by TCP counts twice.
func (s *Server) Queries(name, typ string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queries[ask(name, typ)]
}

// Total tells how many queries came.
func (s *Server) Total() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}

// Close stops the server. No query is answered after it.
func (s *Server) Close() error {
	var errs []error
	for _, server := range s.servers {
		errs = append(errs, server.Shutdown())
	}
	s.servers = nil
	return errors.Join(errs...)
}

func (s *Server) count(q question) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queries[q]++
	s.total++
}

// handle answers one query. The library has seen to it that there is one question.
func (s *Server) handle(w miekg.ResponseWriter, query *miekg.Msg) {
	q := ask(query.Question[0].Name, miekg.Type(query.Question[0].Qtype).String())
	s.count(q)
	reply := new(miekg.Msg).SetReply(query)
	reply.RecursionAvailable = true
	size := miekg.MinMsgSize
	if opt := query.IsEdns0(); opt != nil {
		size = int(opt.UDPSize())
		reply.SetEdns0(miekg.DefaultMsgSize, false)
	}
	_, byUDP := w.RemoteAddr().(*net.UDPAddr)
	switch f := s.zone.fault(q); f {
	case timeout:
		return
	case garbage:
		octets := binary.BigEndian.AppendUint16(nil, query.Id)
		_, _ = w.Write(append(octets, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0, 0xff, 0xff))
		return
	case wrongID:
		reply.Id = ^query.Id
		s.zone.answer(reply, q)
	case truncated:
		reply.Truncated = byUDP
		s.zone.answer(reply, q)
	case "":
		s.zone.answer(reply, q)
	default:
		reply.Rcode = miekg.StringToRcode[string(f)]
	}
	if byUDP && (reply.Truncated || reply.Len() > size) {
		reply.Truncated, reply.Answer = true, nil
	}
	_ = w.WriteMsg(reply) // a client that is gone needs no answer
}
