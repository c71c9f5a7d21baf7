package main

import (
	"bytes"
	"cmp"
	"errors"
	"flag"
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"gatemilter/cmd/internal/lab"
	"gatemilter/cmd/internal/manual"
	"gatemilter/policy"
	"gatemilter/policy/config"
)

const packaging = "../../packaging"

var (
	commandPage = filepath.Join(packaging, "man", "gatemilter.8")
	configPage  = filepath.Join(packaging, "man", "gatemilter.conf.5")
)

// A madePart is what stands in a file between two marks, made from what the program knows.
type madePart struct{ file, comment, mark, content string }

func madeParts() []madePart {
	const mdoc, shell = `.\"`, "#"
	list := manualCommands()
	completion := filepath.Join(packaging, "completion")
	return []madePart{
		{commandPage, mdoc, "synopsis", manual.Synopsis(list)},
		{commandPage, mdoc, "commands", manual.Sections(list)},
		{commandPage, mdoc, "rules", manual.Rules(policy.Meanings)},
		{configPage, mdoc, "settings", manual.Settings(config.Schema())},
		{filepath.Join(completion, "gatemilter.bash"), "    " + shell, "table", manual.Bash(list)},
		{filepath.Join(completion, "_gatemilter"), "    " + shell, "table", manual.Zsh(list)},
		{filepath.Join(completion, "gatemilter.fish"), shell, "table", manual.Fish(list)},
	}
}

// manualCommands are the program's commands, with the flags that they register.
func manualCommands() []manual.Command {
	var list []manual.Command
	for _, c := range commands {
		set := flag.NewFlagSet(c.name, flag.ContinueOnError)
		c.setUp(set)
		list = append(list, manual.Command{Name: c.name, Args: c.args, Summary: c.summary, Help: c.help,
			Flags: manual.Flags(set, map[string][]string{"VERSION": tlsVersions(), "MODE": {"starttls", "implicit"}})})
	}
	return list
}

// tlsVersions are the values of --tls: those of min_tls, and none.
func tlsVersions() []string {
	for _, s := range config.Schema() {
		for _, k := range s.Keys {
			if k.Name == "min_tls" {
				return append(k.Values, "none")
			}
		}
	}
	panic("min_tls is gone")
}

// Manual pages and completion files say what the program says of its commands, flags, rules and settings. UPDATE_MAN=1
// writes them.
func TestS9MadePartsAreCurrent(t *testing.T) {
	for _, part := range madeParts() {
		before := string(must(os.ReadFile(part.file)))
		after, err := manual.Fill(before, part.comment, part.mark, part.content)
		switch {
		case err != nil:
			t.Errorf("%s: %v", part.file, err)
		case after == before:
		case os.Getenv("UPDATE_MAN") == "":
			t.Errorf("%s: the part %q is out of date: run UPDATE_MAN=1 go test ./cmd/gatemilter -run TestS9MadeParts", part.file, part.mark)
		default:
			if err := os.WriteFile(part.file, []byte(after), 0o644); err != nil {
				t.Error(err)
			}
		}
	}
}

// mandoc finds nothing to say against the pages, not even of style. It finds the pages that they refer to, of which
// those of other packages need not be installed here.
func TestS9ManualIsGoodMdoc(t *testing.T) {
	needPackages(t, "mandoc")
	elsewhere := regexp.MustCompile(`(?m)^.* referenced manual not found: Xr (?:postfix|postconf|socketmap_table|systemctl|pg_dump|cp) .*\n` +
		`|^mandoc: outdated mandoc.db .*\n`)
	found := t.TempDir()
	for _, page := range []string{commandPage, configPage} {
		section := filepath.Join(found, "man"+page[len(page)-1:])
		if err := errors.Join(os.Mkdir(section, 0o755), os.Symlink(must(filepath.Abs(page)), filepath.Join(section, filepath.Base(page)))); err != nil {
			t.Fatal(err)
		}
	}
	for _, page := range []string{commandPage, configPage} {
		cmd := exec.CommandContext(t.Context(), "mandoc", "-Tlint", "-Wstyle", page)
		cmd.Env = append(os.Environ(), "MANPATH="+found)
		out, err := cmd.CombinedOutput()
		if rest := elsewhere.ReplaceAll(out, nil); len(rest) > 0 || err != nil && len(out) == 0 {
			t.Errorf("%s: %v\n%s", page, err, rest)
		}
	}
}

// On a terminal of 80 columns no line is longer.
func TestS9ManualFitsATerminal(t *testing.T) {
	for _, page := range []string{commandPage, configPage} {
		for i, line := range strings.Split(rendered(t, page, "utf8"), "\n") {
			if utf8.RuneCountInString(line) > 80 {
				t.Errorf("%s: line %d of the page has more than 80 columns:\n%s", page, i+1, line)
			}
		}
	}
}

// overstrike is how bold and underlined characters are printed.
var overstrike = regexp.MustCompile(`.\x08`)

// rendered is a page as a reader gets it, without bold and underlining.
func rendered(t *testing.T, page, format string) string {
	t.Helper()
	needPackages(t, "mandoc")
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "mandoc", "-T", format, "-O", "width=80", page)
	if format == "html" {
		cmd = exec.CommandContext(t.Context(), "mandoc", "-T", format, page)
	}
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && out.Len() == 0 {
		t.Fatalf("%v: %s", err, errs.String())
	}
	return overstrike.ReplaceAllString(out.String(), "")
}

// What a reader sees of texts from the program is letter for letter what they say, for all their backslashes, dots and
// quotes.
func TestS9ManualShowsWhatIsMeant(t *testing.T) {
	blanks := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	commandText, configText := blanks(rendered(t, commandPage, "utf8")), blanks(rendered(t, configPage, "utf8"))
	for _, c := range commands {
		set := flag.NewFlagSet(c.name, flag.ContinueOnError)
		c.setUp(set)
		set.VisitAll(func(f *flag.Flag) {
			_, usage := flag.UnquoteUsage(f)
			expectText(t, commandText, blanks(usage)[1:])
		})
		for paragraph := range strings.SplitSeq(c.help, "\n\n") {
			if !strings.Contains(paragraph, "\n  ") {
				expectText(t, commandText, blanks(paragraph))
			}
		}
	}
	for _, s := range config.Schema() {
		expectText(t, configText, "["+s.Title()+"] "+blanks(s.Meaning))
		for _, k := range s.Keys {
			expectText(t, configText, k.Name+" = "+cmp.Or(strings.Join(k.Values, " | "), k.Kind)+" "+blanks(k.Meaning))
			expectText(t, configText, "Example: "+k.Name+" = "+k.Example+" ")
		}
	}
}

func expectText(t *testing.T, page, want string) {
	t.Helper()
	if !strings.Contains(page, want) {
		t.Errorf("the page does not say: %s", want)
	}
}

// Every configuration in the examples of gatemilter.conf(5) loads as it is shown, without a warning.
func TestS9ManualExamplesLoad(t *testing.T) {
	page := rendered(t, configPage, "html")
	_, examples, found := strings.Cut(page, `id="EXAMPLES"`)
	examples, _, _ = strings.Cut(examples, "</section>\n<section class=\"Sh\">")
	blocks := regexp.MustCompile(`(?s)<pre>(.*?)</pre>`).FindAllStringSubmatch(examples, -1)
	if !found || len(blocks) < 4 {
		t.Fatalf("gatemilter.conf(5) has %d examples; want one for each subject", len(blocks))
	}
	for _, b := range blocks {
		text := html.UnescapeString(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(b[1], ""))
		cfg, err := config.Parse("gatemilter.conf(5)", []byte(text))
		if err != nil {
			t.Errorf("%v\n%s", err, text)
		} else if len(cfg.Warnings) > 0 {
			t.Errorf("%v\n%s", cfg.Warnings, text)
		}
	}
}

// Settings that the pages name in running text, in bold, exist: in our configuration or in Postfix's.
func TestS9ManualNamesRealSettings(t *testing.T) {
	known := map[string]bool{}
	for _, s := range config.Schema() {
		known["["+s.Name+"]"] = true
		for _, k := range s.Keys {
			known[k.Name] = true
		}
	}
	if err := lab.NeedPostfix(t.Context(), t.Logf); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(must(exec.CommandContext(t.Context(), "/usr/sbin/postconf", "-d").Output()))) {
		name, _, _ := strings.Cut(line, " ")
		known[name] = true
	}
	named := regexp.MustCompile(`(?m)^\.(?:Pq )?Ic (\[[a-z-]+\]|[a-z]+_[a-z_]+|[a-z]+ = )`)
	for _, page := range []string{commandPage, configPage} {
		found := named.FindAllSubmatch(must(os.ReadFile(page)), -1)
		if len(found) < 5 {
			t.Errorf("%s names only %d settings", page, len(found))
		}
		for _, f := range found {
			if name := strings.TrimSuffix(string(f[1]), " = "); !known[name] {
				t.Errorf("%s names %s, which is no setting", page, name)
			}
		}
	}
}

func needPackages(t *testing.T, names ...string) {
	t.Helper()
	if err := lab.NeedPackages(t.Context(), t.Logf, names...); err != nil {
		t.Fatal(err)
	}
}
