package policy

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Limits of header expressions. A match takes time in proportion to the product of
// the two: at both limits about two seconds for one field.
const (
	// maxExpressionLen is the length of an expression in octets.
	maxExpressionLen = 4096
	// maxInstructions is the size of a compiled expression.
	maxInstructions = 1000
	// maxMatchLen is how much of a header line is looked at, in octets.
	maxMatchLen = 64 << 10
)

// An Expression is a regular expression (RE2 syntax) that is matched against
// header lines in the form "Name: value", unfolded.
//
// Header names have no case (RFC 5322, section 1.2.2), so neither has an
// expression up to its first literal colon; from there on, case counts as
// written.
type Expression struct {
	source string
	re     *regexp.Regexp
}

// CompileExpression compiles a header expression. It returns an error for bad
// syntax and for one that is too large to be matched against strangers' mail.
func CompileExpression(source string) (*Expression, error) {
	if len(source) > maxExpressionLen {
		return nil, fmt.Errorf("expression of %d octets: at most %d are allowed, so write a shorter one", len(source), maxExpressionLen)
	}
	tree, err := syntax.Parse(source, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("%w; see https://pkg.go.dev/regexp/syntax for what can be written", err)
	}
	prog, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return nil, fmt.Errorf("expression can't be compiled: %w", err)
	}
	if len(prog.Inst) > maxInstructions {
		return nil, fmt.Errorf("expression compiles to %d instructions: at most %d are allowed, so make its repetitions smaller", len(prog.Inst), maxInstructions)
	}
	foldName(tree)
	re, err := regexp.Compile(tree.String())
	if err != nil {
		return nil, fmt.Errorf("expression can't be compiled: %w", err)
	}
	return &Expression{source: source, re: re}, nil
}

// String returns the expression as it was written.
func (e *Expression) String() string { return e.source }

// Groups returns the number of capture groups.
func (e *Expression) Groups() int { return e.re.NumSubexp() }

// Match looks for the expression in a header line, of which the first 64 KiB
// count. It returns what the first capture group caught, or "".
func (e *Expression) Match(line []byte) (capture string, ok bool) {
	line = line[:min(len(line), maxMatchLen)]
	if e.Groups() == 0 {
		return "", e.re.Match(line)
	}
	at := e.re.FindSubmatchIndex(line)
	if at == nil {
		return "", false
	}
	if at[2] >= 0 {
		capture = string(line[at[2]:at[3]])
	}
	return capture, true
}

// CheckScoring returns an error unless the expression can be used with a
// score: it must have one capture group, which catches the number.
func (e *Expression) CheckScoring() error {
	switch n := e.Groups(); n {
	case 1:
		return nil
	case 0:
		return fmt.Errorf("%#q has no capture group: put the part that matches the score in parentheses, as in (0\\.\\d*|1\\.0*)", e.source)
	default:
		return fmt.Errorf("%#q has %d capture groups, but only the score may be captured: write (?:…) for the others", e.source, n)
	}
}

// foldName makes re match in any case up to its first literal colon. It reports
// whether such a colon was met on every way through re.
func foldName(re *syntax.Regexp) (colon bool) {
	switch re.Op {
	case syntax.OpLiteral:
		return foldLiteral(re)
	case syntax.OpCharClass:
		re.Rune = foldClass(re.Rune)
		return false
	case syntax.OpConcat:
		return slices.ContainsFunc(re.Sub, foldName)
	case syntax.OpAlternate:
		colon = true
		for _, sub := range re.Sub {
			colon = foldName(sub) && colon
		}
		return colon
	case syntax.OpCapture, syntax.OpPlus:
		return foldName(re.Sub[0])
	case syntax.OpRepeat:
		return foldName(re.Sub[0]) && re.Min > 0
	case syntax.OpStar, syntax.OpQuest:
		foldName(re.Sub[0])
	}
	return false
}

// foldLiteral folds what stands before the colon in a literal, and splits the
// literal there.
func foldLiteral(re *syntax.Regexp) (colon bool) {
	at := slices.Index(re.Rune, ':')
	if at < 0 || re.Flags&syntax.FoldCase != 0 {
		re.Flags |= syntax.FoldCase
		return at >= 0
	}
	name := &syntax.Regexp{Op: syntax.OpLiteral, Flags: re.Flags | syntax.FoldCase, Rune: re.Rune[:at]}
	value := &syntax.Regexp{Op: syntax.OpLiteral, Flags: re.Flags, Rune: re.Rune[at:]}
	if at == 0 {
		return true
	}
	*re = syntax.Regexp{Op: syntax.OpConcat, Flags: re.Flags, Sub: []*syntax.Regexp{name, value}}
	return true
}

// foldClass adds to a character class the other cases of its ASCII letters;
// header names have no others.
func foldClass(class []rune) []rune {
	folded := slices.Clone(class)
	for i := 0; i+1 < len(class); i += 2 {
		for r := max(class[i], 'A'); r <= min(class[i+1], 'z'); r++ {
			if unicode.IsUpper(r) {
				folded = append(folded, unicode.ToLower(r), unicode.ToLower(r))
			} else if unicode.IsLower(r) {
				folded = append(folded, unicode.ToUpper(r), unicode.ToUpper(r))
			}
		}
	}
	return folded
}

// maxScoreLen is the length of a score in octets; no filter writes longer ones.
const maxScoreLen = 32

// ParseScore reads a score: decimal digits with at most one point or comma, and
// a sign at will ("0.5", ".5", "5.", "-1,2"). Exponents, infinities,
// hexadecimal and not-a-number are errors.
func ParseScore(s string) (float64, error) {
	digits := strings.TrimLeft(s, "+-")
	plain := len(s)-len(digits) <= 1 && len(s) <= maxScoreLen &&
		strings.ContainsAny(digits, "0123456789") &&
		strings.Trim(digits, "0123456789.,") == "" &&
		strings.Count(digits, ".")+strings.Count(digits, ",") <= 1 &&
		!strings.ContainsFunc(digits, func(r rune) bool { return r != '.' && r != ',' && (r < '0' || r > '9') })
	if !plain {
		return 0, fmt.Errorf("%q is not a decimal number such as 0.50", cut(s, 2*maxScoreLen))
	}
	score, err := strconv.ParseFloat(strings.Replace(s, ",", ".", 1), 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a decimal number such as 0.50: %w", s, err)
	}
	return score, nil
}

// cut shortens s to at most n octets for showing.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}
