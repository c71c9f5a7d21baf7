package manual

import (
	"regexp"
	"strings"
)

// usageToken is a piece of a usage line: a quoted argument, a bracket, a bar, blanks, or a word.
var usageToken = regexp.MustCompile(`'[^']*'|[][|]| +|[^][| ']+`)

// usageMacros writes a usage line as macros: "[--user LOGIN] SENDER" becomes
//
//	.Oo Fl \-user Ar LOGIN Oc
//	.Ar SENDER
//
// What is not separated by blanks, as in HOST[:PORT], stays together; many choices fill several
// lines.
func usageMacros(args string) string {
	var (
		b       strings.Builder
		depth   int
		glue    bool // to what stands before
		newLine = true
	)
	for _, token := range usageToken.FindAllString(args, -1) {
		if token[0] == ' ' {
			glue, newLine = false, depth == 0
			continue
		}
		switch {
		case newLine && b.Len() > 0:
			b.WriteString("\n.")
		case newLine:
			b.WriteString(".")
		case glue && token != "]" && token != "|":
			b.WriteString(" Ns ")
		default:
			b.WriteString(" ")
		}
		b.WriteString(usageMacro(token))
		depth += strings.Count(token, "[") - strings.Count(token, "]")
		glue, newLine = token != "|" && token != "[", false
		if line := b.String(); token == "|" && depth == 0 {
			newLine = len(line)-strings.LastIndexByte(line, '\n') > lineWidth-maxChoice
		}
	}
	return b.String() + "\n"
}

// maxChoice is as long as a choice may be, with its macro.
const maxChoice = 20

// usageMacro writes one token. A bar is a delimiter, around which blanks come by themselves.
func usageMacro(token string) string {
	switch {
	case token == "[":
		return "Oo"
	case token == "]":
		return "Oc"
	case token == "|":
		return "|"
	case token == "-":
		return "Fl"
	case strings.HasPrefix(token, "--"):
		return "Fl " + escape(token[1:])
	case strings.ToUpper(token) != token:
		return "Cm " + argument(token)
	case strings.HasPrefix(token, ":"):
		return "No \\&: Ns Ar " + argument(token[1:])
	}
	return "Ar " + argument(token)
}

// An operand is an argument that is no flag: what may stand for it.
type operand struct {
	label string   // as in the usage line
	files bool     // the name of a file
	words []string // or one of these words
}

var (
	usageFlag = regexp.MustCompile(`\[--[^]]*\]|\[FLAGS\]|--\S+ [A-Z]+`)
	usageWord = regexp.MustCompile(`(?:'[^']*'|[^' ])+`)
)

// operands reads those of a usage line, in their order.
func operands(args string) (list []operand) {
	for _, word := range usageWord.FindAllString(usageFlag.ReplaceAllString(args, ""), -1) {
		o := operand{label: word}
		if optional, ok := strings.CutPrefix(word, "["); ok {
			o.label = strings.TrimSuffix(optional, "]")
		}
		for choice := range strings.SplitSeq(o.label, "|") {
			switch {
			case choice == "FILE" || choice == "MESSAGE":
				o.files = true
			case choice != "-" && strings.ToUpper(choice) != choice:
				o.words = append(o.words, choice)
			}
		}
		list = append(list, o)
	}
	return list
}
