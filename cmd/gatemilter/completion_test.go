package main

import (
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// completionFile is the absolute name of a file with completions.
func completionFile(name string) string {
	return must(filepath.Abs(filepath.Join(packaging, "completion", name)))
}

// completionDir has a file and a directory to complete.
func completionDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"my message.eml", "other.conf"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "main.cf.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// shellOutput runs a shell in dir with an environment that does not depend on the caller's, and no home.
func shellOutput(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TERM=vt100", "LC_ALL=C.UTF-8", "INPUTRC=/dev/null"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

// The files are what their shells take for a script without errors.
func TestS9CompletionHasNoSyntaxErrors(t *testing.T) {
	needPackages(t, "zsh", "fish")
	for _, args := range [][]string{
		{"bash", "-n", completionFile("gatemilter.bash")},
		{"zsh", "-n", completionFile("_gatemilter")},
		{"fish", "--no-execute", completionFile("gatemilter.fish")},
	} {
		if out := shellOutput(t, t.TempDir(), args[0], args[1:]...); out != "" {
			t.Errorf("%s: %s", args[0], out)
		}
	}
}

// bashCandidates calls the function as bash does when TAB is pressed behind the words. What only readline can do,
// completing file names, it notes.
const bashCandidates = `
source "$1"; shift
compopt() { echo "compopt $*"; }
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_gatemilter gatemilter "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
`

// Bash and fish, asked for everything, offer all commands, and for each command all flags, and no others.
func TestS9CompletionOffersAllCommandsAndFlags(t *testing.T) {
	needPackages(t, "fish")
	words := func(s string) (list []string) {
		for line := range strings.Lines(s) {
			word, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
			list = append(list, word)
		}
		slices.Sort(list)
		return list
	}
	dir := t.TempDir()
	offered := map[string]func(...string) []string{
		"bash": func(args ...string) []string {
			args = append([]string{"--norc", "-c", bashCandidates, "bash", completionFile("gatemilter.bash"), "gatemilter"}, args...)
			return words(shellOutput(t, dir, "bash", args...))
		},
		"fish": func(args ...string) []string {
			return words(shellOutput(t, dir, "fish", "-c", `source $argv[1]; complete -C "$argv[2]"`,
				completionFile("gatemilter.fish"), "gatemilter "+strings.Join(args, " ")))
		},
	}
	for shell, ask := range offered {
		names := []string{"help", "version"}
		for _, c := range commands {
			names = append(names, c.name)
			flags := []string{"--help"}
			set := flag.NewFlagSet(c.name, flag.ContinueOnError)
			c.setUp(set)
			set.VisitAll(func(f *flag.Flag) { flags = append(flags, "--"+f.Name) })
			slices.Sort(flags)
			if got := ask(c.name, "--"); !slices.Equal(got, flags) {
				t.Errorf("%s offers for %s %q, want %q", shell, c.name, got, flags)
			}
		}
		slices.Sort(names)
		if got := ask(""); !slices.Equal(got, names) {
			t.Errorf("%s offers the commands %q, want %q", shell, got, names)
		}
	}
}

// typed is what somebody types, where he presses TAB at the end, and what the program then gets.
var typed = []struct{ keys, want string }{
	{"gatemilter expl", "<explain>"},
	{"gatemilter test", "<test-expression>"},
	{"gatemilter help verify", "<help><verify-tls>"},
	{"gatemilter explain --client-n", "<explain><--client-name>"},
	{"gatemilter explain --tls n", "<explain><--tls><none>"},
	{"gatemilter explain --tls=n", "<explain><--tls=none>"},
	{"gatemilter mta-setup po", "<mta-setup><postfix>"},
	{"gatemilter mta-setup --app", "<mta-setup><--apply>"},
	{"gatemilter mta-setup --config x po", "<mta-setup><--config><x><postfix>"},
	{"gatemilter mta-setup postfix --rem", "<mta-setup><postfix><--remove>"},
	{"gatemilter mta-setup postfix --postfix-config ma", "<mta-setup><postfix><--postfix-config><main.cf.d/>"},
	{"gatemilter check --config ot", "<check><--config><other.conf>"},
	{"gatemilter check ot", "<check><other.conf>"},
	{"gatemilter explain --client-ip 192.0.2.2 my", "<explain><--client-ip><192.0.2.2><my message.eml>"},
	{"gatemilter test-expression '^X' my", "<test-expression><^X><my message.eml>"},
	{"gatemilter identities reke", "<identities><rekey>"},
	{"gatemilter identities add a b --tls imp", "<identities><add><a><b><--tls><implicit>"},
	{"gatemilter identities import ot", "<identities><import><other.conf>"},
	{"gatemilter route my", "<route><my>"}, // a sender is no file
	{"gatemilter explain --user my", "<explain><--user><my>"},
}

// In place of the program, the shells run a function that shows what it was called with.
const showArguments = `gatemilter() { printf 'ARGS'; printf '<%s>' "$@"; printf 'END\n'; }` + "\n"

// typist is a zsh script that runs a shell on a terminal of its own, types the lines of a file and a TAB behind each,
// and prints what the program was called with.
const typist = `
zmodload zsh/zpty
zpty shell "$2"
zpty -r shell out '*READY> *'
while IFS= read -r line; do
	zpty -w -n shell "$line"$'\t\n'
	zpty -r shell out '*ARGS*END*READY> *'
	out=${out##*ARGS}
	print -r -- "${out%%END*}"
done < "$1"
zpty -d shell
`

// Somebody sits at a terminal and presses TAB: bash, without the package bash-completion, and zsh.
func TestS9CompletionAtATerminal(t *testing.T) {
	needPackages(t, "zsh")
	dir, set := completionDir(t), t.TempDir()
	var lines strings.Builder
	for _, c := range typed {
		lines.WriteString(c.keys + "\n")
	}
	files := map[string]string{
		"lines":  lines.String(),
		"typist": typist,
		"bashrc": "PS1='READY> '\n" + showArguments + "source '" + completionFile("gatemilter.bash") + "'\n",
		".zshrc": "PS1='READY> '; unsetopt prompt_sp auto_remove_slash\n" + showArguments +
			"fpath=('" + filepath.Dir(completionFile("_gatemilter")) + "' $fpath)\nautoload -Uz compinit; compinit -u -D\n",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(set, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for shell, command := range map[string]string{
		"bash": "bash --noprofile --rcfile '" + filepath.Join(set, "bashrc") + "' -i",
		"zsh":  "ZDOTDIR='" + set + "' zsh -o no_global_rcs -i",
	} {
		got := strings.Split(shellOutput(t, dir, "zsh", "-f", filepath.Join(set, "typist"), filepath.Join(set, "lines"), command), "\n")
		for i, c := range typed {
			if i >= len(got) || got[i] != c.want {
				t.Errorf("%s: %q and TAB runs the program with %q, want %q", shell, c.keys, got[min(i, len(got)-1)], c.want)
			}
		}
	}
}

// Fish, which says itself what it would offer.
func TestS9CompletionInFish(t *testing.T) {
	needPackages(t, "fish")
	dir := completionDir(t)
	for _, c := range []struct{ line, want string }{
		{"gatemilter explain --tls n", "none"},
		{"gatemilter explain --tls=n", "--tls=none"},
		{"gatemilter mta-setup po", "postfix"},
		{"gatemilter help verify", "verify-tls"},
		{"gatemilter explain my", "my message.eml"},
		{"gatemilter check --config ot", "other.conf"},
		{"gatemilter mta-setup --postfix-config ma", "main.cf.d/"},
		{"gatemilter mta-setup my", ""},
		{"gatemilter identities reke", "rekey"},
		{"gatemilter identities add a b --tls imp", "implicit"},
		{"gatemilter identities import ot", "other.conf"},
		{"gatemilter route my", ""},
		{"gatemilter explain --user my", ""},
	} {
		out := shellOutput(t, dir, "fish", "-c", `source $argv[1]; complete -C "$argv[2]"`, completionFile("gatemilter.fish"), c.line)
		got, _, _ := strings.Cut(strings.TrimSpace(out), "\t")
		if got != c.want || strings.Count(out, "\n") > 1 {
			t.Errorf("%q is completed by %q, want %q", c.line, out, c.want)
		}
	}
}
