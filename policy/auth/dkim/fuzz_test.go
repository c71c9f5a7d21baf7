package dkim

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"gatemilter/policy"
)

// FuzzCheck: whatever the header, the body and the key are, there is one result
// for each signature within the limit, in order, fit to be shown; and how the body
// is cut makes no difference, nor when it is verified.
func FuzzCheck(f *testing.F) {
	for _, name := range must(filepath.Glob("testdata/messages/*.eml")) {
		header, body, _ := strings.Cut(crlf(string(must(os.ReadFile(name)))), "\r\n\r\n")
		f.Add(header, body, "v=DKIM1; k=ed25519; p=QGdhZxdcPpvcOacCRlU1trafi/V5qNgJPiEW53SaR/E=", uint16(3))
	}
	f.Add("From: a@example.org\r\nDKIM-Signature: "+tagged, "\r\n\r\n", "p=;t=y:s", uint16(1))
	f.Fuzz(func(t *testing.T, header, body, record string, size uint16) {
		var m message
		want := 0
		for line := range strings.SplitSeq(header, "\r\n") {
			name, value, _ := strings.Cut(line, ":")
			if n := len(m.fields); n > 0 && line != "" && strings.ContainsRune(" \t\n", rune(line[0])) {
				m.fields[n-1].Value += "\n" + line
				continue
			}
			m.fields = append(m.fields, policy.Field{Name: name, Value: value})
		}
		for i := range m.fields {
			if m.fields[i].Is("DKIM-Signature") {
				want++
			}
		}
		m.body = body
		dns := func(context.Context, string) ([]string, error) { return []string{record}, nil }
		results := verify(t, m, dns)
		if got := len(results); got != min(want, defaultSignatures+1) {
			t.Errorf("%d results for %d signatures", got, want)
		}
		for _, r := range results {
			if r.Result == "" || (r.Result == policy.AuthPass) != (r.Reason == "") || !fit(r) {
				t.Errorf("%+v", r)
			}
		}
		if diff := cmp.Diff(results, verifyIn(t, m, dns, 1+int(size))); diff != "" {
			t.Errorf("in one piece and in pieces of %d (-whole +pieces):\n%s", 1+int(size), diff)
		}
		if diff := cmp.Diff(results, verifyAsItComes(t, m, dns, 1+int(size))); diff != "" {
			t.Errorf("at the end and as it comes, in pieces of %d (-end +comes):\n%s", 1+int(size), diff)
		}
	})
}

// fit says whether a result may be shown: short, and without what ends a line.
func fit(r policy.DKIM) bool {
	for _, s := range []string{r.Domain, r.Selector, r.Identity, r.Algorithm, r.Signature, r.Reason} {
		if len(s) > 700 || !utf8.ValidString(s) || strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f }) {
			return false
		}
	}
	return true
}

// FuzzBlankRuns: a body is refused if there is a run of more blanks and line ends
// than may be, however it is cut.
func FuzzBlankRuns(f *testing.F) {
	for _, size := range []uint16{1, 2, 3, 1000, maxBlankRun - 1, maxBlankRun, maxBlankRun + 1, 65535} {
		f.Add("x", uint16(maxBlankRun), "x", uint16(maxBlankRun), size)
		f.Add("", uint16(maxBlankRun+1), "", uint16(0), size)
		f.Add("", uint16(maxBlankRun), "\n", uint16(0), size)
		f.Add("x\n", uint16(maxBlankRun-1), "x", uint16(maxBlankRun+1), size)
		f.Add("\r", uint16(1), " ", uint16(maxBlankRun-2), size)
	}
	f.Fuzz(func(t *testing.T, first string, run uint16, second string, another uint16, size uint16) {
		text := first + strings.Repeat(" ", int(run)) + second + strings.Repeat("\n", int(another))
		want := true
		for _, run := range strings.FieldsFunc(text, func(c rune) bool { return !strings.ContainsRune(blanks, c) }) {
			want = want && len(run) <= maxBlankRun
		}
		b, got := new(body), true
		for rest := []byte(text); got && len(rest) > 0; {
			n := min(len(rest), max(1, int(size)))
			got = b.scan(rest[:n])
			rest = rest[n:]
		}
		if got != want {
			t.Errorf("%q, %d blanks, %q, %d line ends, in pieces of %d: %t", first, run, second, another, size, got)
		}
	})
}

// FuzzTags: what is read as tags is read the same when written again, in any
// order of blanks.
func FuzzTags(f *testing.F) {
	f.Add(tagged)
	f.Add("v=DKIM1; p=; t=y:s")
	f.Fuzz(func(t *testing.T, list string) {
		read, err := parseTags(list)
		if err != nil {
			return
		}
		var written strings.Builder
		for name, value := range read {
			written.WriteString(" \t" + name + "\r\n = " + value + " ;")
		}
		again, err := parseTags(written.String())
		if diff := cmp.Diff(read, again); diff != "" || err != nil {
			t.Errorf("%v (-read +again):\n%s", err, diff)
		}
	})
}
