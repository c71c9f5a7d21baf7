package dkim

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"gatemilter/policy"
)

// held is a DNS that answers when it is released.
type held struct {
	zone
	released chan struct{}
}

func hold(z zone) *held { return &held{z, make(chan struct{})} }

func (h *held) LookupTXT(ctx context.Context, name string) ([]string, error) {
	select {
	case <-h.released:
		return h.zone.LookupTXT(ctx, name)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func words(results []policy.DKIM) string {
	var words []string
	for _, r := range results {
		words = append(words, string(r.Result))
	}
	return strings.Join(words, " ")
}

// withSignatures puts signatures that can't be right onto a message, each of
// another selector: s0, s1, …
func withSignatures(m message, n int) message {
	for i := range n {
		value := tagsWith("s=ed", fmt.Sprintf("s=s%d", i))
		m.fields = append(m.fields, policy.Field{Name: "DKIM-Signature", Value: value})
	}
	return m
}

// TestLookupsTogether: each question waits until all have been asked, and no
// body has come by then. Signatures of one key ask once.
func TestLookupsTogether(t *testing.T) {
	m := withSignatures(withSignatures(parse(plain), 3), 3)
	var asked atomic.Int32
	all := make(chan struct{})
	c := Begin(t.Context(), m.fields, func(ctx context.Context, name string) ([]string, error) {
		if asked.Add(1) == 3 {
			close(all)
		}
		select {
		case <-all:
		case <-ctx.Done():
		}
		return nil, faults["SERVFAIL"]
	}, Limits{Signatures: 6})
	<-all
	eventually(t, "no body wanted", func() bool { return !c.WantsBody() })
	if got := words(c.Finish(t.Context())); got != strings.TrimSpace(strings.Repeat("temperror ", 6)) {
		t.Errorf("results %s", got)
	}
	if asked.Load() != 3 {
		t.Errorf("%d questions", asked.Load())
	}
}

// TestBodyBeforeKeys: 256 KiB of body are taken without a key; nothing more is
// held.
func TestBodyBeforeKeys(t *testing.T) {
	body := strings.Repeat("0123456789abcde\n", maxPending/16)
	m := parse(sign("From: joe@example.org\r\n\r\n"+crlf(body), "ed", "relaxed/relaxed"))
	dns := hold(ownKeys())
	c := Begin(t.Context(), m.fields, dns.LookupTXT, Limits{})
	c.Write([]byte(m.body[:maxPending]))
	if !c.WantsBody() || c.judged || len(c.body.held) != maxPending {
		t.Fatalf("judged %t, %d octets held", c.judged, len(c.body.held))
	}
	close(dns.released)
	c.Write([]byte(m.body[maxPending:]))
	if cap(c.body.held) > maxPending {
		t.Errorf("memory for %d octets", cap(c.body.held))
	}
	if got := words(c.Finish(t.Context())); got != "pass" {
		t.Error(got)
	}
}

// TestLongBodyWaits: more than that waits for the keys, not for ever, and
// nothing of it is lost.
func TestLongBodyWaits(t *testing.T) {
	m := parse(sign("From: joe@example.org\r\n\r\n"+strings.Repeat("x\r\n", maxPending), "ed", "simple/simple"))
	t.Run("answered", func(t *testing.T) {
		dns := hold(ownKeys())
		c := Begin(t.Context(), m.fields, dns.LookupTXT, Limits{})
		c.Write([]byte(m.body[:maxPending]))
		written := make(chan struct{})
		go func() {
			c.Write([]byte(m.body[maxPending:]))
			close(written)
		}()
		close(dns.released)
		<-written
		if got := words(c.Finish(t.Context())); got != "pass" {
			t.Error(got)
		}
	})
	t.Run("too late", func(t *testing.T) {
		c := Begin(t.Context(), m.fields, hold(ownKeys()).LookupTXT, Limits{Lookups: time.Millisecond})
		c.Write([]byte(m.body))
		if c.WantsBody() {
			t.Error("body wanted for nothing")
		}
		if got := words(c.Finish(t.Context())); got != "temperror" {
			t.Error(got)
		}
	})
}

// TestNoAnswer [A5]: DNS that doesn't answer is a temperror, whoever loses
// patience.
func TestNoAnswer(t *testing.T) {
	m := parse(sign(plain, "ed", "simple/simple"))
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for name, row := range map[string]struct {
		begin, finish context.Context
		limits        Limits
	}{
		"time limit": {t.Context(), t.Context(), Limits{Lookups: time.Millisecond}},
		"the caller": {over, t.Context(), Limits{}},
		"the end":    {t.Context(), over, Limits{}},
	} {
		c := Begin(row.begin, m.fields, hold(ownKeys()).LookupTXT, row.limits)
		c.Write([]byte(m.body))
		if got := words(c.Finish(row.finish)); got != "temperror" {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestWantsBody: the body is wanted as long as it can make a difference.
func TestWantsBody(t *testing.T) {
	good := parse(sign(plain, "ed", "simple/simple"))
	t.Run("unsigned", func(t *testing.T) {
		c := Begin(t.Context(), parse(plain).fields, ownKeys().LookupTXT, Limits{})
		if c.WantsBody() || c.Finish(t.Context()) != nil {
			t.Error("a body or a result without a signature")
		}
	})
	t.Run("settled", func(t *testing.T) {
		c := Begin(t.Context(), []policy.Field{{Name: "DKIM-Signature", Value: "x"}}, ownKeys().LookupTXT, Limits{})
		if c.WantsBody() || words(c.Finish(t.Context())) != "neutral" {
			t.Error("a body is wanted")
		}
	})
	t.Run("no key", func(t *testing.T) {
		c := Begin(t.Context(), good.fields, zone{}.LookupTXT, Limits{})
		eventually(t, "no body wanted", func() bool { return !c.WantsBody() })
		if c.body != nil || c.runs != nil {
			t.Error("a body or a run for nothing")
		}
		if words(c.Finish(t.Context())) != "permerror" {
			t.Error("not permerror")
		}
	})
	t.Run("no key for a long body", func(t *testing.T) {
		dns := hold(zone{})
		c := Begin(t.Context(), good.fields, dns.LookupTXT, Limits{})
		c.Write(make([]byte, maxPending))
		close(dns.released)
		c.Write(make([]byte, 2*maxPending))
		if c.WantsBody() || c.body != nil || c.runs != nil {
			t.Error("a body is wanted, or a run for nothing")
		}
		if words(c.Finish(t.Context())) != "permerror" {
			t.Error("not permerror")
		}
	})
	t.Run("good", func(t *testing.T) {
		c := Begin(t.Context(), good.fields, ownKeys().LookupTXT, Limits{})
		eventually(t, "keys", func() bool { return c.WantsBody() && c.judged })
		c.Write([]byte(good.body))
		if words(c.Finish(t.Context())) != "pass" || c.WantsBody() {
			t.Error("not pass, or a body is wanted after the end")
		}
	})
	t.Run("refused", func(t *testing.T) {
		c := Begin(t.Context(), good.fields, ownKeys().LookupTXT, Limits{})
		c.Write([]byte(strings.Repeat("\r\n", maxBlankRun)))
		if c.WantsBody() || words(c.Finish(t.Context())) != "policy" {
			t.Error("a body is wanted, or not policy")
		}
	})
}

// TestTooManySignatures [A2]: those within the limit are judged, the others
// counted, and nothing is asked for them.
func TestTooManySignatures(t *testing.T) {
	signed := parse(sign(plain, "ed", "simple/simple"))
	for _, row := range []struct {
		more, limit, judged int
		want                []string
	}{
		{0, 0, 1, nil},
		{4, 0, 5, nil},
		{5, 0, 5, []string{"too many signatures: 1 more than 5"}},
		{2000, 0, 5, []string{"too many signatures: 1996 more than 5"}},
		{2, 1, 1, []string{"too many signatures: 2 more than 1"}},
	} {
		var asked atomic.Int32
		c := Begin(t.Context(), withSignatures(signed, row.more).fields, func(ctx context.Context, name string) ([]string, error) {
			asked.Add(1)
			return ownKeys().LookupTXT(ctx, name)
		}, Limits{Signatures: row.limit})
		c.Write([]byte(signed.body))
		results := c.Finish(t.Context())
		if results[0].Result != policy.AuthPass || int(asked.Load()) != row.judged || len(results) != row.judged+len(row.want) {
			t.Fatalf("%+v: %d asked: %+v", row, asked.Load(), results)
		}
		var reasons []string
		for _, r := range results[row.judged:] {
			reasons = append(reasons, r.Reason)
			if r.Result != policy.AuthPolicy {
				t.Errorf("%+v", r)
			}
		}
		if diff := cmp.Diff(row.want, reasons); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", row, diff)
		}
	}
}

// TestAbort: at whatever point a message ends, no goroutine stays, and there
// are no results.
func TestAbort(t *testing.T) {
	signed := parse(sign(sign(plain, "ed", "simple/simple"), "rsa", "relaxed/relaxed"))
	long := strings.Repeat("x\r\n", maxPending)
	for name, until := range map[string]func(*Check, *held){
		"before the keys":      func(c *Check, dns *held) {},
		"body before the keys": func(c *Check, dns *held) { c.Write([]byte(signed.body)) },
		"keys before the body": func(c *Check, dns *held) {
			close(dns.released)
			eventually(t, "keys", func() bool { return c.WantsBody() && c.judged })
		},
		"all but the end": func(c *Check, dns *held) {
			close(dns.released)
			eventually(t, "keys", func() bool { return c.WantsBody() && c.judged })
			c.Write([]byte(signed.body))
		},
		"in the body": func(c *Check, dns *held) {
			close(dns.released)
			c.Write([]byte(long))
		},
		"after a refusal": func(c *Check, dns *held) {
			close(dns.released)
			c.Write([]byte(long))
			c.Write([]byte(strings.Repeat(" ", 2*maxBlankRun)))
		},
		"after the end": func(c *Check, dns *held) {
			close(dns.released)
			if got := words(c.Finish(t.Context())); got != "fail fail" {
				t.Errorf("at the end: %s", got)
			}
		},
	} {
		dns := hold(ownKeys())
		c := Begin(t.Context(), signed.fields, dns.LookupTXT, Limits{})
		until(c, dns)
		c.Abort()
		c.Abort()
		if n, err := c.Write([]byte(long)); n != len(long) || err != nil || c.WantsBody() {
			t.Errorf("%s: Write: %d, %v", name, n, err)
		}
		if results := c.Finish(t.Context()); results != nil {
			t.Errorf("%s: %+v", name, results)
		}
		if err := goleak.Find(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestManyAborts: the verifier doesn't lose goroutines with many messages cut
// short, as it does when its reader fails.
func TestManyAborts(t *testing.T) {
	signed := parse(sign(sign(plain, "ed", "simple/simple"), "rsa", "relaxed/relaxed"))
	for range 50 {
		c := Begin(t.Context(), signed.fields, ownKeys().LookupTXT, Limits{})
		eventually(t, "keys", func() bool { return c.WantsBody() && c.judged })
		c.Write(make([]byte, 3*blockSize))
		c.Abort()
	}
	goleak.VerifyNone(t)
}

// TestVerifierFaults: where the verifier fails, or finds what the guard should
// have, there is no pass, and no part is lost on the way.
func TestVerifierFaults(t *testing.T) {
	h := newHeader([]policy.Field{{Name: "DKIM-Signature", Value: " " + tagged}})
	s := readSignature(0, h.fields[0].Value, time.Now())
	if o := h.text(s); o != nil {
		t.Fatal(o)
	}
	for want, k := range map[policy.AuthResult]*key{
		policy.AuthTempError: nil, // a panic
		policy.AuthPermError: {algorithm: "dsa", data: []byte{1}},
	} {
		s.key = k
		r := startRun(s)
		feed([]*run{r}, part("x"))
		for how, o := range map[string]*objection{"at the end": s.verify(part("x")), "as it comes": r.end()} {
			if o == nil || o.result != want {
				t.Errorf("%s: %+v, want %s", how, o, want)
			}
		}
	}
	r := &run{read: make(chan struct{}, 1)}
	func() {
		defer func() { _ = recover() }()
		r.pass(part("x"), nil)
	}()
	if len(r.read) != 1 {
		t.Error("a part was not given back")
	}
}

// What is known of the keys needs no lookup.
func TestCachedKeys(t *testing.T) {
	m := parse(sign(plain, "ed", "relaxed/relaxed"))
	dns := ownKeys()
	none := func(context.Context, string) ([]string, error) {
		t.Error("the key was asked for")
		return nil, nil
	}
	cached := func(name string) ([]string, bool, error) {
		records, err := dns.LookupTXT(t.Context(), name)
		return records, true, err
	}
	c := Begin(t.Context(), m.fields, none, Limits{Cached: cached})
	c.Write([]byte(m.body))
	if results := c.Finish(t.Context()); len(results) != 1 || results[0].Result != policy.AuthPass {
		t.Errorf("%+v", results)
	}
}
