package received

import (
	"strings"
	"testing"
)

// TestParseAllocatesNothing holds for every header with an answer: the errors
// of netip, for what nearly is an address, are the only garbage.
func TestParseAllocatesNothing(t *testing.T) {
	for _, h := range append(corpus(t, "received.jsonl"), corpus(t, "own.jsonl")...) {
		hop := Parse(h.Received)
		if n := testing.AllocsPerRun(10, func() { Parse(h.Received) }); n > 0 && hop.Kind == Relay {
			t.Errorf("%s: %v allocations\n%q", h.ID, n, h.Received)
		}
	}
}

// TestLexerAdvances: a token never begins before the end of the one before, so
// a pass over a text reads each byte once; the number of passes is fixed.
func TestLexerAdvances(t *testing.T) {
	for _, s := range []string{
		strings.Repeat("(", 4096),
		strings.Repeat(")", 4096),
		strings.Repeat(`"`, 4097),
		strings.Repeat(`\`, 4096),
		strings.Repeat("(a (b) c) ", 400),
		strings.Repeat("[192.0.2.1] ", 400),
	} {
		l := lexer{text: s}
		for last := 0; ; last = l.pos {
			if l.next().kind == end {
				break
			}
			if l.pos <= last {
				t.Fatalf("%.20q…: no progress at %d", s, l.pos)
			}
		}
		if l.pos != len(s) {
			t.Errorf("%.20q…: ended at %d of %d", s, l.pos, len(s))
		}
	}
}

func BenchmarkParse(b *testing.B) {
	headers := corpus(b, "received.jsonl")
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		Parse(headers[n%len(headers)].Received)
		n++
	}
}
