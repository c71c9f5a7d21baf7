package main

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"gatemilter/policy"
	"gatemilter/policy/config"
)

const readme = "../../README.md"

// Every block of configuration in the README loads, without a warning.
func TestReadmeConfigurations(t *testing.T) {
	text := must(os.ReadFile(readme))
	blocks := regexp.MustCompile("(?s)```ini\n(.*?)```").FindAllSubmatch(text, -1)
	if len(blocks) == 0 {
		t.Fatal("there is no block of configuration")
	}
	for _, b := range blocks {
		cfg, err := config.Parse("README.md", b[1])
		if err != nil {
			t.Errorf("%v\n%s", err, b[1])
		} else if len(cfg.Warnings) > 0 {
			t.Errorf("%v\n%s", cfg.Warnings, b[1])
		}
	}
}

// The tables of rules and settings are those of the program. UPDATE_README=1 writes
// them.
func TestReadmeTables(t *testing.T) {
	text := string(must(os.ReadFile(readme)))
	updated := fill(t, text, "rules", table("rule", policy.Meanings))
	updated = fill(t, updated, "routes", table("rule", policy.RouteMeanings))
	updated = fill(t, updated, "settings", settingsTable())
	updated = fill(t, updated, "hops", explainedHops(t, text))
	if updated == text {
		return
	}
	if os.Getenv("UPDATE_README") == "" {
		t.Fatal("the tables of README.md are out of date: run UPDATE_README=1 go test ./cmd/gatemilter")
	}
	if err := os.WriteFile("README.md", []byte(updated), 0o644); err != nil {
		t.Fatal(err)
	}
}

// fill puts a table between its two marks.
func fill(t *testing.T, text, mark, table string) string {
	t.Helper()
	begin, end := "<!-- "+mark+" -->\n", "<!-- /"+mark+" -->"
	before, rest, ok1 := strings.Cut(text, begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("README.md has no marks %q and %q", begin, end)
	}
	return before + begin + table + end + after
}

// explainedHops runs the command that the README shows and cuts the hops out of what it
// prints.
func explainedHops(t *testing.T, text string) string {
	t.Helper()
	shown := regexp.MustCompile(`(?m)^    build/gatemilter (explain (?:.*\\\n)*.*)$`).FindStringSubmatch(text)
	if shown == nil {
		t.Fatal("README.md shows no explain command")
	}
	t.Chdir("../..")
	var out, errs bytes.Buffer
	args := strings.Fields(strings.ReplaceAll(shown[1], "\\\n", " "))
	if status := run(t.Context(), args, stdio{nil, &out, &errs}); status != exitFine {
		t.Fatalf("the README's command fails: %s", errs.String())
	}
	_, rest, _ := strings.Cut(out.String(), "Hops, newest first\n")
	hops, _, ok := strings.Cut(rest, "\n\n")
	if !ok {
		t.Fatalf("there are no hops in\n%s", out.String())
	}
	return "```\n" + hops + "\n```\n"
}

func table(title string, meanings []policy.Reason) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s | what it means |\n| --- | --- |\n", title)
	for _, m := range meanings {
		fmt.Fprintf(&b, "| `%s` | %s |\n", m.Code, m.Text)
	}
	return b.String()
}

func settingsTable() string {
	var b strings.Builder
	b.WriteString("| setting | default | what it means |\n| --- | --- | --- |\n")
	for _, s := range config.Schema() {
		fmt.Fprintf(&b, "| **[%s]** | | %s |\n", s.Title(), s.Meaning)
		for _, k := range s.Keys {
			value := "none"
			if k.Default != "" {
				value = "`" + k.Default + "`"
			}
			if k.Required {
				value = "required"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", k.Name, value, strings.ReplaceAll(k.Meaning, "|", "\\|"))
		}
	}
	return b.String()
}
