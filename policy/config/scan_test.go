package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// Lines that ini.v1 takes for something else are refused by scan; had scan let them
// pass, crossCheck would refuse the file.
func TestLinesThatReadersTakeDifferently(t *testing.T) {
	for _, line := range []string{
		"k = `a` b", "k = `a\nb`", "k = `", `k = """a""" b`, "k = \"\"\"a\nb\"\"\"", "- = a", `"k" = a`, "`k` = a", `"""key""" = a`,
		"[a] b", "[a]b]", "[]", "[a", "= a", "k", "k: a", "2001:db8::1 = x = `y`",
	} {
		var r report
		sections := scan(&r, "x", []byte("[s]\n"+line+"\n"))
		if r.failures == 0 {
			t.Errorf("%q is accepted", line)
		}
		if line == "2001:db8::1 = x = `y`" || line == "[a] b" || line == "[a]b]" {
			continue
		}
		if err := crossCheck([]byte("[s]\n"+line+"\n"), sections); err == nil {
			t.Errorf("%q: the two readers agree on %+v", line, sections)
		}
	}
}

// crossCheck sees every kind of difference.
func TestCrossCheck(t *testing.T) {
	const text = "[a]\nk = 1\nl = 2\n[b c]\nk = 3\nk = 4\nk =\n"
	sec := func(header string, settings ...string) *section {
		s := &section{header: header, line: 1}
		for i := 0; i < len(settings); i += 2 {
			s.settings = append(s.settings, setting{key: settings[i], value: settings[i+1]})
		}
		return s
	}
	b := sec("b c", "k", "3", "k", "4", "k", "")
	tests := []struct {
		sections []*section
		want     string
	}{
		{[]*section{sec("a", "k", "1", "l", "2"), b}, ""},
		{[]*section{sec("a", "k", "1", "l", "2")}, "the INI library sees 2 sections instead of 1"},
		{[]*section{sec("A", "k", "1", "l", "2"), b}, `line 1: the INI library sees another section than "A"`},
		{[]*section{sec("a", "k", "1"), b}, "line 1: the INI library sees 2 keys instead of 1"},
		{[]*section{sec("a", "k", "1", "m", "2"), b}, `line 1: the INI library sees another value of "l"`},
		{[]*section{sec("a", "k", "1", "l", "3"), b}, `line 1: the INI library sees another value of "l"`},
		{[]*section{sec("a", "k", "1", "l", "2"), sec("b c", "k", "4", "k", "3", "k", "")}, `line 1: the INI library sees another value of "k"`},
		{[]*section{sec("a", "k", "1", "l", "2"), sec("b c", "k", "3")}, `line 1: the INI library sees another value of "k"`},
	}
	for _, test := range tests {
		got := ""
		if err := crossCheck([]byte(text), test.sections); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
	if err := crossCheck([]byte("k = 1\n"), nil); err == nil {
		t.Error("a setting before any section is not seen")
	}
}

func TestSimilar(t *testing.T) {
	candidates := []string{"addresses", "domains", "min_tls", "yes", "no", "tag"}
	for word, want := range map[string]string{
		"adresses": "addresses", "addressse": "addresses", "addreses": "addresses", "ADDRESSES": "addresses", "adrreses": "addresses", "adreses_": "",
		"min-tls": "min_tls", "mintls": "min_tls", "domain": "domains", "yess": "yes", "y": "", "n": "", "tga": "tag", "gat": "", "": "",
		strings.Repeat("domains", 20): "",
	} {
		if got := similar(word, candidates); got != want {
			t.Errorf("similar(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"abc", "abc", 0}, {"abc", "abd", 1}, {"abc", "acb", 1}, {"abc", "xabc", 1},
		{"recipeint", "recipient", 1}, {"ca", "abc", 3}, {"kitten", "sitting", 3},
	} {
		if got := distance(test.a, test.b); got != test.want {
			t.Errorf("distance(%q, %q) = %d, want %d", test.a, test.b, got, test.want)
		}
	}
}

// FuzzParse looks for text that the two readers take differently, for problems
// without place, and for a configuration that is not the same when it is written
// out and read again.
func FuzzParse(f *testing.F) {
	seeds, err := filepath.Glob("../../testdata/config/*/*.conf")
	if err != nil || len(seeds) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, seed := range append(seeds, "../../packaging/gatemilter.conf") {
		data, err := os.ReadFile(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var r report
		sections := scan(&r, "fuzz.conf", data)
		if r.failures == 0 {
			if err := crossCheck(data, sections); err != nil {
				t.Fatal(err)
			}
		}
		c, err := Parse("fuzz.conf", data)
		if err != nil {
			checkProblems(t, err.(Errors), data)
			return
		}
		checkProblems(t, c.Warnings, data)
		checkRoundTrip(t, c)
	})
}

// checkProblems asserts that each problem is one line with a place in data, and that
// they are in order.
func checkProblems(t *testing.T, problems []Problem, data []byte) {
	t.Helper()
	line, last := 1, strings.Count(string(data), "\n")+1
	for _, p := range problems {
		if p.File != "fuzz.conf" || p.Line < line || p.Line > last || p.Text == "" || strings.ContainsAny(p.String(), "\n\r\x00\x1b") {
			t.Fatalf("bad problem %#v", p)
		}
		line = p.Line
	}
}

func checkRoundTrip(t *testing.T, c *Config) {
	t.Helper()
	again, err := Parse("fuzz.conf", []byte(c.String()))
	if err != nil {
		t.Fatalf("%v\nin\n%s", err, c)
	}
	for _, s := range []*Config{c, again} {
		for i := range s.Settings.Gateways {
			s.Settings.Gateways[i].RequireHeader = nil // it is not written out
		}
	}
	if again.String() != c.String() || !reflect.DeepEqual(again.Settings, c.Settings) || fmt.Sprint(again.Server, again.Log) != fmt.Sprint(c.Server, c.Log) {
		t.Fatalf("read again, it is\n%s\ninstead of\n%s", again, c)
	}
}
