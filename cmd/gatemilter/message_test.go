package main

import (
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatemilter/policy"
)

func TestSplitMessage(t *testing.T) {
	field := func(name, value string) policy.Field { return policy.Field{Name: name, Value: value} }
	for _, c := range []struct {
		name, message string
		header        []policy.Field
		body          string
	}{
		{"LF", "A: b\nC:d\n\nbody\nmore\n", []policy.Field{field("A", " b"), field("C", "d")}, "body\r\nmore\r\n"},
		{"CRLF", "A: b\r\n\tfolded\r\n\r\nbody\r\n", []policy.Field{field("A", " b\n\tfolded")}, "body\r\n"},
		{"mbox", "From x\nA: b\n\n", []policy.Field{field("A", " b")}, ""},
		{"header only", "A: b", []policy.Field{field("A", " b")}, ""},
		{"no empty line", "A: b\nnot a field\nC: d\n", []policy.Field{field("A", " b")}, "not a field\r\nC: d\r\n"},
		{"blank before the colon", "A : b\n\n", []policy.Field{field("A ", " b")}, ""},
		{"no final line end", "A: b\n\nbody", []policy.Field{field("A", " b")}, "body"},
		{"a CR of its own", "A: b\n\na\rb\r\n", []policy.Field{field("A", " b")}, "a\rb\r\n"},
		{"a line as long as the buffer", "A: b\n\n" + strings.Repeat("x", 4095) + "\r\ny\n", []policy.Field{field("A", " b")}, strings.Repeat("x", 4095) + "\r\ny\r\n"},
	} {
		header, body, err := splitMessage(strings.NewReader(c.message))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if diff := cmp.Diff(c.header, header); diff != "" {
			t.Errorf("%s: -want +got\n%s", c.name, diff)
		}
		if got := must(io.ReadAll(body)); string(got) != c.body {
			t.Errorf("%s: body %q, want %q", c.name, got, c.body)
		}
	}
	for _, bad := range []string{"", "\n", "no field\n", " : x\n", strings.Repeat("A: b\n", maxHeaderBytes/4)} {
		if header, _, err := splitMessage(strings.NewReader(bad)); err == nil {
			t.Errorf("%.20q: %d fields, want an error", bad, len(header))
		}
	}
}
