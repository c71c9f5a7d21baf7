package tlsprobe

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

func parse(text []byte) (reply, error) {
	return readReply(bufio.NewReaderSize(bytes.NewReader(text), maxLine))
}

func TestReply(t *testing.T) {
	for _, c := range []struct {
		text string
		want string // code and lines, or the error
	}{
		{"220 relay\r\n", `220 ["relay"]`},
		{"220\r\n", `220 [""]`},
		{"250-a\r\n250-b c\r\n250 d\r\nmore", `250 ["a" "b c" "d"]`},
		{"250-a\n250\n", `250 ["a" ""]`},
		{"250-a\r\n550 b\r\n", "the codes 250 and 550 stand in one reply"},
		{"220relay\r\n", `what it sent is no SMTP reply: "220relay"`},
		{"120 relay\r\n", `what it sent is no SMTP reply: "120 relay"`},
		{"620 relay\r\n", `what it sent is no SMTP reply: "620 relay"`},
		{"\r\n", `what it sent is no SMTP reply: ""`},
		{"\x16\x03\x01", `what it sent is no SMTP reply: "\x16\x03\x01"`},
		{strings.Repeat("250-x\r\n", maxLines-1) + "250 y\r\n", `250 [` + strings.Repeat(`"x" `, maxLines-1) + `"y"]`},
		{strings.Repeat("250-x\r\n", maxLines) + "250 y\r\n", "a reply has more than 100 lines"},
		{"220 " + strings.Repeat("a", maxLine-6) + "\r\n", `220 ["` + strings.Repeat("a", maxLine-6) + `"]`},
		{"220 " + strings.Repeat("a", maxLine-4) + "\r\n", `a line has more than 2048 octets: it begins with "220 ` + strings.Repeat("a", 96) + `"…`},
		{"220 rel", "EOF"},
		{"250-a\r\n", "EOF"},
		{"", "EOF"},
	} {
		r, err := parse([]byte(c.text))
		got := fmt.Sprintf("%d %q", r.code, r.lines)
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%.40q: got %s, want %s", c.text, got, c.want)
		}
	}
}

// FuzzReply: a reply that is read and written again is the same reply; what is none
// is a finding or the end; and nothing that is kept exceeds the limits.
func FuzzReply(f *testing.F) {
	for _, seed := range []string{"220 relay\r\n", "250-a\r\n250-STARTTLS\r\n250 b\r\n", "250-a\n550 b\n", "\x15\x03\x01\x00\x02\x02\x0a", "HTTP/1.1 400\r\n", "220", "250-\r\n250\r\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := parse(text)
		var finding Finding
		if err != nil {
			if !errors.Is(err, io.EOF) && (!errors.As(err, &finding) || finding.Problem != NotSMTP || len(finding.Reason) > 1000) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		var again strings.Builder
		for i, line := range r.lines {
			separator := "-"
			if i == len(r.lines)-1 {
				separator = " "
			}
			fmt.Fprintf(&again, "%d%s%s\r\n", r.code, separator, line)
			if len(line) > maxLine {
				t.Fatalf("a line of %d octets", len(line))
			}
		}
		second, err := readReply(bufio.NewReaderSize(strings.NewReader(again.String()), maxLine+2))
		if err != nil || second.code != r.code || !slices.Equal(second.lines, r.lines) || len(r.lines) > maxLines {
			t.Fatalf("%q: %v; written as %q: %v, %v", text, r, again.String(), second, err)
		}
		r.offers("STARTTLS")
	})
}
