package config

import (
	"regexp/syntax"
	"strings"
)

// A shape is what all lines that a header expression matches have in common. It
// is decided on the compiled program, so that alternatives, groups and flags make no
// difference.
type shape struct {
	// possible says whether there is such a line at all.
	possible bool
	// named says whether each of them begins with a certain field name, or one of
	// several, and its colon.
	named bool
	// secret says whether each has, behind the colon, a character that could be no
	// other: something that one has to know.
	secret bool
}

func shapeOf(source string) shape {
	ends := walk(parse(source), reading.next)
	s := shape{possible: len(ends) > 0, named: true, secret: true}
	for end := range ends {
		s.named = s.named && (end.at == inValue || end.at == inSecret)
		s.secret = s.secret && end.at == inSecret
	}
	return s
}

// parse returns the tree of an expression that has been compiled before.
func parse(source string) *syntax.Regexp {
	tree, err := syntax.Parse(source, syntax.Perl)
	if err != nil {
		panic("config: an expression that was compiled can't be parsed: " + err.Error())
	}
	return tree
}

// walk follows every way through an expression, and returns what is known at the
// ends of those that lead to a match. next says what is known behind an
// instruction that reads a character or asks for a place in the text, and
// whether any text gets there.
func walk[S comparable](tree *syntax.Regexp, next func(S, *syntax.Inst) (S, bool)) map[S]bool {
	type state struct {
		pc    uint32
		known S
	}
	prog, err := syntax.Compile(tree.Simplify())
	if err != nil {
		panic("config: an expression that was compiled can't be compiled again: " + err.Error())
	}
	ends, seen := make(map[S]bool), make(map[state]bool)
	todo := []state{{pc: uint32(prog.Start)}}
	for len(todo) > 0 {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if seen[s] {
			continue
		}
		seen[s] = true
		switch inst := &prog.Inst[s.pc]; inst.Op {
		case syntax.InstFail:
		case syntax.InstMatch:
			ends[s.known] = true
		case syntax.InstAlt, syntax.InstAltMatch:
			todo = append(todo, state{inst.Out, s.known}, state{inst.Arg, s.known})
		case syntax.InstCapture, syntax.InstNop:
			todo = append(todo, state{inst.Out, s.known})
		default:
			if inst.Op == syntax.InstRune && len(inst.Rune) == 0 {
				continue // a class without characters
			}
			if known, ok := next(s.known, inst); ok {
				todo = append(todo, state{inst.Out, known})
			}
		}
	}
	return ends
}

// A reading is how far an expression has come in a header line; over is behind its
// end.
type reading struct {
	at   place
	over bool
}

// A place is a part of a header line.
type place uint8

const (
	anywhere  place = iota // nothing was read, and this need not be the beginning
	atStart                // of the line
	inName                 // of the field
	inValue                // behind the colon, but past nothing that one has to know
	inSecret               // behind a character of the value that could be no other
	elsewhere              // past text that may be of any field
)

func (r reading) next(inst *syntax.Inst) (reading, bool) {
	if inst.Op == syntax.InstEmptyWidth {
		return r.ask(syntax.EmptyOp(inst.Arg))
	}
	r.at = r.at.behind(inst)
	return r, !r.over
}

// ask takes ^ and $. A header line is one line, so (?m) makes no difference.
func (r reading) ask(op syntax.EmptyOp) (reading, bool) {
	switch op {
	case syntax.EmptyBeginText, syntax.EmptyBeginLine:
		if r.at == anywhere {
			r.at = atStart
		}
		return r, r.at == atStart
	case syntax.EmptyEndText, syntax.EmptyEndLine:
		r.over = true
	}
	return r, true
}

// behind returns the place behind a character.
func (p place) behind(inst *syntax.Inst) place {
	colon := inst.MatchRune(':')
	switch {
	case p == anywhere, p == atStart && (colon || takesAnyLetter(inst)):
		return elsewhere
	case p == atStart:
		return inName
	case p == inName && colon && takesOne(inst):
		return inValue
	case p == inName && colon:
		return elsewhere
	case p == inValue && takesOne(inst) && !inst.MatchRune(' ') && !inst.MatchRune('\t'):
		return inSecret
	}
	return p
}

// takesOne says whether an instruction reads one certain character, in whatever case.
func takesOne(inst *syntax.Inst) bool { return inst.Op == syntax.InstRune1 || len(inst.Rune) == 1 }

// takesAnyLetter says whether an instruction reads every letter, and so begins any
// field name. Names have no case.
func takesAnyLetter(inst *syntax.Inst) bool {
	for c := 'a'; c <= 'z'; c++ {
		if !inst.MatchRune(c) && !inst.MatchRune(c-'a'+'A') {
			return false
		}
	}
	return true
}

// catchesNumber says whether the capture group of an expression can catch what
// [policy.ParseScore] reads.
func catchesNumber(source string) bool {
	group := capture(parse(source))
	return group != nil && walk(group, func(digit bool, inst *syntax.Inst) (bool, bool) {
		takes := func(r rune) bool { return inst.MatchRune(r) }
		switch {
		case inst.Op == syntax.InstEmptyWidth:
			return digit, true
		case strings.ContainsFunc("0123456789", takes):
			return true, true
		}
		return digit, strings.ContainsFunc("+-.,", takes)
	})[true]
}

// capture returns the first capture group, or nil.
func capture(tree *syntax.Regexp) *syntax.Regexp {
	if tree.Op == syntax.OpCapture {
		return tree
	}
	for _, sub := range tree.Sub {
		if group := capture(sub); group != nil {
			return group
		}
	}
	return nil
}
