package milter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	protocol "github.com/emersion/go-milter"

	"gatemilter/milter/accept/accepttest"
	"gatemilter/policy"
)

// replyTo writes packets and reads one reply.
func replyTo(t *testing.T, conn net.Conn, packets ...[]byte) string {
	t.Helper()
	if _, err := conn.Write(join(packets...)); err != nil {
		t.Fatal(err)
	}
	c, data, err := readPacket(conn)
	if err != nil {
		t.Fatal(err)
	}
	return show(c, data)
}

// S10: messages under way are finished, connections between messages end at
// once.
func TestShutdownDrains(t *testing.T) {
	d := &diary{}
	r := newRig(t, d)
	fresh, idle, between, busy := r.dial(), r.dial(), r.dial(), r.dial()
	replyTo(t, idle, fullOffer)
	replyTo(t, between, fullOffer)
	same(t, "a message before", []string{replyTo(t, between, someConnect, mail("<a>")), replyTo(t, between, rcpt("<b>")),
		replyTo(t, between, eoh, eom)}, "c", "c", "c")
	replyTo(t, busy, fullOffer)
	replyTo(t, busy, someConnect, mail("<a>"))

	done := make(chan error, 1)
	go func() { done <- r.Shutdown(context.Background()) }()
	for name, conn := range map[string]net.Conn{"fresh": fresh, "idle": idle, "between messages": between} {
		if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("%s: %v, want EOF", name, err)
		}
	}
	if conn, err := net.Dial("unix", r.path); err == nil {
		conn.Close()
		t.Error("a connection was accepted after the shutdown")
	}
	same(t, "the message under way", []string{replyTo(t, busy, rcpt("<b>")), replyTo(t, busy, eoh, eom)}, "c", "c")
	if rest := readAll(t, busy); len(rest) > 0 {
		t.Errorf("after the message: %q", rest)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	same(t, "reports", r.stop())
}

// S10: a message is under way as soon as its MAIL has come.
func TestShutdownWhileMailIsDecided(t *testing.T) {
	asked, answer := make(chan bool), make(chan bool)
	r := newRig(t, &diary{mail: func(Envelope) policy.Reply {
		close(asked)
		<-answer
		return policy.Reply{}
	}})
	conn := r.dial()
	replyTo(t, conn, fullOffer)
	conn.Write(join(someConnect, mail("<a>")))
	<-asked
	r.conns.Drain()
	close(answer)
	same(t, "the message", []string{replyTo(t, conn), replyTo(t, conn, rcpt("<b>")), replyTo(t, conn, eoh, eom)}, "c", "c", "c")
	same(t, "after the message", readAll(t, conn))
	same(t, "reports", r.stop())
}

// S10: when the time is over, the rest is cut, and the session can know.
func TestShutdownCuts(t *testing.T) {
	asked, cut := make(chan bool), errors.New("time is over")
	d := &diary{outcome: func(ctx context.Context) Outcome {
		close(asked)
		<-ctx.Done()
		return Outcome{}
	}}
	r := newRig(t, d)
	deciding, silent := r.dial(), r.dial()
	replyTo(t, deciding, fullOffer)
	deciding.Write(join(someConnect, mail("<a>"), rcpt("<b>"), eoh, eom))
	<-asked
	replyTo(t, silent, fullOffer)
	replyTo(t, silent, someConnect, mail("<a>"))

	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(cut)
	if err := r.Shutdown(ctx); !errors.Is(err, cut) || !strings.Contains(err.Error(), " 2 connections ") {
		t.Errorf("Shutdown: %v", err)
	}
	same(t, "silent", readAll(t, silent))
	readAll(t, deciding)
	same(t, "reports", r.stop())
	if n := strings.Count(names(d.take()), "Close"); n != 2 {
		t.Errorf("%d sessions were closed, want 2", n)
	}
}

// A listener that somebody else closes is an error, not a loop.
func TestServeClosedListener(t *testing.T) {
	ln := make(accepttest.Listener)
	ln.Close()
	if err := new(Server).Serve(ln); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve: %v", err)
	}
}

// Defect 21: failures to accept are waited out, with a pause that has a bound.
func TestDefect21AcceptErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const failures = 12
		ln := make(accepttest.Listener, failures+1)
		for i := range failures {
			ln <- &net.OpError{Op: "accept", Net: "unix", Err: []error{syscall.EMFILE, syscall.ECONNABORTED}[i%2]}
		}
		ours, mta := net.Pipe()
		ln <- ours
		var reports []string
		s := &Server{
			NewSession: func() Session { return &diary{} },
			Report:     func(_ string, err error) { reports = append(reports, err.Error()) },
		}
		start := time.Now()
		go s.Serve(ln)
		if got := replyTo(t, mta, fullOffer); got != fullAnswer {
			t.Errorf("reply %q", got)
		}
		// 5 ms, 10 ms … 640 ms, then 1 s four times
		if took := time.Since(start); took != 5275*time.Millisecond {
			t.Errorf("accepted after %v", took)
		}
		synctest.Wait()
		mta.Close()
		s.Shutdown(context.Background())
		if len(reports) != failures || reports[0] != "no connection accepted, next attempt in 5ms: accept unix: too many open files" {
			t.Errorf("reports: %q", reports)
		}
	})
}

// Over the limit a connection is closed at once; when one ends, there is room
// again.
func TestConnectionLimit(t *testing.T) {
	r := newRig(t, &diary{}, func(s *Server) { s.MaxConnections = 2 })
	first, second := r.dial(), r.dial()
	replyTo(t, first, fullOffer)
	replyTo(t, second, fullOffer)
	same(t, "third", r.send(fullOffer, 100))
	first.Write(quit)
	readAll(t, first)
	deadline := time.Now().Add(testLimit)
	for {
		replies := r.send(join(fullOffer, someConnect, quit), 100)
		if len(replies) == 1 && replies[0] == fullAnswer {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no room after a connection has ended: %q", replies)
		}
	}
	second.Write(quit)
	if reports := r.stop(); len(reports) == 0 || reports[0] != "refused: 2 connections are open, which is the limit" {
		t.Errorf("reports: %q", reports)
	}
}

// One server takes connections from several listeners.
func TestSeveralListeners(t *testing.T) {
	r := newRig(t, &diary{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- r.Serve(ln) }()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(testLimit))
	if got := replyTo(t, conn, fullOffer); got != fullAnswer {
		t.Errorf("over TCP: %q", got)
	}
	same(t, "over a unix socket", r.send(join(fullOffer, someConnect, quit), 100), fullAnswer)
	r.stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// The library's own client is another MTA.
func TestLibraryClient(t *testing.T) {
	d := &diary{outcome: always(Outcome{Edits: []policy.Edit{{Op: policy.InsertField, Name: "X-A", Value: "v", Index: 1}}}), rcpt: refuse("no@lab.test")}
	r := newRig(t, d)
	client := protocol.NewClientWithOptions("unix", r.path, protocol.ClientOptions{
		ActionMask: 0x1ff, ProtocolMask: 0x1fffff, ReadTimeout: testLimit, WriteTimeout: testLimit,
	})
	s, err := client.Session()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	act := func(a *protocol.Action, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, strings.TrimSpace(fmt.Sprintf("%c %s", a.Code, a.SMTPText)))
	}
	act(s.Conn("client.example", protocol.FamilyInet, 25, "192.0.2.2"))
	act(s.Helo("h"))
	for range 2 {
		if err := s.Macros(protocol.CodeMail, "i", "4711"); err != nil {
			t.Fatal(err)
		}
		act(s.Mail("a@lab.test", []string{"SIZE=1"}))
		act(s.Rcpt("no@lab.test", nil))
		act(s.Rcpt("b@lab.test", nil))
		act(s.HeaderField("Subject", "hello"))
		act(s.HeaderEnd())
		mods, a, err := s.BodyReadFrom(strings.NewReader(strings.Repeat("text\r\n", 30000)))
		act(a, err)
		if len(mods) != 1 || mods[0].HeaderName != "X-A" || mods[0].HeaderValue != " v" || mods[0].HeaderIndex != 1 {
			t.Errorf("changes: %+v", mods)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	same(t, "reports", r.stop())
	message := []string{"c", "y 5.7.1 Not you", "c", "c", "c", "c"}
	same(t, "actions", got, append(append([]string{"c", "c"}, message...), message...)...)
	got = got[:0]
	for _, c := range d.take() {
		if !strings.HasPrefix(c, "Body ") {
			got = append(got, c)
		}
	}
	calls := "Mail Rcpt Rcpt Header EndOfHeader EndOfMessage Done"
	if got, want := names(got), "Connect Helo "+calls+" "+calls+" Close"; got != want {
		t.Errorf("calls: %s\nwant:  %s", got, want)
	}
}
