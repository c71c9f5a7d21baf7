package manual

import (
	"fmt"
	"strings"
)

// helpFlag is taken by every command.
var helpFlag = Flag{Name: "help", Usage: "show how it is used"}

// all are the commands as a shell offers them: those of the table, and the two that tell of them.
func all(commands []Command) []Command {
	list := make([]Command, 0, len(commands)+2)
	var names []string
	for _, c := range commands {
		c.Flags = append(append([]Flag(nil), c.Flags...), helpFlag)
		list = append(list, c)
		names = append(names, c.Name)
	}
	return append(list,
		Command{Name: "help", Args: "[" + strings.Join(names, "|") + "]", Summary: "show how a command is used"},
		Command{Name: "version", Summary: "show the version"})
}

// quoteShell quotes for bash and zsh.
func quoteShell(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// quoteFish quotes for fish, where a backslash counts between quotes.
func quoteFish(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'"
}

// Bash makes the table that gatemilter.bash looks up: for each command its flags, those with a value as --flag=WHAT,
// and what its operands are. WHAT is FILE, DIR, or words with commas.
func Bash(commands []Command) string {
	var (
		b     strings.Builder
		names []string
	)
	for _, c := range all(commands) {
		names = append(names, c.Name)
		var flags, what []string
		for _, f := range c.Flags {
			flags = append(flags, bashFlag(f))
		}
		for _, o := range operands(c.Args) {
			what = append(what, quoteShell(bashWhat(o.files, o.words)))
		}
		fmt.Fprintf(&b, "    %s)\n        flags=%s\n        operands=(%s)\n        ;;\n",
			c.Name, quoteShell(strings.Join(flags, " ")), strings.Join(what, " "))
	}
	return "    commands=" + quoteShell(strings.Join(names, ",")) + "\n    case ${COMP_WORDS[1]} in\n" + b.String() + "    esac\n"
}

func bashFlag(f Flag) string {
	switch f.Value {
	case "":
		return "--" + f.Name
	case "FILE", "DIR":
		return "--" + f.Name + "=" + f.Value
	}
	return "--" + f.Name + "=" + strings.Join(f.Words, ",")
}

func bashWhat(files bool, words []string) string {
	if files {
		return "FILE"
	}
	return strings.Join(words, ",")
}

// Zsh makes the descriptions of the commands, and for each command the specifications that _arguments(zshcompsys)
// takes.
func Zsh(commands []Command) string {
	var names, cases strings.Builder
	for _, c := range all(commands) {
		fmt.Fprintf(&names, "        %s\n", quoteShell(c.Name+":"+c.Summary))
		fmt.Fprintf(&cases, "    %s)\n        _arguments", c.Name)
		for _, f := range c.Flags {
			fmt.Fprintf(&cases, " \\\n            %s", quoteShell(zshFlag(f)))
		}
		for i, o := range operands(c.Args) {
			fmt.Fprintf(&cases, " \\\n            %s", quoteShell(fmt.Sprintf("%d:%s:%s", i+1, zshText(o.label), zshAction(o.files, false, o.words))))
		}
		cases.WriteString("\n        ;;\n")
	}
	return "    commands=(\n" + names.String() + "    )\n    case $command in\n    '')\n        _describe -t commands command commands\n        ;;\n" + cases.String() + "    esac\n"
}

func zshFlag(f Flag) string {
	spec := "--" + f.Name
	if f.repeated() {
		spec = "*" + spec
	}
	if f.Value == "" {
		return spec + "[" + zshText(f.Usage) + "]"
	}
	return spec + "=[" + zshText(f.Usage) + "]:" + zshText(f.Value) + ":" + zshAction(f.Value == "FILE", f.Value == "DIR", f.Words)
}

// zshText escapes what would end a part of a specification.
func zshText(s string) string {
	return strings.NewReplacer(`\`, `\\`, "[", `\[`, "]", `\]`, ":", `\:`).Replace(s)
}

// zshAction says what is offered; a blank is nothing but the label.
func zshAction(files, dirs bool, words []string) string {
	switch {
	case files:
		return "_files"
	case dirs:
		return "_files -/"
	case len(words) > 0:
		return "(" + strings.Join(words, " ") + ")"
	}
	return " "
}

// Fish makes the calls of complete(1) for each command. The two conditions are functions of gatemilter.fish.
func Fish(commands []Command) string {
	var b strings.Builder
	for _, c := range all(commands) {
		fmt.Fprintf(&b, "\ncomplete -c gatemilter -n __gatemilter_begins -a %s -d %s\n", c.Name, quoteFish(c.Summary))
		in := "complete -c gatemilter -n '__gatemilter_runs " + c.Name + "'"
		for _, f := range c.Flags {
			fmt.Fprintf(&b, "%s -l %s%s -d %s\n", in, f.Name, fishValue(f), quoteFish(f.Usage))
		}
		for _, o := range operands(c.Args) {
			if o.files {
				b.WriteString(in + " -F\n")
			}
			if len(o.words) > 0 {
				fmt.Fprintf(&b, "%s -a %s\n", in, quoteFish(strings.Join(o.words, " ")))
			}
		}
	}
	return b.String()
}

func fishValue(f Flag) string {
	switch {
	case f.Value == "":
		return ""
	case f.Value == "FILE":
		return " -r -F"
	case f.Value == "DIR":
		return " -x -a '(__fish_complete_directories)'"
	case len(f.Words) > 0:
		return " -x -a " + quoteFish(strings.Join(f.Words, " "))
	}
	return " -x"
}
