package dkim

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"gatemilter/policy"
)

// TestBodyAtTheLimit [A2]: the body that may be held is verified where Finish is
// called, the next octet needs runs; the results don't tell.
func TestBodyAtTheLimit(t *testing.T) {
	for _, octets := range []int{0, 1, maxPending - 1, maxPending, maxPending + 1, 2 * maxPending, 2*maxPending + 1} {
		text := strings.Repeat(strings.Repeat("0123456 ", 9)+"\r\n", octets/74+1)[:octets]
		raw := "From: joe@example.org\r\n\r\n" + text
		m := parse(sign(sign(raw, "ed", "relaxed/relaxed"), "rsa", "simple/simple"))
		for _, size := range []int{4093, blockSize, 65535, maxPending, octets + 1} {
			for _, changed := range []bool{false, true} {
				what, want := fmt.Sprintf("%d octets by %d, changed %t", octets, size, changed), "pass pass"
				if changed {
					m.body, want = text+"x", "fail fail"
				} else {
					m.body = text
				}
				outgrown := false
				results := verifyWith(t, m, ownKeys().LookupTXT, size, func(c *Check) {
					outgrown = c.runs != nil
					if cap(c.body.held) > maxPending {
						t.Errorf("%s: memory for %d octets", what, cap(c.body.held))
					}
				})
				if words(results) != want || outgrown != (len(m.body) > maxPending) {
					t.Errorf("%s: %s, outgrown %t", what, words(results), outgrown)
				}
			}
		}
	}
}

// TestAtTheEndAsItComes: it makes no difference when a message is verified.
func TestAtTheEndAsItComes(t *testing.T) {
	messages := map[string]message{
		"settled":     withSignatures(parse(plain), 7),
		"two bodies":  parse(sign(sign(plain, "ed", "simple/simple")+"more\r\n", "rsa", "relaxed/relaxed")),
		"two headers": parse("Subject: another\r\n" + sign(sign(plain, "ed", "simple/relaxed"), "rsa", "relaxed/simple")),
		"no body":     parse(sign("From: joe@example.org\r\n\r\n", "ed", "simple/relaxed")),
		"refused":     parse(sign(plain+strings.Repeat(" ", maxBlankRun), "ed", "simple/relaxed")),
	}
	keys := ownKeys()
	for name, record := range readKeys(t) {
		keys[name] = record
	}
	for _, file := range must(filepath.Glob("testdata/messages/*.eml")) {
		name := strings.TrimSuffix(filepath.Base(file), ".eml")
		m := readMessage(t, name)
		messages[name] = m
		m.body += "\r\nx"
		messages[name+", changed"] = m
	}
	for name, m := range messages {
		for _, size := range []int{1, 2, 7, len(m.body) + 1} {
			if size == 1 && len(m.body) > maxBlankRun {
				size = 1000 // for time
			}
			end, comes := verifyIn(t, m, keys.LookupTXT, size), verifyAsItComes(t, m, keys.LookupTXT, size)
			if diff := cmp.Diff(end, comes); diff != "" || len(end) == 0 {
				t.Errorf("%s, by %d (-end +comes):\n%s", name, size, diff)
			}
		}
	}
}

// TestNoGoroutines: with its keys there, a message costs no goroutine as long as
// its body is held.
func TestNoGoroutines(t *testing.T) {
	m := fivefold(plain, "relaxed/relaxed")
	c := Begin(t.Context(), m.fields, ownKeys().LookupTXT, Limits{})
	eventually(t, "keys", func() bool { return c.WantsBody() && c.judged })
	c.Write(make([]byte, maxPending))
	goleak.VerifyNone(t)
	if got := words(c.Finish(t.Context())); got != "fail fail fail fail fail" {
		t.Error(got)
	}
}

// TestBodyReused: a message knows nothing of the one whose memory it has.
func TestBodyReused(t *testing.T) {
	m := parse(sign("From: joe@example.org\r\n\r\nHi.\r\n", "ed", "simple/simple"))
	for _, earlier := range []string{
		strings.Repeat("x", maxPending),
		strings.Repeat(" ", maxBlankRun),
		strings.Repeat(" ", maxBlankRun+1),
		strings.Repeat("x", 2*maxPending) + strings.Repeat("\n", maxBlankRun),
	} {
		for name, end := range map[string]func(*Check){
			"Abort":  (*Check).Abort,
			"Finish": func(c *Check) { c.Finish(t.Context()) },
		} {
			c := Begin(t.Context(), m.fields, ownKeys().LookupTXT, Limits{})
			c.Write([]byte(earlier))
			end(c)
			if c.body != nil {
				t.Errorf("%s: the body is still held", name)
			}
			padded := m
			padded.body = strings.Repeat("\n", maxBlankRun)
			for m, want := range map[*message]policy.AuthResult{&m: policy.AuthPass, &padded: policy.AuthFail} {
				if got := verify(t, *m, ownKeys().LookupTXT); got[0].Result != want {
					t.Errorf("after %.10q and %s: %+v", earlier, name, got)
				}
			}
		}
	}
}
