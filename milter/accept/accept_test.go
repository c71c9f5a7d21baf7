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

	"gatemilter/milter/accept/accepttest"
)

// start returns an acceptor of connections that echo, and what it reports. A stubborn
// connection always has something under way.
func start(limit int, stubborn bool) (*Acceptor, *[]string) {
	a, reports := new(Acceptor), new([]string)
	*a = Acceptor{
		Name: "test", Unit: "word", MaxConnections: limit,
		Start: func(c *Conn) {
			c.SetBusy(stubborn)
			go func() {
				defer c.Done()
				io.Copy(c.Conn, c.Conn)
			}()
		},
		Report: func(remote string, err error) { *reports = append(*reports, fmt.Sprint(remote, ": ", err)) },
	}
	a.Init()
	return a, reports
}

// dial returns the peer's end of a new connection.
func dial(ln accepttest.Listener) net.Conn {
	ours, theirs := net.Pipe()
	ln <- ours
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
		ln := make(accepttest.Listener)
		go a.Serve(ln)
		first, second, third := dial(ln), dial(ln), dial(ln)
		if !answers(t, first) || !answers(t, second) || answers(t, third) {
			t.Error("want two connections served, and the third closed")
		}
		if got := a.Counts(); got != (Counts{Open: 2, Refused: 1}) {
			t.Errorf("counts %+v", got)
		}
		first.Close()
		synctest.Wait()
		if !answers(t, dial(ln)) {
			t.Error("no room after a connection has ended")
		}
		if got := a.Counts(); got != (Counts{Open: 2, Refused: 1}) {
			t.Errorf("counts %+v after one has taken another's place", got)
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
			ln, served := make(accepttest.Listener), make(chan error, 1)
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

// When nothing is left, an end of the context is no failure: a daemon gives several
// servers one limit.
func TestShutdownWithoutTime(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for range 100 {
		a, _ := start(1, false)
		if err := a.Shutdown(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

// A Serve that comes too late closes its listener and says so.
func TestServeAfterShutdown(t *testing.T) {
	a, _ := start(1, false)
	for range 2 {
		if err := a.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		ln := make(accepttest.Listener)
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
		ln := make(accepttest.Listener, 100)
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
func TestReportNamesPeer(t *testing.T) {
	a, reports := start(1, false)
	a.tell(&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 25}, io.ErrNoProgress)
	a.tell(&net.UnixAddr{Net: "unix"}, io.EOF)
	if want := []string{"192.0.2.1:25: " + io.ErrNoProgress.Error(), "unix socket: EOF"}; !slices.Equal(*reports, want) {
		t.Errorf("%q, want %q", *reports, want)
	}
	a.Report = nil
	a.tell(nil, io.EOF)
}
