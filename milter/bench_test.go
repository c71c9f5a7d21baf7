package milter

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	protocol "github.com/emersion/go-milter"

	"gatemilter/policy"
)

// The load of a mail server, measured from outside: the server under test is a
// process of its own (this test binary again), whose CPU time is its own.
//
//	go test -run '^$' -bench . ./milter

// benchServers are the servers to compare. Serve returns when the listener is
// closed.
var benchServers = map[string]func(net.Listener) error{
	"guard": func(ln net.Listener) error {
		return (&Server{NewSession: func() Session { return new(stub) }}).Serve(ln)
	},
	"policy": func(ln net.Listener) error {
		return (&Server{NewSession: benchSessions().New}).Serve(ln)
	},
	"library": func(ln net.Listener) error {
		return (&protocol.Server{NewMilter: func() protocol.Milter { return protocol.NoOpMilter{} }}).Serve(ln)
	},
}

// A stub is a Session that takes everything.
type stub struct{}

func (*stub) Connect(Peer, *Macros)                {}
func (*stub) Helo(string)                          {}
func (*stub) Mail(Envelope) policy.Reply           { return policy.Reply{} }
func (*stub) Rcpt(Envelope) policy.Reply           { return policy.Reply{} }
func (*stub) Header(string, string)                {}
func (*stub) Overflow(r policy.Reply) policy.Reply { return r }
func (*stub) EndOfHeader() bool                    { return true }
func (*stub) Body([]byte)                          {}
func (*stub) EndOfMessage(context.Context) Outcome { return Outcome{} }
func (*stub) Done(policy.Reply, error)             {}
func (*stub) Abort()                               {}
func (*stub) Close()                               {}

// benchServerEnv names the server that this process is to be.
const benchServerEnv = "MILTER_BENCH_SERVER"

func TestMain(m *testing.M) {
	if name := os.Getenv(benchServerEnv); name != "" {
		if err := beServer(name); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// Defect 23: no peer can make the library write to the standard logger.
	log.SetFlags(log.Lmsgprefix)
	log.SetPrefix("logged by the library: ")
	var logged atomic.Int64
	log.SetOutput(io.MultiWriter(os.Stderr, counter{&logged}))
	status := m.Run()
	if logged.Load() > 0 {
		status = 1
	}
	os.Exit(status)
}

// A counter counts what is written to it.
type counter struct{ octets *atomic.Int64 }

func (c counter) Write(p []byte) (int, error) {
	c.octets.Add(int64(len(p)))
	return len(p), nil
}

// A usage is what a server process has used up.
type usage struct {
	CPU           time.Duration
	Mallocs, Heap uint64
}

// beServer serves on the socket that is the first argument, and answers each
// line on standard input with what was used up to then.
func beServer(name string) error {
	serve, ok := benchServers[name]
	if !ok {
		return fmt.Errorf("no server %q", name)
	}
	ln, err := net.Listen("unix", os.Args[1])
	if err != nil {
		return err
	}
	go serve(ln)
	lines, out := bufio.NewScanner(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		if err := out.Encode(usedUp()); err != nil || !lines.Scan() {
			return err
		}
	}
}

func usedUp() (u usage) {
	var ru syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	return usage{time.Duration(ru.Utime.Nano() + ru.Stime.Nano()), ms.Mallocs, ms.TotalAlloc}
}

// A process is a server under test.
type process struct {
	path  string
	ask   io.Writer
	tells *json.Decoder
}

// startServer runs a server until the end of the benchmark.
func startServer(b *testing.B, name string) *process {
	b.Helper()
	p := &process{path: filepath.Join(b.TempDir(), "s")}
	cmd := exec.Command(os.Args[0], p.path)
	cmd.Env = append(os.Environ(), benchServerEnv+"="+name)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { in.Close(); cmd.Wait() })
	p.ask, p.tells = in, json.NewDecoder(out)
	p.next(b) // it listens
	return p
}

func (p *process) used(b *testing.B) usage {
	b.Helper()
	if _, err := io.WriteString(p.ask, "\n"); err != nil {
		b.Fatal(err)
	}
	return p.next(b)
}

func (p *process) next(b *testing.B) (u usage) {
	b.Helper()
	if err := p.tells.Decode(&u); err != nil {
		b.Fatal(err)
	}
	return u
}

// The message of the benchmark: macros as Postfix sends them, 3 recipients, 25
// header fields, 50 KiB of body.
const (
	benchRecipients = 3
	benchFields     = 25
	benchBody       = 50 << 10
	// benchMessages is how many messages come on one connection.
	benchMessages = 10
)

// A load is an MTA that waits for the answers that were agreed upon, and only
// those.
type load struct {
	conn  net.Conn
	in    *bufio.Reader
	out   *bufio.Writer
	steps protocol.OptProtocol
}

func (l *load) open(path string) (err error) {
	if l.conn, err = net.Dial("unix", path); err != nil {
		return err
	}
	l.conn.SetDeadline(time.Now().Add(time.Minute))
	l.in, l.out = bufio.NewReader(l.conn), bufio.NewWriterSize(l.conn, 64<<10)
	if _, err = l.conn.Write(fullOffer); err != nil {
		return err
	}
	_, data, err := readPacket(l.in)
	if err != nil {
		return err
	}
	l.steps = protocol.OptProtocol(binary.BigEndian.Uint32(data[8:]))
	err = l.send(turn{protocol.OptNoConnReply, join(macros('C', "j", "mx.example", "{daemon_name}", "mx.example", "v", "Postfix 3.7.11", "_", "client.example [192.0.2.2]"), someConnect)})
	return errors.Join(err, l.send(turn{protocol.OptNoHeloReply, join(macros('H'), helo("client.example"))}))
}

// A turn is what an MTA sends before it waits for an answer; unless it was
// agreed that there is none.
type turn struct {
	noReply protocol.OptProtocol
	packets []byte
}

// benchMessage is one message as Postfix sends it.
var benchMessage = func() (turns []turn) {
	say := func(noReply protocol.OptProtocol, packets ...[]byte) {
		turns = append(turns, turn{noReply, join(packets...)})
	}
	queueID := []string{"i", "4XyZ3y2xQwz9vK"}
	say(0, macros('M', "{mail_addr}", "sender@client.example", "{mail_host}", "client.example", "{mail_mailer}", "smtp"),
		mail("<sender@client.example>", "SIZE=51200", "BODY=8BITMIME"))
	for n := range benchRecipients {
		address := fmt.Sprintf("recipient%d@lab.test", n)
		say(0, macros('R', "{rcpt_addr}", address, "{rcpt_host}", "lab.test", "{rcpt_mailer}", "virtual"), rcpt("<"+address+">"))
	}
	say(0, macros('T', queueID...), data)
	for n := range benchFields {
		say(protocol.OptNoHeaderReply, macros('L', queueID...),
			benchField(n))
	}
	say(protocol.OptNoEOHReply, macros('N', queueID...), eoh)
	say(protocol.OptNoBodyReply, macros('B', queueID...), piece(strings.Repeat("x", benchBody)))
	say(0, macros('E', queueID...), eom)
	return turns
}()

// benchField is one of the header fields: four hops, the gateway's tag, and others.
func benchField(n int) []byte {
	switch {
	case n == 0:
		return field("Received", "from gw2.filter.example (gw2.filter.example [192.0.2.55])\n\tby gw1.filter.example (Postfix) with ESMTPS id 4XyZ3y2xQwz9vK\n\tfor <recipient0@lab.test>; Sat, 21 Nov 2026 12:00:00 +0000 (UTC)")
	case n < 4:
		return field("Received", fmt.Sprintf("from mail%d.outside.example (mail%d.outside.example [198.51.100.%d])\n\tby gw2.filter.example with ESMTPS id 4XyZ3y2xQwz9v%d; Sat, 21 Nov 2026 12:00:00 +0000", n, n, n, n))
	case n == 4:
		return field("X-Spam", "0.23")
	}
	return field(fmt.Sprintf("X-Field-%d", n), "a value of about sixty octets, as most header fields have one")
}

func (l *load) message() error {
	for _, t := range benchMessage {
		if err := l.send(t); err != nil {
			return err
		}
	}
	_, err := l.out.Write(abort)
	return err
}

func (l *load) send(t turn) error {
	if _, err := l.out.Write(t.packets); err != nil || l.steps&t.noReply != 0 {
		return err
	}
	if err := l.out.Flush(); err != nil {
		return err
	}
	c, data, err := readPacket(l.in)
	// SKIP comes in answer to the body, which is a single piece here.
	if err == nil && !slices.Contains([]protocol.ActionCode{protocol.ActContinue, protocol.ActAccept, protocol.ActSkip}, protocol.ActionCode(c)) {
		err = fmt.Errorf("answer %s", show(c, data))
	}
	return err
}

// run sends messages over connections of its own, until there are no more to be
// sent.
func run(path string, next func() bool) error {
	for {
		l := new(load)
		if err := l.open(path); err != nil {
			return err
		}
		for range benchMessages {
			if !next() {
				return l.close()
			}
			if err := l.message(); err != nil {
				return err
			}
		}
		if err := l.close(); err != nil {
			return err
		}
	}
}

func (l *load) close() error {
	_, err := l.out.Write(join(abort, quit))
	return errors.Join(err, l.out.Flush(), l.conn.Close())
}

// benchSessions apply a policy in which every inbound rule has something to do.
func benchSessions() *Sessions {
	spam, err := policy.CompileExpression(`^X-(?:spam|phishy): (0\.\d*|1\.0*)$`)
	if err != nil {
		panic(err)
	}
	threshold := 0.5
	p := policy.New(policy.Settings{
		InternalNetworks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		Allowlist:        []netip.Prefix{netip.MustParsePrefix("203.0.113.7/32")},
		Gateways: []policy.Gateway{{
			Name: "filter", Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Domains: []string{"lab.test"},
			DetectExternalIP: true, RejectOther: true, SpamHeader: spam, SpamScore: &threshold,
		}},
	})
	return &Sessions{Rules: func() Rules { return Rules{Policy: p} }, Report: func(r *Record) {
		if r.Verdict.Source.IP != netip.MustParseAddr("198.51.100.1") || !r.Verdict.Spam.Scored {
			panic("the policy did not do its work")
		}
	}}
}

func BenchmarkMessage(b *testing.B) {
	for _, connections := range []int{1, 8, 64} {
		results := make(map[string]result)
		for _, name := range slices.Sorted(maps.Keys(benchServers)) {
			b.Run(fmt.Sprintf("connections=%d/%s", connections, name), func(b *testing.B) {
				results[name] = benchmarkServer(b, startServer(b, name), connections)
			})
		}
		compare(connections, results)
	}
}

// A result is how fast a server was: messages a second, and CPU time a message.
type result struct {
	rate float64
	cpu  time.Duration
}

// compare prints the ratios to the plain library, which say more than figures of one
// machine.
func compare(connections int, results map[string]result) {
	base, ok := results["library"]
	if !ok || base.cpu == 0 {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(results)) {
		r := results[name]
		fmt.Printf("connections=%-2d  %-8s %5.2f of the library's CPU a message, %5.2f times its messages a second\n",
			connections, name, float64(r.cpu)/float64(base.cpu), r.rate/base.rate)
	}
}

func benchmarkServer(b *testing.B, p *process, connections int) result {
	var left atomic.Int64
	left.Store(int64(b.N))
	next := func() bool { return left.Add(-1) >= 0 }
	failed := make(chan error, connections)
	before := p.used(b)
	b.ResetTimer()
	for range connections {
		go func() { failed <- run(p.path, next) }()
	}
	for range connections {
		if err := <-failed; err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	after, n := p.used(b), float64(b.N)
	r := result{n / b.Elapsed().Seconds(), (after.CPU - before.CPU) / time.Duration(b.N)}
	b.ReportMetric(r.rate, "msg/s")
	b.ReportMetric(float64(r.cpu.Nanoseconds())/1000, "cpu-µs/msg")
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/n, "allocs/msg")
	b.ReportMetric(float64(after.Heap-before.Heap)/n, "B/msg")
	return r
}
