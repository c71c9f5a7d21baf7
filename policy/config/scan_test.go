package config

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"gatemilter/policy"
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

// Values are what is written, whatever other readers of INI files would make of it.
func TestRawValues(t *testing.T) {
	for _, value := range []string{
		`a # b`, `a#b`, `a;b`, `a ; b`, `"a;b"`, `a\`, `\`, `a\;b`, `a = b`, `=`, `==`, `a: b`,
		`"quoted"`, `'quoted'`, `"a" and "b"`, `"`, `""`, `a"""b"""`, "a`b`", `%(k)s`, `%(l)s`,
		`%%`, `%`, `$HOME`, `${HOME}`, `[server]`, `]`, `#a`, `;a`, `2001:db8::1`, `bücher`, "a\tb", `-`, `a,`,
	} {
		text := []byte("[s]\nk =\t " + value + " \t\nl = 1\n")
		var r report
		sections := scan(&r, "x", text)
		want := []*section{{file: "x", line: 1, header: "s", kind: "s", settings: []setting{{"k", value, 2}, {"l", "1", 3}}}}
		if r.failures > 0 || !reflect.DeepEqual(sections, want) {
			t.Errorf("%q reads as %+v, with %v", value, sections[0], r.errors)
		} else if err := crossCheck(text, sections); err != nil {
			t.Errorf("%q: %v", value, err)
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

// The advice fits the reason. (Root reads files of any mode, so the error is made here.)
func TestUnreadableHint(t *testing.T) {
	for reason, want := range map[syscall.Errno]string{
		syscall.EACCES: "can't be read: permission denied; let gatemilter's user read it, and enter the directories above it",
		syscall.ENOENT: "can't be read: no such file or directory; check the path",
	} {
		if got := unreadable(&fs.PathError{Op: "open", Path: "x", Err: reason}).Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestSimilar(t *testing.T) {
	candidates := []string{"addresses", "domains", "min_tls", "yes", "no", "tag"}
	for word, want := range map[string]string{
		"adresses": "addresses", "addressse": "addresses", "addreses": "addresses", "ADDRESSES": "addresses", "adrreses": "addresses", "adreses_": "",
		"min-tls": "min_tls", "mintls": "min_tls", "domain": "domains", "yess": "yes", "y": "", "n": "", "tga": "tag", "gat": "", "": "",
		"min_tsl": "min_tls", "domaijn": "domains", "min_tls1.2": "",
		strings.Repeat("domains", 20): "",
	} {
		if got := similar(word, candidates); got != want {
			t.Errorf("similar(%q) = %q, want %q", word, got, want)
		}
	}
}

// Another number is no typing error; a word around the right one is.
func TestVersionsAndLevels(t *testing.T) {
	versions := []string{"1.0", "1.1", "1.2", "1.3"}
	levels := []string{"debug", "info", "warn", "error"}
	for _, test := range []struct {
		word   string
		values []string
		want   string
	}{
		{"TLSv1.2", versions, `; did you mean "1.2"?`},
		{"tls1.3", versions, `; did you mean "1.3"?`},
		{"1.2+", versions, `; did you mean "1.2"?`},
		{"1.4", versions, ": write one of these"},
		{"2.0", versions, ": write one of these"},
		{"SSLv3", versions, ": write one of these"},
		{"1.2, 1.3", versions, ": write one of these"},
		{`"1.2"`, versions, ": write it without quotes, 1.2"},
		{"1.2 ; all do", versions, ": comments need a line of their own"},
		{"warning", levels, `; did you mean "warn"?`},
		{"WARN", levels, `; did you mean "warn"?`},
		{"information", levels, `; did you mean "info"?`},
		{"err", levels, `; did you mean "error"?`},
		{"trace", levels, ": write one of these"},
	} {
		if got := choiceHint(test.word, test.values); got != test.want {
			t.Errorf("%q: %q, want %q", test.word, got, test.want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"abc", "abc", 0}, {"abc", "abd", 1}, {"abc", "acb", 1}, {"abc", "xabc", 1},
		{"recipeint", "recipient", 1}, {"ca", "abc", 3}, {"kitten", "sitting", 3}, {"1.4", "1.2", 2}, {"a4", "ab", 1},
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
	line, last := 0, strings.Count(string(data), "\n")+1
	for _, p := range problems {
		if p.File != "fuzz.conf" || p.Line < line || p.Line > last || p.Text == "" || strings.ContainsAny(p.String(), "\n\r\x00\x1b") {
			t.Fatalf("bad problem %#v", p)
		}
		line = p.Line
	}
}

func checkRoundTrip(t *testing.T, c *Config) {
	t.Helper()
	// What stands for a secret is none.
	text := strings.ReplaceAll(c.String(), "\nrequire_header = "+policy.SecretMask+"\n", "\nrequire_header = ^X-Key: 4711$\n")
	again, err := Parse("fuzz.conf", []byte(text))
	if err != nil {
		t.Fatalf("%v\nin\n%s", err, c)
	}
	for _, s := range []*Config{c, again} {
		for i := range s.Settings.Gateways {
			s.Settings.Gateways[i].RequireHeader = nil // it is not written out
		}
		for _, u := range s.Settings.Outbound.Users {
			for _, i := range u.Identities {
				if i.Gateway != nil {
					i.Gateway.Password = policy.Secret{} // nor is that
				}
			}
		}
	}
	if again.String() != c.String() || !reflect.DeepEqual(again.Settings, c.Settings) || fmt.Sprint(again.Server, again.Log) != fmt.Sprint(c.Server, c.Log) {
		t.Fatalf("read again, it is\n%s\ninstead of\n%s", again, c)
	}
}
