package spf

import (
	"strings"
	"testing"
)

func TestIsRecord_Section4_5(t *testing.T) {
	for txt, want := range map[string]bool{
		"v=spf1":        true,
		"v=spf1 -all":   true,
		"V=SPF1 -all":   true,
		"v=spf1-all":    false,
		"v=spf10 -all":  false,
		"v=spf1\t-all":  false,
		" v=spf1 -all":  false,
		"v=ſpf1 -all":   false,
		"v=spf2.0/pra ": false,
		"v=spf":         false,
		"":              false,
	} {
		if got := isRecord(txt); got != want {
			t.Errorf("isRecord(%q) = %t", txt, got)
		}
	}
}

func TestCheckRecord_Section12(t *testing.T) {
	for _, terms := range []string{
		"", "   ", "-all", "?ALL", "a", "a/24", "a//64", "a/24//64", "a:example.com", "a:example.com./0//0", "+mx:%{d}/32//128",
		"ptr", "ptr:example.com", "ip4:192.0.2.0/24", "ip4:192.0.2.1", "ip6:2001:db8::/32", "ip6:::ffff:192.0.2.1/96",
		"include:_spf.example.com", "exists:%{ir}.%{l1r+-}._spf.%{D}", "exists:%{i}", "a:%%.example.com", "a:_x.ex-ample",
		"redirect=_spf.%{d2}", "exp=why.example.com", "x-y=", "include=example.com", "x.y_z=a/b:%{c}%{d}%_", "exp=a.example redirect=b.example", "v=spf1",
		"a:example.1a", "a:foo:bar/baz.example.com",
	} {
		if err := checkRecord("v=spf1 " + terms); err != nil {
			t.Errorf("%q: %v", terms, err)
		}
	}
	for _, term := range []string{
		"moo", "all:", "all.", "-", "+-all", "- all x", "a:", "a/", "a/33", "a//129", "a/024", "a:example.com/", "a:museum", "a:example.-com",
		"a:abc.123", "a:exämple.com", "a:example.com\x00", "mx/", "mx:%{d", "mx:%d.example.com", "mx:%{0d}.example.com", "mx:%{d0}.example.com",
		"exists:%{c}.example.com", "exists:%{y}.example.com", "exists", "exists:", "include",
		"ip4", "ip4:", "ip4:192.0.2", "ip4:192.0.2.256", "ip4:192.0.2.01", "ip4:192.0.2.0/032", "ip4:192.0.2.0/33", "ip4:2001:db8::1", "ip4:192.0.2.1:25",
		"ip6:192.0.2.1", "ip6:2001:db8::/129", "ip6:2001:db8::1%eth0", "ip6:2001:db8::g", "ptr:", "ptr/24",
		"redirect=", "redirect=%{d", "-redirect=example.com", "redirect:example.com", "exp=", "exp=-all", "1x=y", "-x=y", "x=%a", "=", "\t",
	} {
		if err := checkRecord("v=spf1 ip4:192.0.2.1 " + term + " -all"); err == nil {
			t.Errorf("%q: no error", term)
		}
	}
	for _, twice := range []string{"redirect=a.example REDIRECT=a.example", "exp=a.example -all exp=b.example"} {
		if err := checkRecord("v=spf1 " + twice); err == nil || !strings.HasSuffix(err.Error(), "= is there twice") {
			t.Errorf("%q: %v", twice, err)
		}
	}
}
