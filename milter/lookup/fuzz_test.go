package lookup

import (
	"bufio"
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"
)

// splitNetstrings takes replies apart. Unlike the reader of requests it knows
// no limits.
func splitNetstrings(s string) (parts []string, ok bool) {
	for s != "" {
		digits, rest, _ := strings.Cut(s, ":")
		n := 0
		for _, d := range digits {
			n = 10*n + int(d-'0')
		}
		if n >= len(rest) || rest[n] != ',' || netstring(rest[:n]) != s[:len(digits)+n+2] {
			return parts, false
		}
		parts, s = append(parts, rest[:n]), rest[n+1:]
	}
	return parts, true
}

// Whatever an MTA sends: the replies are netstrings with a word of the protocol,
// and neither they nor the reports depend on how the octets arrive.
func FuzzStream(f *testing.F) {
	for _, seed := range []string{
		"6:route ,23:route alice@example.com,", "9:echo a\x00b,7:zero x,", "8:panic x,6:xs 999,",
		"07:route x,", "99999:", "7:route x;", "5:route,", "0:,", "2: x,", "6:echo \n,", "8:temp \xff\x00\x7f,", "4:abc",
	} {
		f.Add([]byte(seed), uint16(3))
	}
	f.Fuzz(func(t *testing.T, octets []byte, size uint16) {
		got := play(octets, 1<<20)
		replies, ok := splitNetstrings(got.replies)
		if !ok {
			t.Fatalf("replies %q", got.replies)
		}
		for _, r := range replies {
			word, text, ok := strings.Cut(r, " ")
			good := word == "OK" && strings.TrimSpace(text) != "" && !strings.ContainsAny(text, "\x00\r\n") ||
				word == "NOTFOUND" && text == "" || word == "TEMP" && text != ""
			if !ok || !good || len(r) > maxReply {
				t.Errorf("reply %.300q", r)
			}
		}
		again := play(octets, int(size%512)+1)
		if again.replies != got.replies || !slices.Equal(again.reports, got.reports) {
			t.Errorf("in pieces of %d: %q, %q, want %q, %q", size%512+1, again.replies, again.reports, got.replies, got.reports)
		}
	})
}

// A request is read back as it was written, whatever comes behind it.
func FuzzRequest(f *testing.F) {
	f.Add("route", "alice@example.com", []byte("6:route ,"))
	f.Add("t", "", []byte(nil))
	f.Add("tls:policy", "[192.0.2.1]:25 ,\x00\xff", []byte{0})
	f.Fuzz(func(t *testing.T, name, key string, behind []byte) {
		payload := name + " " + key
		if name == "" || strings.Contains(name, " ") || len(payload) > maxRequest {
			return
		}
		framed := netstring(payload)
		r := bufio.NewReaderSize(io.MultiReader(strings.NewReader(framed), bytes.NewReader(behind)), requestSize)
		gotName, gotKey, size, err := peekRequest(r)
		if err != nil || string(gotName) != name || string(gotKey) != key || size != len(framed) {
			t.Errorf("%q: read back as %q, %q, %d octets, %v", framed, gotName, gotKey, size, err)
		}
	})
}
