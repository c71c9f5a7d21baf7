package policy

import "testing"

func TestDecodeXtext(t *testing.T) {
	for encoded, want := range map[string]string{
		"":                      "",
		"alice@example.com":     "alice@example.com",
		"alice+2Bx@example.com": "alice+x@example.com",
		"+3calice+3E+2b":        "<alice>+",
		"+":                     "+",
		"a+2":                   "a+2",
		"a+2g":                  "a+2g",
		"a+-1":                  "a+-1",
		"a++2B":                 "a++",
	} {
		if got := DecodeXtext(encoded); got != want {
			t.Errorf("%q is %q, want %q", encoded, got, want)
		}
	}
}
