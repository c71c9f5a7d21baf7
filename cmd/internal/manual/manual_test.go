package manual

import (
	"bytes"
	"flag"
	"os/exec"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gatemilter/cmd/internal/lab"
)

// difficult are texts of which mdoc(7) or a terminal makes something else where they are not escaped.
var difficult = []string{
	`.Sh is no macro here`,
	`'ti is no request`,
	`^X-(?:spam|phishy): (0\.\d*|1\.0*)$`,
	`\fBnot bold\fR, \(aq and \e and \`,
	`a "quoted" word, 'another', and it's Alice's; the users' own`,
	"`ls` ~/file ^top --flag -f",
	`An author, No text, Ns and It`,
	`one path, with * and ? in the file name. Then another sentence! "Quoted." (In brackets.) 1.2. 3.`,
	`a sentence that is long enough to be wrapped just behind the second abbreviation, i.e. not here. .hidden files are another matter, aren't they?`,
	`. , : ; ( ) [ ] ? ! |`,
	`%T is no title`,
}

// Whatever a text holds, mandoc shows it letter for letter: as a paragraph, literally, and as an argument.
func TestMandocShowsTheText(t *testing.T) {
	for _, s := range difficult {
		for how, body := range map[string]string{
			"text":     text(s),
			"literal":  literal([]string{s}),
			"argument": ".Ic " + argument(s) + "\n",
		} {
			want := strings.Join(strings.Fields(s), " ")
			if got := shown(t, body); got != want {
				t.Errorf("%s shows\n%s\nwant\n%s\nfrom\n%s", how, got, want, body)
			}
		}
	}
}

// A setting's or flag's value that is one character or looks like a macro stays itself.
func TestMandocShowsShortArguments(t *testing.T) {
	for _, s := range []string{"*", ".", "|", "No", "An", "Fl", "yes", "-", `"`, `\`, "a b"} {
		if got := shown(t, ".Ic "+argument(s)+" x\n"); got != s+" x" {
			t.Errorf("%q is shown as %q", s, got)
		}
	}
}

// shown is what mandoc makes of the body of a page: its only paragraph in one line.
func shown(t *testing.T, body string) string {
	t.Helper()
	if err := lab.NeedPackages(t.Context(), t.Logf, "mandoc"); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "mandoc", "-Tutf8", "-Owidth=78")
	cmd.Stdin = strings.NewReader(".Dd November 21, 2026\n.Dt X 8\n.Os X\n.Sh NAME\n.Nm x\n.Nd x\n.Sh BODY\n" + body)
	out, err := cmd.Output()
	if err != nil && len(out) == 0 {
		t.Fatal(err)
	}
	out = regexp.MustCompile(`.\x08`).ReplaceAll(out, nil)
	_, out, _ = bytes.Cut(out, []byte("BODY\n"))
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.Join(strings.Fields(strings.Join(lines[:len(lines)-1], " ")), " ")
}

// Usage lines look in the synopsis as in the help, but for the blanks around bars.
func TestUsageMacros(t *testing.T) {
	for usage, want := range map[string]string{
		"[FILE]":                           "[FILE]",
		"--client-ip IP [FLAGS] MESSAGE|-": "--client-ip IP [FLAGS] MESSAGE | -",
		"[--user LOGIN] [--json] SENDER":   "[--user LOGIN] [--json] SENDER",
		"[--score THRESHOLD] EXPRESSION 'HEADER: LINE'|FILE|-":                "[--score THRESHOLD] EXPRESSION 'HEADER: LINE' | FILE | -",
		"postfix|sendmail [--apply|--remove]":                                 "postfix | sendmail [--apply | --remove]",
		"ROUTE|HOST[:PORT] [--timeout TIME [--sni NAME]] [FILE[:LINE]...] NO": "ROUTE | HOST[:PORT] [--timeout TIME [--sni NAME]] [FILE[:LINE]...] NO",
		"list|show|add|disable|enable|remove|export|import|rekey [FILE]":      "list | show | add | disable | enable | remove | export | import | rekey [FILE]",
	} {
		if got := shown(t, usageMacros(usage)); got != want {
			t.Errorf("%q is shown as\n%q, want\n%q, from\n%s", usage, got, want, usageMacros(usage))
		}
	}
}

// Operands are read from the usage line: which of them are files, and which are one of a few words.
func TestOperands(t *testing.T) {
	for usage, want := range map[string][]operand{
		"":                                  nil,
		"[--config FILE]":                   nil,
		"[FILE]":                            {{label: "FILE", files: true}},
		"--client-ip IP [FLAGS] MESSAGE|-":  {{label: "MESSAGE|-", files: true}},
		"EXPRESSION 'HEADER: LINE'|FILE|-":  {{label: "EXPRESSION"}, {label: "'HEADER: LINE'|FILE|-", files: true}},
		"postfix|sendmail [--apply] [FILE]": {{label: "postfix|sendmail", words: []string{"postfix", "sendmail"}}, {label: "FILE", files: true}},
		"ROUTE|HOST[:PORT] [FLAGS]":         {{label: "ROUTE|HOST[:PORT]"}},
	} {
		if got := operands(usage); !reflect.DeepEqual(got, want) {
			t.Errorf("%q has the operands\n%+v, want\n%+v", usage, got, want)
		}
	}
}

// Commands that are too long for the page are broken where a shell takes them for one line.
func TestLongCommandsAreBroken(t *testing.T) {
	long := "gatemilter x --first value 'two words' --second 'a  b' --third and-a-rather-long-value --fourth file"
	lines := commandLines([]string{"gatemilter short", long})
	if len(lines) < 3 || lines[0] != "gatemilter short" {
		t.Errorf("%q", lines)
	}
	for _, line := range lines {
		if len(line) > commandWidth {
			t.Errorf("%q is too long", line)
		}
	}
	arguments := func(command string) []string {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", `gatemilter() { printf '%s\n' "$@"; }`+"\n"+command).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(string(out), "\n")
	}
	if got, want := arguments(strings.Join(lines[1:], "\n")), arguments(long); !slices.Equal(got, want) {
		t.Errorf("a shell reads %q, want %q", got, want)
	}
}

// Flags are taken as the help shows them.
func TestFlags(t *testing.T) {
	set := flag.NewFlagSet("x", flag.ContinueOnError)
	set.Bool("json", false, "as JSON")
	set.String("tls", "", "TLS `VERSION` of the connection")
	set.String("config", "/etc/x", "configuration `FILE`; may be given several times")
	want := []Flag{
		{Name: "config", Value: "FILE", Usage: "configuration FILE; may be given several times", Default: "/etc/x"},
		{Name: "json", Usage: "as JSON"},
		{Name: "tls", Value: "VERSION", Usage: "TLS VERSION of the connection", Words: []string{"1.2", "1.3"}},
	}
	got := Flags(set, map[string][]string{"VERSION": {"1.2", "1.3"}})
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if !got[0].repeated() || got[1].repeated() {
		t.Error("only config may be given several times")
	}
}

// Only what stands between the marks is replaced; without marks nothing is.
func TestFill(t *testing.T) {
	got, err := Fill("a\n# begin x\nold\n# end x\nb\n", "#", "x", "new\n")
	if want := "a\n# begin x\nnew\n# end x\nb\n"; got != want || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	for _, text := range []string{"", "# begin x\n", "# end x\n# begin x\n", "# begin y\n# end y\n"} {
		if got, err := Fill(text, "#", "x", "new\n"); err == nil {
			t.Errorf("%q becomes %q without an error", text, got)
		}
	}
}
