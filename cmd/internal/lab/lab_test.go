package lab

import (
	"context"
	"errors"
	"net"
	"testing"
)

func TestUntilEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	asked := 0
	err := Until(ctx, "rain", func() bool {
		if asked++; asked == 3 {
			cancel()
		}
		return false
	})
	if !errors.Is(err, context.Canceled) || err.Error() != "waiting for rain: context canceled" {
		t.Errorf("error %v", err)
	}
}

func needPostfix(t *testing.T) {
	t.Helper()
	if err := NeedPostfix(t.Context(), t.Logf); err != nil {
		t.Fatal(err)
	}
}

// instance starts an instance that ends with the test, and shows its log if the test fails.
func instance(t *testing.T, c Config) *Postfix {
	t.Helper()
	needPostfix(t)
	p, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(p.Log())
		}
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// session opens an SMTP session that ends with the test.
func session(t *testing.T, addr string) *Client {
	t.Helper()
	c, err := Dial(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	accepted(t)(c.Ehlo("client.test"))
	return c
}

// accepted fails the test unless the server said yes.
func accepted(t *testing.T) func(Reply, error) {
	return func(r Reply, err error) {
		t.Helper()
		if err != nil || !r.OK() {
			t.Fatalf("%v, %v", r, err)
		}
	}
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// delivered returns the only message in a mailbox.
func delivered(t *testing.T, p *Postfix, address string) Message {
	t.Helper()
	noError(t, p.WaitIdle(t.Context()))
	all, err := p.Mailbox(address)
	if err != nil || len(all) != 1 {
		t.Fatalf("%d messages for %s, %v; want 1", len(all), address, err)
	}
	return all[0]
}

// must returns v, or fails the test.
func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func port(t *testing.T, addr string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	noError(t, err)
	return port
}
