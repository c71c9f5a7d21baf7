package dns

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	miekg "github.com/miekg/dns"
)

// Callers with the same question share one query, and one who gives up fails alone.
func TestSingleFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		client := newFake(t, nil, func(ctx context.Context, _, _ string, q question) (*miekg.Msg, error) {
			select {
			case <-release:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			return replyTo(t, q, miekg.RcodeSuccess, "name.example. 60 IN TXT here", ""), nil
		})
		var callers sync.WaitGroup
		ctxs, cancels := make([]context.Context, 10), make([]context.CancelFunc, 10)
		got := make([]string, len(ctxs))
		for i := range ctxs {
			ctxs[i], cancels[i] = context.WithCancel(t.Context())
			callers.Go(func() { got[i] = query(ctxs[i], client, "TXT", "Name.Example") })
		}
		synctest.Wait()
		cancels[0]()
		cancels[7]()
		synctest.Wait()
		close(release)
		callers.Wait()
		for i, cancel := range cancels {
			cancel()
			want := "here"
			if i == 0 || i == 7 {
				want = "temporary: time"
			}
			if got[i] != want {
				t.Errorf("caller %d got %q, want %q", i, got[i], want)
			}
		}
		if got := client.Stats(); got.Misses != 1 || got.Hits != 9 || got.Failures != 0 {
			t.Errorf("counts %+v", got)
		}
	})
}

// A5: a server that doesn't recurse sends a referral, which is not the lack of a record:
// the next one is asked, and without any, nobody knows.
func TestReferral(t *testing.T) {
	for _, c := range []struct{ second, want string }{
		{"name.example. 60 IN TXT here", "here"},
		{"", "temporary: the name server fails: it does not recurse"},
	} {
		client := newFake(t, nil, func(_ context.Context, _, server string, q question) (*miekg.Msg, error) {
			if server == "two" && c.second != "" {
				return replyTo(t, q, miekg.RcodeSuccess, c.second, ""), nil
			}
			reply := replyTo(t, q, miekg.RcodeSuccess, "", "example. 60 IN NS ns1.example.")
			reply.RecursionAvailable = false
			return reply, nil
		})
		if got := query(t.Context(), client, "TXT", "name.example"); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

// A query that nobody waits for any more is called off, and the next caller has one
// of its own. (The test would not end with a goroutine left.)
func TestAbandonedFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calledOff := 0
		client := newFake(t, nil, func(ctx context.Context, _, _ string, q question) (*miekg.Msg, error) {
			if calledOff == 2 {
				return replyTo(t, q, miekg.RcodeSuccess, "name.example. 60 IN TXT here", ""), nil
			}
			<-ctx.Done()
			calledOff++
			return nil, ctx.Err()
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got := query(ctx, client, "TXT", "name.example"); got != "temporary: time" {
			t.Errorf("got %q", got)
		}
		synctest.Wait()
		if calledOff != 2 {
			t.Errorf("called off %d times, want once a server", calledOff)
		}
		if got := query(t.Context(), client, "TXT", "name.example"); got != "here" {
			t.Errorf("then got %q", got)
		}
	})
}

// A script has what servers do.
type script map[string]func(*testing.T, context.Context, question) (*miekg.Msg, error)

// One server has the client's timeout, for UDP and TCP together. A silent one is asked
// again after the others; one that fails isn't.
func TestTimeout(t *testing.T) {
	truncated := func(t *testing.T, _ context.Context, q question) (*miekg.Msg, error) {
		reply := replyTo(t, q, miekg.RcodeSuccess, "", "")
		reply.Truncated = true
		return reply, nil
	}
	silent := func(_ *testing.T, ctx context.Context, _ question) (*miekg.Msg, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	fails := func(t *testing.T, _ context.Context, q question) (*miekg.Msg, error) {
		return replyTo(t, q, miekg.RcodeServerFailure, "", ""), nil
	}
	for name, tc := range map[string]struct {
		answers script
		want    string
		asked   []string
	}{
		"all silent": {
			script{"udp one": silent, "udp two": silent},
			"temporary: time",
			[]string{"udp one 0s", "udp two 3s", "udp one 6s", "udp two 9s"},
		},
		"silent by TCP, and failing": {
			script{"udp one": truncated, "tcp one": silent, "udp two": fails},
			"temporary: time",
			[]string{"udp one 0s", "tcp one 0s", "udp two 3s", "udp one 3s", "tcp one 3s"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var asked []string
				begin := time.Now()
				client := newFake(t, nil, func(ctx context.Context, network, server string, q question) (*miekg.Msg, error) {
					asked = append(asked, fmt.Sprint(network, " ", server, " ", time.Since(begin)))
					return tc.answers[network+" "+server](t, ctx, q)
				})
				client.timeout = 3 * time.Second
				got := query(t.Context(), client, "TXT", "name.example")
				if diff := cmp.Diff(tc.asked, asked); got != tc.want || diff != "" {
					t.Errorf("got %q; asked %s", got, diff)
				}
			})
		})
	}
}

// What came by UDP and isn't the answer may be forged: TCP is asked, and its answer
// counts. One that is truncated there too is a failure.
func TestTCP(t *testing.T) {
	forged := func(*testing.T, context.Context, question) (*miekg.Msg, error) { return nil, errNotOurs }
	truncated := func(t *testing.T, _ context.Context, q question) (*miekg.Msg, error) {
		reply := replyTo(t, q, miekg.RcodeSuccess, "name.example. 60 IN TXT part", "")
		reply.Truncated = true
		return reply, nil
	}
	whole := func(t *testing.T, _ context.Context, q question) (*miekg.Msg, error) {
		return replyTo(t, q, miekg.RcodeSuccess, "name.example. 60 IN TXT whole", ""), nil
	}
	for _, tc := range []struct {
		answers script
		want    string
	}{
		{script{"udp": whole}, "whole"},
		{script{"udp": forged, "tcp": whole}, "whole"},
		{script{"udp": truncated, "tcp": whole}, "whole"},
		{script{"udp": truncated, "tcp": truncated}, "temporary: the name server fails: its answer is truncated by TCP too"},
		{script{"udp": truncated, "tcp": forged}, "temporary: the name server fails: its answer is not to our question, or is no DNS message"},
	} {
		client := newFake(t, nil, func(ctx context.Context, network, _ string, q question) (*miekg.Msg, error) {
			return tc.answers[network](t, ctx, q)
		})
		if got := query(t.Context(), client, "TXT", "name.example"); got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
}

// A message's budget bounds the questions that go out, whoever asks and however many
// at once; the cache, names that are none, and shared queries are free.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		sent := 0
		client := newFake(t, nil, func(_ context.Context, _, server string, q question) (*miekg.Msg, error) {
			if server == "one" {
				return nil, errors.New("broken")
			}
			mu.Lock()
			defer mu.Unlock()
			sent++
			return replyTo(t, q, miekg.RcodeSuccess, q.name+". 60 IN TXT here", ""), nil
		})
		query(t.Context(), client, "TXT", "cached.example")
		limited := client.WithBudget(10)
		var callers sync.WaitGroup
		var got sync.Map
		for i := range 40 {
			callers.Go(func() { got.Store(i, query(t.Context(), limited, "TXT", fmt.Sprintf("n%d.example", i))) })
			callers.Go(func() { query(t.Context(), limited, "TXT", "cached.example") })
			callers.Go(func() { query(t.Context(), limited, "TXT", "no..name") })
		}
		callers.Wait()
		outcomes := map[any]int{}
		got.Range(func(_, outcome any) bool { outcomes[outcome]++; return true })
		want := map[any]int{"here": 10, "temporary: the DNS queries that a message may cause are used up": 30}
		if diff := cmp.Diff(want, outcomes); diff != "" || sent != 11 {
			t.Errorf("%d queries: %s", sent, diff)
		}
		if got := query(t.Context(), limited, "TXT", "cached.example"); got != "here" {
			t.Errorf("from the cache: %q", got)
		}
		if got := query(t.Context(), client.WithBudget(1), "IP", "host.example"); !strings.Contains(got, "used up") {
			t.Errorf("addresses are two questions, got %q", got)
		}
		if got := query(t.Context(), client, "TXT", "n99.example"); got != "here" {
			t.Errorf("the other messages: %q", got)
		}
	})
}

// A panic while an answer is read is one question's trouble.
func TestPanic(t *testing.T) {
	client := newFake(t, nil, func(context.Context, string, string, question) (*miekg.Msg, error) {
		panic("at the\noctets")
	})
	want := `temporary: internal error, please report it: "at the\noctets"`
	if got := query(t.Context(), client, "TXT", "name.example"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
