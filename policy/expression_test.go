package policy

import (
	"context"
	"strings"
	"testing"
)

// I14: header names match in any case, values as written.
func TestExpressionNameHasNoCase(t *testing.T) {
	for _, c := range []struct {
		expression, line string
		want             bool
	}{
		{`^X-Spam-Gw: spam$`, "x-spam-gw: spam", true},
		{`^X-Spam-Gw: spam$`, "X-SPAM-GW: Spam", false},
		{`^x-spam-gw:`, "X-Spam-GW: anything", true},
		{`^X-(?:Spam|Phishy): yes`, "x-PHISHY: yes", true},
		{`^X-(?:Spam|Phishy): yes`, "x-PHISHY: YES", false},
		{`^(?:X-Spam: yes|X-Other: no)`, "x-spam: yes", true},
		{`^(?:X-Spam: yes|X-Other: no)`, "x-other: NO", false},
		{`^X-Sp[a-c]m: [a-c]`, "X-SPBM: b", true},
		{`^X-Sp[a-c]m: [a-c]`, "X-SPBM: B", false},
		{`^X-S+p?am: yes`, "x-SSam: yes", true},
		{`^(?:X-)?Spam: yes`, "SPAM: yes", true},
		{`^(?:X-){2}Spam: yes`, "x-X-spam: yes", true},
		{`(?i)^X-Spam: yes`, "x-spam: YES", true},
		{`^X-Spam\x3a yes`, "x-spam: yes", true},
		{`^X-Spam\x3a yes`, "x-spam: YES", false},
		{`^X-[^:]*: yes`, "x-whatever: yes", true},
		{`^X-[^:]*: yes`, "x-whatever: YES", false},
		// Without a colon there is no saying where the value begins.
		{`^X-Spam.*yes`, "x-spam: YES", true},
	} {
		if _, got := expression(c.expression).Match([]byte(c.line)); got != c.want {
			t.Errorf("%s on %q: %v, want %v", c.expression, c.line, got, c.want)
		}
	}
}

func TestExpressionErrors(t *testing.T) {
	for _, c := range []struct{ expression, want string }{
		{`^X-(`, "missing closing )"},
		{`^X-(?=spam)`, "invalid or unsupported Perl syntax"},
		{`^(X)-\1`, "invalid escape sequence"},
		{`[\s\S]{0,1000}foo`, "instructions: at most 1000"},
		{`(?:a{1,50}){1,50}`, "invalid repeat count"},
		{strings.Repeat("x", maxExpressionLen+1), "expression of 4097 octets"},
	} {
		_, err := CompileExpression(c.expression)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.30s: error %v, want one with %q", c.expression, err, c.want)
		}
	}
}

// I15: exactly one group captures the score.
func TestExpressionGroups(t *testing.T) {
	for _, c := range []struct{ expression, want string }{
		{`^X-Spam: (\d+)`, ""},
		{`^X-(?:Spam|Gw): (\d+)`, ""},
		{`^X-Spam: \d+`, "no capture group"},
		{`^X-(Spam|Gw): (\d+)`, "write (?:…) for the others"},
	} {
		err := expression(c.expression).CheckScoring()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.expression, err, c.want)
		}
	}
}

// The work for one field is bounded whatever its length.
func TestExpressionInputIsBounded(t *testing.T) {
	e := expression(`needle`)
	line := []byte(strings.Repeat("x", maxMatchLen) + "needle")
	if _, ok := e.Match(line); ok {
		t.Error("matched beyond the limit")
	}
	if _, ok := e.Match(line[5:]); ok {
		t.Error("matched across the limit")
	}
	if _, ok := e.Match(line[6:]); !ok {
		t.Error("did not match within the limit")
	}
}

func TestParseScore(t *testing.T) {
	for _, c := range []struct {
		text string
		want float64
		ok   bool
	}{
		{"0.50", 0.5, true}, {"0,50", 0.5, true}, {"1", 1, true}, {"1.", 1, true}, {".5", 0.5, true},
		{"+2.5", 2.5, true}, {"-2.5", -2.5, true}, {"00012", 12, true},
		{"", 0, false}, {".", 0, false}, {",", 0, false}, {"-", 0, false}, {"--1", 0, false}, {"+-1", 0, false},
		{"NaN", 0, false}, {"Inf", 0, false}, {"-inf", 0, false}, {"1e999", 0, false}, {"1e1", 0, false},
		{"0x10", 0, false}, {"1_000", 0, false}, {"1.2.3", 0, false}, {"1,2.3", 0, false}, {" 1", 0, false},
		{"1 ", 0, false}, {"1-", 0, false}, {"٣", 0, false}, {strings.Repeat("9", 33), 0, false}, {strings.Repeat("9", 32), 1e32, true},
	} {
		got, err := ParseScore(c.text)
		if (err == nil) != c.ok || got != c.want {
			t.Errorf("%q: %v, %v; want %v, ok %v", c.text, got, err, c.want, c.ok)
		}
	}
}

// The threshold itself is spam, at every precision.
func TestReadTagsAtThreshold(t *testing.T) {
	threshold := 0.1
	for text, want := range map[string]bool{"0.1": true, "0.10": true, "0.09999999": false, "0.1000001": true} {
		spam, _, err := ReadTags(context.Background(), expression(`^S: (.*)$`), &threshold, []Field{{"S", text}})
		if err != nil || spam.IsSpam != want {
			t.Errorf("%s: spam %v, %v; want %v", text, spam.IsSpam, err, want)
		}
	}
}

func FuzzField(f *testing.F) {
	f.Add("X-Spam", "a\r\n b\n\tc")
	f.Add("X-Gatemilter-Route ", "\n\n")
	f.Add("", "\x00")
	e := expression(`^X-(?:spam|phishy): (0\.\d*|1\.0*)$`)
	f.Fuzz(func(t *testing.T, name, value string) {
		field := Field{name, value}
		line := string(field.Line(nil))
		if strings.ContainsAny(line[min(len(trimBlanks(name)), len(line)):], "\r\n") {
			t.Errorf("%q is not unfolded", line)
		}
		if capture, ok := e.Match([]byte(line)); ok {
			if _, err := ParseScore(capture); err != nil {
				t.Errorf("captured %q: %v", capture, err)
			}
		}
	})
}
