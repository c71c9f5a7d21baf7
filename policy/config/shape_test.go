package config

import (
	"strings"
	"testing"

	"gatemilter/policy"
)

// I14, I23: what an expression is about is decided on all ways through it.
func TestShape(t *testing.T) {
	var (
		never   = shape{possible: false, named: true, secret: true}
		unnamed = shape{possible: true}
		open    = shape{possible: true, named: true}
		secret  = shape{possible: true, named: true, secret: true}
	)
	for expression, want := range map[string]shape{
		`^X-Spam: yes$`:                         secret,
		`^x-spam:yes`:                           secret,
		`(?i)^X-Spam: YES`:                      secret,
		`(?m)^X-Spam: yes$`:                     secret,
		`\AX-Spam: yes\z`:                       secret,
		`(?:^X-Spam: yes|^X-Phish: yes)`:        secret,
		`^(?:X-Spam|X-Phish): yes`:              secret,
		`^X-(?:spam|phishy): (?:0\.\d*|1\.0*)$`: secret,
		`^X-Spam-[A-Za-z]+: yes`:                secret,
		`^X-Spam-(?:Flag)?: +yes`:               secret,
		`^[AB]-Spam: yes`:                       secret,
		`^X-Key: .*4711`:                        secret,
		`^X-Key: (?:4711|0815)`:                 secret,
		`^X-Key:: x`:                            secret,
		`^X-Spam:`:                              open,
		`^X-Spam: `:                             open,
		`^X-Spam:\s*$`:                          open,
		`^X-Spam: .*`:                           open,
		`^X-Spam: \S+$`:                         open,
		`^X-Spam: [0-9a-f]{8}$`:                 open,
		`^X-Spam: (?:4711|.+)$`:                 open,
		`^X-Spam: (?:4711)?`:                    open,
		`^X-Spam: yes|^X-Phish:`:                open,
		`X-Spam-Score`:                          unnamed,
		`abc`:                                   unnamed,
		`X-Spam: yes`:                           unnamed,
		`^X-Spam`:                               unnamed,
		`^X-Spam yes$`:                          unnamed,
		`^X-Spam: yes|X-Phish: yes`:             unnamed,
		`^X-Spam: yes|^X-Phish`:                 unnamed,
		`(?:^|;)X-Spam: yes`:                    unnamed,
		`^.*X-Spam: yes`:                        unnamed,
		`^X.*: yes`:                             unnamed,
		`^X-Spam[:=]yes`:                        unnamed,
		`^X-Spam:?yes`:                          unnamed,
		`^[^:]*: yes`:                           unnamed,
		`^\w+: yes`:                             unnamed,
		`^[A-Z][a-z]*: yes`:                     unnamed,
		`^: yes`:                                unnamed,
		`.`:                                     unnamed,
		``:                                      unnamed,
		`^$`:                                    unnamed,
		`a^X-Spam: yes|^X-Spam: yes$b`:          never,
		`"^X-Spam: yes$"`:                       never,
		`/^X-Spam: yes/`:                        never,
		`^X-Spam: yes$ ; a note`:                never,
		`^X-Spam: yes\n^X-Phish: yes`:           never,
		`^X-Spam: [^\x00-\x{10FFFF}]`:           never,
		`(?:^)*X-Spam: yes`:                     unnamed,
		`^X-Spam: \byes\b(?:$|;)`:               secret,
		`^X-Spam: yes$|^X-Spam: yes$never`:      secret,
		`^(?:x-key: 4711|[^\x00-\x{10FFFF}]: a)$`: secret,
	} {
		if _, err := policy.CompileExpression(expression); err != nil {
			t.Error(err)
		} else if got := shapeOf(expression); got != want {
			t.Errorf("%q has the shape %+v, want %+v", expression, got, want)
		}
	}
}

// I15: a score is a number, so the group has to catch one.
func TestCatchesNumber(t *testing.T) {
	for expression, want := range map[string]bool{
		`^X: (\d+)`:                    true,
		`^X: (0\.\d*|1\.0*)$`:          true,
		`^X: (-?[0-9]+(?:[.,]\d+)?)\b`: true,
		`^X: (.*)`:                     true,
		`^X: (\S+)`:                    true,
		`^X: (?:a|(5|yes))`:            true,
		`^X: (^5$)`:                    true,
		`^X: (yes)`:                    false,
		`^X: (\*+)`:                    false,
		`^X: (score=\d+)`:              false,
		`^X: (\d+%)`:                   false,
		`^X: ([.,+-]*)`:                false,
		`^X: ()`:                       false,
		`^X: 5`:                        false,
	} {
		if got := catchesNumber(expression); got != want {
			t.Errorf("%q catches a number: %v, want %v", expression, got, want)
		}
	}
}

// FuzzShape compares what is said about an expression with what it matches.
func FuzzShape(f *testing.F) {
	for _, expression := range []string{`^X-Spam: yes$`, `a^|X:`, `(?i)^x-key: (?:a|[bc])+$`, `X-Spam: (\d)`, `^.*: b$c`} {
		f.Add(expression, "X-Spam: yes 5")
	}
	f.Fuzz(func(t *testing.T, expression, line string) {
		e, err := policy.CompileExpression(expression)
		if err != nil {
			return
		}
		s := shapeOf(expression)
		number := catchesNumber(expression)
		capture, matches := e.Match([]byte(line))
		// A header line is one line.
		if !matches || strings.Contains(line, "\n") {
			return
		}
		if !s.possible {
			t.Errorf("%q matches %q, but is said to match nothing", expression, line)
		}
		if s.named && strings.Index(line, ":") < 1 {
			t.Errorf("%q matches %q, but is said to begin with a name", expression, line)
		}
		if _, err := policy.ParseScore(capture); err == nil && e.Groups() == 1 && !number {
			t.Errorf("%q catches %q, but is said to catch no number", expression, capture)
		}
	})
}
