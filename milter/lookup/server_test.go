package lookup

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"gatemilter/milter/accept/accepttest"
)

// The tests of this file run in bubbles with a clock of their own; a bubble ends
// only when all its goroutines have ended.

// A rig is a server in a bubble, and what it reported.
type rig struct {
	*Server
	t      *testing.T
	ln     accepttest.Listener
	served chan error

	mu      sync.Mutex
	reports []string
}

func newRig(t *testing.T, s *Server) *rig {
	r := &rig{Server: s, t: t, ln: make(accepttest.Listener), served: make(chan error, 1)}
	s.Report = func(_ string, err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.reports = append(r.reports, err.Error())
	}
	go func() { r.served <- s.Serve(r.ln) }()
	return r
}

// with returns the test tables and one more.
func with(name string, t Table) map[string]Table {
	tables := maps.Clone(testTables)
	tables[name] = t
	return tables
}

func (r *rig) dial() *peer {
	ours, theirs := net.Pipe()
	r.ln <- ours
	return &peer{theirs, r.t}
}

// stop shuts the server down and compares what it reported.
func (r *rig) stop(reports ...string) {
	r.t.Helper()
	if err := r.Shutdown(context.Background()); err != nil {
		r.t.Error(err)
	}
	if err := <-r.served; err != nil {
		r.t.Errorf("Serve: %v", err)
	}
	if !slices.Equal(r.reports, reports) {
		r.t.Errorf("reports %q, want %q", r.reports, reports)
	}
}

// A peer is the MTA's end of a connection.
type peer struct {
	net.Conn
	t *testing.T
}

func (p *peer) send(octets string) {
	p.t.Helper()
	if _, err := io.WriteString(p, octets); err != nil {
		p.t.Error(err)
	}
}

// expect reads as much as is expected.
func (p *peer) expect(want string) {
	p.t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(p, got); err != nil || string(got) != want {
		p.t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

// expectEnd waits until the connection is closed, and returns how long that took.
func (p *peer) expectEnd() time.Duration {
	p.t.Helper()
	began := time.Now()
	if rest, err := io.ReadAll(p); err != nil || len(rest) > 0 {
		p.t.Errorf("got %q, %v, want the end", rest, err)
	}
	return time.Since(began)
}

// ask sends a request and expects a reply.
func (p *peer) ask(question, answer string) {
	p.t.Helper()
	p.send(netstring(question))
	p.expect(netstring(answer))
}

// An MTA that rests is waited for; one that stops within a request, or drips, is
// not.
func TestDeadlines(t *testing.T) {
	for name, c := range map[string]struct {
		sent    string
		drip    bool
		after   time.Duration
		reports []string
	}{
		"silent":                 {"", false, idleTimeout, nil},
		"half a length":          {"1", false, requestTimeout, []string{"request still incomplete after 10s"}},
		"half a request":         {"15:route ", false, requestTimeout, []string{"request still incomplete after 10s"}},
		"an octet every 3 s":     {"500:route ", true, requestTimeout, []string{"request still incomplete after 10s"}},
		"half of a second one":   {"6:route ,6:rou", false, requestTimeout, []string{"request still incomplete after 10s"}},
		"at rest after requests": {"6:route ,6:route ,", false, idleTimeout, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, &Server{Tables: testTables})
				p := r.dial()
				var writing sync.WaitGroup
				writing.Go(func() {
					p.send(c.sent)
					for c.drip {
						time.Sleep(3 * time.Second)
						if _, err := p.Write([]byte("x")); err != nil {
							return
						}
					}
				})
				began := time.Now()
				io.ReadAll(p)
				if took := time.Since(began); took != c.after {
					t.Errorf("closed after %v, want %v", took, c.after)
				}
				writing.Wait()
				r.stop(c.reports...)
			})
		})
	}
}

// The deadline of a request begins with its first octet, not with the
// connection.
func TestDeadlineIsForEachRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &Server{Tables: testTables})
		p := r.dial()
		for range 5 {
			p.send("6:rou")
			time.Sleep(requestTimeout - time.Second)
			p.send("te ,")
			p.expect("9:NOTFOUND ,")
		}
		p.Close()
		r.stop()
	})
}

// Who asks and doesn't take the answers isn't waited for either.
func TestPeerThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &Server{Tables: testTables, Timeouts: Timeouts{Write: time.Minute}})
		p := r.dial()
		p.send("6:route ,")
		time.Sleep(time.Minute)
		synctest.Wait()
		if _, err := p.Write([]byte("6:route ,")); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("write after the time limit: %v", err)
		}
		r.stop("reply could not be sent: write pipe: i/o timeout")
	})
}

func TestConnectionLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &Server{Tables: testTables, MaxConnections: 2})
		first, second := r.dial(), r.dial()
		first.ask("route x", "NOTFOUND ")
		r.dial().expectEnd()
		second.ask("route x", "NOTFOUND ")
		first.Close()
		synctest.Wait()
		r.dial().ask("route x", "NOTFOUND ")
		r.stop("refused: 2 connections are open, which is the limit")
	})
}

// A slow lookup holds up nobody else, and has its time.
func TestSlowTable(t *testing.T) {
	slow := func(ctx context.Context, _ Peer, key string) Answer {
		d, _ := time.ParseDuration(key)
		select {
		case <-time.After(d):
			return OK("after " + key)
		case <-ctx.Done():
			return OK("too late")
		}
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &Server{Tables: with("slow", Table{Lookup: slow, Limit: 5 * time.Second})})
		waiting, other := r.dial(), r.dial()
		began := time.Now()
		waiting.send(netstring("slow 4s") + netstring("route x"))
		other.ask("route x", "NOTFOUND ")
		if took := time.Since(began); took != 0 {
			t.Errorf("the other waited %v", took)
		}
		waiting.expect(netstring("OK after 4s") + netstring("NOTFOUND "))

		began = time.Now()
		waiting.send(netstring("slow 1h"))
		got := make([]byte, len("5:TEMP "))
		io.ReadFull(waiting, got)
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("the answer took %v, want 5s", took)
		}
		waiting.Close()
		other.Close()
		if err := r.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// A lookup that ignores its time is left behind, with the connection free; as
// many as that may be left are bounded.
func TestStubbornTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan bool)
		stubborn := func(_ context.Context, _ Peer, key string) Answer {
			if key == "wait" {
				<-release
			}
			return OK("late")
		}
		r := newRig(t, &Server{Tables: with("stubborn", Table{Lookup: stubborn, Limit: time.Second}), MaxConnections: 2})
		p := r.dial()
		p.ask("stubborn at once", "OK late")
		p.ask("stubborn wait", "TEMP lookup took too long")
		p.ask("stubborn wait", "TEMP lookup took too long")
		p.ask("stubborn at once", "TEMP too many lookups")
		p.ask("route x", "NOTFOUND ")
		close(release)
		synctest.Wait()
		p.ask("stubborn at once", "OK late")
		const late = `table "stubborn": no answer within 1s: context deadline exceeded`
		r.stop(late, late, `table "stubborn": 2 lookups are under way, which is the limit`)
	})
}

// A panic in a slow table is one in a goroutine of its own.
func TestPanicInSlowTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &Server{Tables: with("slow", Table{Lookup: testTables["panic"].Lookup, Limit: time.Second})})
		p := r.dial()
		p.ask("slow x", "TEMP internal error")
		p.ask("route x", "NOTFOUND ")
		r.stop(`panic in table "slow": key x`)
	})
}

// S10: what has arrived is answered; connections at rest, and those of half a
// request, end at once.
func TestShutdownDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, answer := make(chan bool), make(chan Answer)
		r := newRig(t, &Server{Tables: with("ask", Table{Lookup: func(context.Context, Peer, string) Answer {
			asked <- true
			return <-answer
		}})})
		fresh, rested, half, busy := r.dial(), r.dial(), r.dial(), r.dial()
		rested.ask("route x", "NOTFOUND ")
		half.send("15:route")
		busy.send(netstring("ask x") + netstring("route x") + "5:half")
		<-asked
		done := make(chan error, 1)
		go func() { done <- r.Shutdown(context.Background()) }()
		for name, p := range map[string]*peer{"fresh": fresh, "at rest": rested, "half a request": half} {
			if took := p.expectEnd(); took != 0 {
				t.Errorf("%s: closed after %v", name, took)
			}
		}
		answer <- OK("value")
		busy.expect(netstring("OK value") + netstring("NOTFOUND "))
		busy.expectEnd()
		if err := <-done; err != nil {
			t.Error(err)
		}
		r.stop()
	})
}

// S10: when the time is over, the rest is cut, and the table can know.
func TestShutdownCuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := make(chan bool)
		r := newRig(t, &Server{Tables: with("ask", Table{Lookup: func(ctx context.Context, _ Peer, _ string) Answer {
			close(asked)
			<-ctx.Done()
			return Temp("stopped")
		}})})
		p, cut := r.dial(), errors.New("time is over")
		p.send(netstring("ask x"))
		<-asked
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(cut)
		err := r.Shutdown(ctx)
		if want := "lookup: 1 connections were cut within a request: time is over"; !errors.Is(err, cut) || err.Error() != want {
			t.Errorf("Shutdown: %v, want %s", err, want)
		}
		p.expectEnd()
		r.stop()
	})
}

// A listener that somebody else closes is an error, not a loop; the others and
// their connections stay.
func TestClosedListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &Server{Tables: testTables})
		p := r.dial()
		ln := make(accepttest.Listener)
		ln.Close()
		if err := r.Serve(ln); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Serve: %v", err)
		}
		p.ask("route x", "NOTFOUND ")
		r.dial().ask("route x", "NOTFOUND ")
		r.stop()
	})
}

// Failures to accept are waited out, with a pause that has a bound.
func TestAcceptErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &Server{Tables: testTables})
		began := time.Now()
		for range 12 {
			r.ln <- syscall.EMFILE
		}
		p := r.dial()
		if took := time.Since(began); took != 5275*time.Millisecond {
			t.Errorf("pauses of %v in all, want 5.275s", took)
		}
		p.ask("route x", "NOTFOUND ")
		r.ln <- syscall.ECONNABORTED
		r.dial().ask("route x", "NOTFOUND ")
		var reports []string
		for _, pause := range []string{"5ms", "10ms", "20ms", "40ms", "80ms", "160ms", "320ms", "640ms", "1s", "1s", "1s", "1s"} {
			reports = append(reports, "no connection accepted, next attempt in "+pause+": too many open files")
		}
		r.stop(append(reports, "no connection accepted, next attempt in 5ms: software caused connection abort")...)
	})
}

// Statistics name tables and statuses, never what a peer wrote.
func TestObserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		s := &Server{Tables: testTables, Observe: func(table, status string, took time.Duration) {
			seen = append(seen, table+" "+status)
			if took != 0 { // in the bubble, no time passes
				t.Errorf("table %s took %v", table, took)
			}
		}}
		r := newRig(t, s)
		p := r.dial()
		go p.send(netstring("route alice@example.com") + netstring("route x") + netstring("temp x") + netstring("panic x") + netstring("echo ") + netstring("my-secret x"))
		io.ReadFull(p, make([]byte, 1))
		go io.Copy(io.Discard, p)
		synctest.Wait()
		if got := s.Connections(); got.Open != 1 || got.Refused != 0 {
			t.Errorf("connections %+v", got)
		}
		s.Shutdown(t.Context())
		want := []string{"route ok", "route notfound", "temp temp", "panic temp", "echo temp", "unknown temp"}
		if !slices.Equal(seen, want) {
			t.Errorf("seen %q, want %q", seen, want)
		}
	})
}
