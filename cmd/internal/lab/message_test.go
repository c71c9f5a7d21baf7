package lab

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestParseMessage(t *testing.T) {
	for raw, want := range map[string]Message{
		"":                                    {},
		"Subject: one\n\nbody\n\nmore\n":      {Header: []Field{{"Subject", "one"}}, Body: "body\n\nmore\n"},
		"B: 1\na:2\nB : 3 \n":                 {Header: []Field{{"B", "1"}, {"a", "2"}, {"B", "3"}}},
		"R: from a\n\tby b;\n  today\nS:\n\n": {Header: []Field{{"R", "from a\tby b;  today"}, {"S", ""}}},
		"\nonly a body":                       {Body: "only a body"},
	} {
		want.Raw = raw
		if got, err := parseMessage([]byte(raw)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %+v, %v; want %+v", raw, got, err, want)
		}
	}
	for raw, want := range map[string]string{
		"no colon\n\n": `"no colon" is not a header field`,
		" folded\n\n":  `" folded" is not a header field`,
		"a b: c\n":     `"a b: c" is not a header field`,
		": c\n":        `": c" is not a header field`,
	} {
		if _, err := parseMessage([]byte(raw)); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", raw, err, want)
		}
	}
}

func TestMessageValues(t *testing.T) {
	m, err := parseMessage([]byte("Received: 2\nSubject: x\nreceived: 1\n\n"))
	noError(t, err)
	if got, want := m.Values("RECEIVED"), []string{"2", "1"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// FuzzParseMessage: a header written down from its fields reads back as the same fields, and nothing is lost.
func FuzzParseMessage(f *testing.F) {
	for _, raw := range []string{"a: b\n\nc", "a: b\n\tc\nd:\n", "\n", "a: b\n \n c\n\n", "a:\r\n b\r\n\r\n"} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		m, err := parseMessage([]byte(raw))
		if err != nil {
			return
		}
		if m.Raw != raw || !strings.HasSuffix(raw, m.Body) {
			t.Errorf("%q: raw %q, body %q", raw, m.Raw, m.Body)
		}
		var again strings.Builder
		for _, field := range m.Header {
			again.WriteString(field.Name + ": " + field.Value + "\n")
		}
		got, err := parseMessage([]byte(again.String() + "\n" + m.Body))
		if err != nil || !slices.Equal(got.Header, m.Header) || got.Body != m.Body {
			t.Errorf("%q: %+v reads back as %+v, %v", raw, m, got, err)
		}
	})
}
