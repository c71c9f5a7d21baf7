package accept

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// queue is a listener from which a test hands out connections and failures.
type queue chan any

func (q queue) Accept() (net.Conn, error) {
	switch v := (<-q).(type) {
	case net.Conn:
		return v, nil
	case error:
		return nil, v
	}
	return nil, net.ErrClosed
}

func (q queue) Close() error {
	defer func() { _ = recover() }() // the acceptor closes a listener twice, as net allows
	close(q)
	return nil
}

func (q queue) Addr() net.Addr { return &net.UnixAddr{Net: "unix"} }

// echo is a connection on which something is under way until its peer has closed it,
// if stubborn, and nothing else.
type echo struct {
	net.Conn
	stubborn bool
}

func (e *echo) Cut() { e.Close() }

func (e *echo) Drain() {
	if !e.stubborn {
		e.Close()
	}
}

// start returns an acceptor of echoes, and what it reports.
func start(limit int, stubborn bool) (*Acceptor, *[]string) {
	a, reports := new(Acceptor), new([]string)
	*a = Acceptor{
		Name: "test", Unit: "word", MaxConnections: limit,
		Open: func(c net.Conn) Conn { return &echo{c, stubborn} },
		Start: func(c Conn) {
			go func() {
				defer a.Forget(c)
				io.Copy(c.(*echo), c.(*echo))
			}()
		},
		Report: func(remote string, err error) { *reports = append(*reports, fmt.Sprint(remote, ": ", err)) },
	}
	a.Init()
	return a, reports
}

// dial returns the peer's end of a new connection.
func dial(q queue) net.Conn {
	ours, theirs := net.Pipe()
	q <- ours
	return theirs
}

// answers tells whether the connection is served; else it has been closed.
func answers(t *testing.T, peer net.Conn) bool {
	t.Helper()
	b := []byte("x")
	if _, err := peer.Write(b); errors.Is(err, io.ErrClosedPipe) {
		return false
	}
	if _, err := peer.Read(b); err != nil {
		t.Fatal(err)
	}
	return true
}

// Over the limit a connection is closed at once; when one ends, there is room again.
func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, reports := start(2, false)
		ln := make(queue)
		go a.Serve(ln)
		first, second, third := dial(ln), dial(ln), dial(ln)
		if !answers(t, first) || !answers(t, second) || answers(t, third) {
			t.Error("want two connections served, and the third closed")
		}
		first.Close()
		synctest.Wait()
		if !answers(t, dial(ln)) {
			t.Error("no room after a connection has ended")
		}
		a.Shutdown(context.Background())
		if len(*reports) != 1 || !strings.HasSuffix((*reports)[0], "refused: 2 connections are open, which is the limit") {
			t.Errorf("reports: %q", *reports)
		}
	})
}

// Connections with nothing under way end at once, and Shutdown waits for the others;
// when its time is over, they are cut.
func TestShutdown(t *testing.T) {
	for _, stubborn := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			a, _ := start(10, stubborn)
			ln, served := make(queue), make(chan error, 1)
			go func() { served <- a.Serve(ln) }()
			peers := []net.Conn{dial(ln), dial(ln)}
			for _, p := range peers {
				answers(t, p)
			}
			ctx, cancel := context.WithTimeoutCause(context.Background(), time.Minute, errors.New("time is over"))
			defer cancel()
			began := time.Now()
			err := a.Shutdown(ctx)
			took, want := time.Since(began), "<nil>"
			if stubborn {
				want = "test: 2 connections were cut within a word: time is over"
			}
			if fmt.Sprint(err) != want || stubborn != (took == time.Minute) {
				t.Errorf("Shutdown: %v after %v, want %v", err, took, want)
			}
			if err := <-served; err != nil {
				t.Errorf("Serve: %v", err)
			}
			if a.Patience().Err() == nil {
				t.Error("Patience is not cancelled")
			}
			for _, p := range peers {
				if answers(t, p) {
					t.Error("a connection is left")
				}
			}
		})
	}
}

// A Serve that comes too late closes its listener and says so.
func TestServeAfterShutdown(t *testing.T) {
	a, _ := start(1, false)
	for range 2 {
		if err := a.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		ln := make(queue)
		if err := a.Serve(ln); !errors.Is(err, ErrStopped) {
			t.Errorf("Serve: %v", err)
		}
		if _, err := ln.Accept(); err == nil {
			t.Error("the listener is open")
		}
	}
}

// A shutdown does not wait for the pause after a failure to accept.
func TestShutdownWhileAcceptFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := make(queue, 100)
		for range cap(ln) {
			ln <- syscall.EMFILE
		}
		a, _ := start(1, false)
		served := make(chan error)
		go func() { served <- a.Serve(ln) }()
		time.Sleep(time.Minute + lastPause/2)
		began := time.Now()
		a.Shutdown(context.Background())
		if err := <-served; err != nil || time.Since(began) != 0 {
			t.Errorf("Serve: %v after %v", err, time.Since(began))
		}
	})
}

// A report names the peer.
func TestTell(t *testing.T) {
	a, reports := start(1, false)
	a.Tell(&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 25}, io.ErrNoProgress)
	a.Tell(&net.UnixAddr{Net: "unix"}, io.EOF)
	if want := []string{"192.0.2.1:25: " + io.ErrNoProgress.Error(), "unix socket: EOF"}; !slices.Equal(*reports, want) {
		t.Errorf("%q, want %q", *reports, want)
	}
	a.Report = nil
	a.Tell(nil, io.EOF)
}
