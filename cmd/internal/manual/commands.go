package manual

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"gatemilter/policy"
)

// Synopsis shows the usage line of each command.
func Synopsis(commands []Command) string {
	var b strings.Builder
	for _, c := range commands {
		fmt.Fprintf(&b, ".Nm\n.Cm %s\n%s", argument(c.Name), usageMacros(c.Args))
	}
	return b.String()
}

// Sections explain the commands, one each.
func Sections(commands []Command) string {
	var b strings.Builder
	for _, c := range commands {
		help, examples := cutExamples(blocks(c.Help))
		fmt.Fprintf(&b, ".Ss %s\n%s%s.Bl -tag -width Ds\n", argument(c.Name), text(sentence(c.Summary)), helpText(help))
		for _, f := range c.Flags {
			b.WriteString(flagItem(f))
		}
		b.WriteString(".El\n" + helpText(examples))
	}
	return b.String()
}

func flagItem(f Flag) string {
	name, usage := ".It Fl "+escape("-"+f.Name), sentence(f.Usage)
	if f.Value != "" {
		name += " Ar " + argument(f.Value)
	}
	if f.Default != "" {
		return name + "\n" + text(usage) + "The default is\n.Ic " + argument(f.Default) + " .\n"
	}
	return name + "\n" + text(usage)
}

// A block of a help text is a paragraph, or a list that has been moved to the right.
type block struct {
	indented bool
	lines    []string
}

// blocks reads a help text.
func blocks(help string) (list []block) {
	closed := true
	for line := range strings.Lines(strings.TrimSpace(help)) {
		line = strings.TrimRight(line, "\n")
		indented := strings.HasPrefix(line, "  ")
		switch {
		case strings.TrimSpace(line) == "":
			closed = true
			continue
		case closed || list[len(list)-1].indented != indented:
			list = append(list, block{indented: indented})
		}
		last := &list[len(list)-1]
		last.lines = append(last.lines, strings.TrimPrefix(line, "  "))
		closed = false
	}
	return list
}

// cutExamples cuts off the examples at the end, which in the manual stand behind the flags.
func cutExamples(list []block) (help, examples []block) {
	i := slices.IndexFunc(list, func(b block) bool { return strings.HasPrefix(b.lines[0], "Example") })
	if i < 0 {
		i = len(list)
	}
	return list[:i], list[i:]
}

// helpText turns a help text into mdoc: paragraphs, and under a paragraph that is a title, commands or a list of words
// with their meanings.
func helpText(list []block) string {
	var b strings.Builder
	for i, block := range list {
		switch {
		case !block.indented:
			paragraph := strings.Join(block.lines, " ")
			if i+1 < len(list) && list[i+1].indented {
				paragraph += ":"
			}
			b.WriteString(".Pp\n" + text(paragraph))
		case strings.HasPrefix(block.lines[0], "gatemilter "):
			b.WriteString(literal(commandLines(block.lines)))
		default:
			b.WriteString(meanings(block.lines))
		}
	}
	return b.String()
}

// meanings makes a list of lines, each a word and what it means.
func meanings(lines []string) string {
	var b strings.Builder
	b.WriteString(".Pp\n.Bl -tag -width Ds -compact\n")
	for _, line := range lines {
		word, meaning, _ := strings.Cut(line, " ")
		b.WriteString(".It Cm " + argument(word) + "\n" + text(sentence(strings.TrimSpace(meaning))))
	}
	return b.String() + ".El\n"
}

// Rules lists the words by which log and explain tell why, with their meanings.
func Rules(rules []policy.Reason) string {
	var lines []string
	for _, r := range rules {
		lines = append(lines, string(r.Code)+" "+r.Text)
	}
	return meanings(lines)
}

// shellWords is a word of a command, quoted or not, or a flag with the word behind it.
var shellWords = regexp.MustCompile(`(?:--[a-z-]+ )?(?:'[^']*'|[^' ])+`)

// commandWidth is what fits between the indentation and the 78th column.
const commandWidth = 64

// commandLines breaks commands that are too long for a terminal, as a shell reads them.
func commandLines(commands []string) (lines []string) {
	for _, c := range commands {
		parts := wrap(shellWords.FindAllString(c, -1), commandWidth-len(`    \`))
		for i, part := range parts {
			if i > 0 {
				part = "    " + part
			}
			if i+1 < len(parts) {
				part += ` \`
			}
			lines = append(lines, part)
		}
	}
	return lines
}
