package dkim

import (
	"context"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	signer "github.com/emersion/go-msgauth/dkim"

	"gatemilter/policy"
)

// allocated gives the octets that f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// linear fails unless twice the input makes about twice the work: what the
// verifier copies is its work, in all its quadratic cases.
func linear(t *testing.T, what string, n int, work func(n int)) {
	t.Helper()
	work(n) // so that what is made once is there
	once, twice := allocated(func() { work(n) }), allocated(func() { work(2 * n) })
	if twice > 3*once {
		t.Errorf("%s: %d octets allocated for %d, %d for twice as much", what, once, n, twice)
	}
}

// fivefold signs a message five times.
func fivefold(raw, canonical string) message {
	for range 5 {
		raw = sign(raw, "ed", canonical)
	}
	return parse(raw)
}

// TestBlankLines: the verifier copies and reads a run of line ends again with
// each block, and keeps all of it. Runs that are let through cost no more than
// other text; longer ones end the verification.
func TestBlankLines(t *testing.T) {
	runs := map[string]string{
		"lines":        strings.Repeat("\r\n", maxBlankRun/2-1) + "x\r\n",
		"Unix lines":   strings.Repeat("\n", maxBlankRun/2-1) + "x\n",
		"blank lines":  strings.Repeat(" \t \r\n", maxBlankRun/5-1) + "x\r\n",
		"blanks":       strings.Repeat(" ", maxBlankRun-2) + "x\r\n",
		"carriage":     strings.Repeat("\r", maxBlankRun-2) + "x\r\n",
		"no such runs": strings.Repeat("x", maxBlankRun),
	}
	for name, run := range runs {
		for _, canonical := range []string{"simple/simple", "relaxed/relaxed"} {
			linear(t, name+", "+canonical, 8, func(n int) {
				m := parse(sign("From: joe@example.org\r\n\r\n", "ed", canonical))
				m.body = strings.Repeat(run, n)
				results := verifyIn(t, m, ownKeys().LookupTXT, 100)
				if results[0].Result != policy.AuthFail {
					t.Errorf("%s, %s: %+v", name, canonical, results)
				}
			})
		}
	}
	for _, text := range []string{"\r\n", "\n", " ", "\t\r\n", "\r"} {
		for _, canonical := range []string{"simple/simple", "relaxed/relaxed"} {
			m := fivefold("From: joe@example.org\r\n\r\n", canonical)
			m.body = strings.Repeat(text, 8<<20)
			var results []policy.DKIM
			octets := allocated(func() { results = verify(t, m, ownKeys().LookupTXT) })
			if octets > uint64(len(m.body))+4<<20 { // the test's own copy, and some
				t.Errorf("%q: %d octets allocated for %d", text, octets, len(m.body))
			}
			for _, r := range results {
				if r.Result != policy.AuthPolicy || r.Reason != "the body has more than 32768 blanks and line ends in a row" {
					t.Errorf("%q: %+v", text, r)
				}
			}
		}
	}
}

// TestContinuationLines: the verifier copies a field for each of its lines. In
// the relaxed form it gets one line; in the simple form, at most 500.
func TestContinuationLines(t *testing.T) {
	folded := func(lines int) string {
		return "From: joe@example.org\r\nSubject: x" + strings.Repeat("\r\n abc", lines-1) + "\r\n\r\nHi.\r\n"
	}
	signed := make(map[int]message)
	for _, n := range []int{4000, 8000} {
		signed[n] = parse(sign(folded(n), "ed", "relaxed/relaxed"))
	}
	linear(t, "relaxed", 4000, func(n int) {
		results := verify(t, signed[n], ownKeys().LookupTXT)
		if results[0].Result != policy.AuthPass {
			t.Errorf("%d lines: %+v", n, results)
		}
	})
	for lines, want := range map[int]policy.AuthResult{maxFieldLines: policy.AuthPass, maxFieldLines + 1: policy.AuthPolicy} {
		results := verify(t, parse(sign(folded(lines), "ed", "simple/simple")), ownKeys().LookupTXT)
		if results[0].Result != want {
			t.Errorf("%d lines: %+v, want %s", lines, results, want)
		}
	}
}

// TestUnsignedHeader: what isn't signed isn't shown to the verifier, however
// much it is.
func TestUnsignedHeader(t *testing.T) {
	options := signer.SignOptions{HeaderKeys: []string{"From", "Subject"}}
	m := parse(signWith(plain, "ed", "simple/simple", options))
	for range 2000 {
		m.fields = append(m.fields, policy.Field{Name: "X-Long", Value: strings.Repeat("\n x", 20000)})
	}
	var results []policy.DKIM
	if octets := allocated(func() { results = verify(t, m, ownKeys().LookupTXT) }); octets > 2<<20 {
		t.Errorf("%d octets allocated", octets)
	}
	if words(results) != "pass" {
		t.Errorf("%+v", results)
	}
}

// TestSignedHeaderSize: 256 KiB of signed fields are too much.
func TestSignedHeaderSize(t *testing.T) {
	for octets, want := range map[int]policy.AuthResult{200 << 10: policy.AuthPass, 256 << 10: policy.AuthPolicy} {
		raw := "From: joe@example.org\r\nX-Long: " + strings.Repeat("x", octets) + "\r\n\r\n"
		results := verify(t, parse(sign(raw, "ed", "simple/simple")), ownKeys().LookupTXT)
		if results[0].Result != want {
			t.Errorf("%d octets: %+v, want %s", octets, results, want)
		}
	}
}

// TestNamesTimesFields: each name is looked for among the signed fields only, of
// which there are no more than names.
func TestNamesTimesFields(t *testing.T) {
	m := parse(plain)
	for range 2000 {
		m.fields = append(m.fields, policy.Field{Name: "X", Value: "x"})
	}
	names := "h=from" + strings.Repeat(":x", maxNames-1)
	m.fields = append(m.fields, policy.Field{Name: "DKIM-Signature", Value: tagsWith("h=from", names, ":to:subject", "")})
	c := Begin(t.Context(), m.fields, zone{}.LookupTXT, Limits{})
	defer c.Abort()
	if lines := strings.Count(string(c.signatures[0].header), "\n"); lines > maxNames+5 {
		t.Errorf("%d lines of header for %d names", lines, maxNames)
	}
}

// TestLargeKeys: a key beyond the bounds isn't used (TestKeys), and costs no more
// than reading it once for all signatures.
func TestLargeKeys(t *testing.T) {
	var asked atomic.Int32
	dns := func(context.Context, string) ([]string, error) {
		asked.Add(1)
		return []string{rsaOf(256 << 10)}, nil
	}
	m := fivefold(plain, "simple/simple")
	m.body = strings.Repeat("x", 1<<20)
	for _, r := range verify(t, m, dns) {
		if r.Result != policy.AuthPolicy {
			t.Errorf("%+v", r)
		}
	}
	if asked.Load() != 1 {
		t.Errorf("%d questions", asked.Load())
	}
}

// TestMemory [A2]: what is held doesn't grow with the message.
func TestMemory(t *testing.T) {
	const bound = 1 << 20
	held := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for _, chunk := range []string{
		strings.Repeat("0123456789abcde\n", 4096),
		strings.Repeat("\r\n", maxBlankRun/2-1) + "x",
		strings.Repeat(" \t\r\n", maxBlankRun/4-1) + "x",
	} {
		for _, canonical := range []string{"simple/simple", "relaxed/relaxed"} {
			m, dns := fivefold(plain, canonical), ownKeys()
			before, piece := held(), []byte(chunk)
			c := Begin(t.Context(), m.fields, dns.LookupTXT, Limits{})
			for n := range 128 {
				c.Write(piece)
				if n%16 != 0 {
					continue
				}
				if now := held(); now > before+bound {
					t.Errorf("%s, %.10q: %d octets held after %d", canonical, chunk, now-before, n*len(piece))
				}
			}
			if got := words(c.Finish(t.Context())); got != "fail fail fail fail fail" {
				t.Error(got)
			}
		}
	}
}
