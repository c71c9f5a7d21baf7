// Package manual makes the parts of the manual pages and of the completion files that the program knows already: its
// commands and their flags, its rules, and the settings of a configuration.
//
//	flag sets, help texts ─ Commands ─┬─ Synopsis, Sections ─ gatemilter.8
//	                                  └─ Bash, Zsh, Fish ──── gatemilter.bash, _gatemilter, gatemilter.fish
//	policy.Meanings ───────────────────── Rules ───────────── gatemilter.8
//	config.Schema ─────────────────────── Settings ────────── gatemilter.conf.5
//
// The rest of these files is written by hand; what is made stands between two marks, which [Fill] finds. The pages are
// in mdoc(7), whose lines are either text or, with a dot at the beginning, macros: mdoc.go knows what has to be escaped
// in either.
package manual

import (
	"flag"
	"fmt"
	"strings"
)

// A Command is one of the program's commands, as its help shows it.
type Command struct {
	Name    string
	Args    string // its usage line, without the name
	Summary string // in a line
	Help    string // paragraphs, lists and examples
	Flags   []Flag
}

// A Flag is an option of a command.
type Flag struct {
	Name    string
	Value   string // what stands for its value in the help, such as FILE; "" if it takes none
	Usage   string
	Default string
	Words   []string // all values that it may have, where they can be listed
}

// Flags are those of a flag set. Words says which values may stand where the help has a word such as VERSION.
func Flags(set *flag.FlagSet, words map[string][]string) []Flag {
	var flags []Flag
	set.VisitAll(func(f *flag.Flag) {
		value, usage := flag.UnquoteUsage(f)
		made := Flag{Name: f.Name, Value: value, Usage: usage, Words: words[value]}
		if f.DefValue != "false" {
			made.Default = f.DefValue
		}
		flags = append(flags, made)
	})
	return flags
}

// repeated says whether the flag may be given several times.
func (f Flag) repeated() bool { return strings.Contains(f.Usage, "several times") }

// Fill replaces what stands in text between the lines "COMMENT begin MARK" and "COMMENT end MARK".
func Fill(text, comment, mark, content string) (string, error) {
	begin, end := comment+" begin "+mark+"\n", comment+" end "+mark+"\n"
	before, rest, ok1 := strings.Cut(text, begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		return "", fmt.Errorf("there are no lines %q and %q: write them where this part belongs", begin, end)
	}
	return before + begin + content + end + after, nil
}
