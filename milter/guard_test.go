package milter

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"gatemilter/policy"
)

// Answers wait until the next read would block, but not without bound.
func TestWritesAreCoalesced(t *testing.T) {
	big := policy.Edit{Op: policy.AddField, Name: "X-A", Value: strings.Repeat("v", 40<<10)}
	message := join(fullOffer, someConnect, mail("<a>"), rcpt("<b>"), rcpt("<c>"), aMessage, abort, quit)
	for name, c := range map[string]struct {
		edits []policy.Edit
		want  int
	}{
		"one write for all":     {nil, 1},
		"one for each 64 KiB":   {[]policy.Edit{big, big, big, big}, 3},
		"a little more than it": {[]policy.Edit{big, big}, 2},
	} {
		conn := &scripted{in: bytes.NewReader(message), size: len(message), closed: make(chan struct{})}
		playOn(t, conn, &diary{outcome: always(Outcome{Edits: c.edits})})
		if conn.writes != c.want {
			t.Errorf("%s: %d writes, want %d", name, conn.writes, c.want)
		}
	}
}

// An inbox grows with what arrives, keeps all of it in order, and is small
// again at rest.
func TestInbox(t *testing.T) {
	text := strings.Repeat("0123456789abcde\n", 20000)
	for _, total := range []int{10, smallInbox, smallInbox + 1, largeInbox, largeInbox + 1, len(text)} {
		var b inbox
		r := strings.NewReader(text[:total])
		for b.len() < total {
			if err := b.fill(r); err != nil {
				t.Fatal(err)
			}
		}
		if got := string(b.take(total)); got != text[:total] {
			t.Errorf("%d octets: not what arrived", total)
		}
		if n := len(b.buf); n > 2*max(total, largeInbox) {
			t.Errorf("%d octets: a buffer of %d", total, n)
		}
		b.rest()
		if len(b.buf) != smallInbox {
			t.Errorf("%d octets: a buffer of %d at rest", total, len(b.buf))
		}
		if err := b.fill(r); err != io.EOF {
			t.Errorf("%d octets: %v at the end", total, err)
		}
	}
}

// Octets that are left over move to the front; those taken in small parts need
// no more room.
func TestInboxMoves(t *testing.T) {
	text := strings.Repeat("0123456789abcde\n", 2000)
	var b inbox
	var got strings.Builder
	for r := io.Reader(strings.NewReader(text)); ; {
		if err := b.fill(r); err != nil {
			break
		}
		for b.len() >= 1000 {
			got.Write(b.take(1000))
		}
	}
	got.Write(b.take(b.len()))
	if got.String() != text {
		t.Error("not what arrived")
	}
	if len(b.buf) != smallInbox {
		t.Errorf("a buffer of %d octets for 1000 at a time", len(b.buf))
	}
}
