package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"gatemilter/cmd/internal/daemon"
	"gatemilter/policy"
)

var testExpressionCommand = command{
	name:    "test-expression",
	args:    "[--score THRESHOLD] EXPRESSION 'HEADER: LINE'|FILE|-",
	summary: "try a spam_header expression on a header line or a message",
	help: `
Shows which header lines an expression matches, the score that it captures, and
whether that is spam. EXPRESSION is what the setting spam_header would hold. The
second argument is a header line if it contains a colon and is no file, else the
name of a file with a message; - reads the message from standard input.

Exit status: 0 when the result is spam, 1 when it is not, 2 when the expression
or the message can't be used.

Examples
  gatemilter test-expression '^X-Spam-Gw: spam$' 'X-Spam-Gw: spam'
  gatemilter test-expression --score 0.50 '^X-Spam: (0\.\d*|1\.0*)$' message.eml`,
	setUp: func(flags *flag.FlagSet) runner {
		threshold := flags.String("score", "", "`THRESHOLD` as spam_score would hold it")
		return func(ctx context.Context, args []string, io stdio) error {
			if len(args) != 2 {
				return usagef("it takes an expression and a header line or file, but got %s", count(len(args), "argument"))
			}
			e, score, err := compile(args[0], *threshold)
			if err != nil {
				return inputError{err}
			}
			header, err := headerArgument(args[1], io.in)
			if err != nil {
				return inputError{err}
			}
			return tryExpression(ctx, e, score, header, io.out)
		}
	},
}

// compile reads the expression and the threshold, which is nil when none is given.
func compile(source, threshold string) (*policy.Expression, *float64, error) {
	e, err := policy.CompileExpression(source)
	if err != nil || threshold == "" {
		return e, nil, err
	}
	score, err := policy.ParseScore(threshold)
	if err != nil {
		return nil, nil, fmt.Errorf("--score: %w", err)
	}
	return e, &score, e.CheckScoring()
}

// headerArgument reads the fields to try the expression on.
func headerArgument(arg string, stdin io.Reader) (header []policy.Field, err error) {
	_, missing := os.Stat(arg)
	switch {
	case missing == nil || arg == "-":
		header, _, err = readMessage(arg, stdin)
	case strings.Contains(arg, ":"):
		header, _, err = splitMessage(strings.NewReader(arg))
	default:
		err = fmt.Errorf("%q is neither a file nor, without a colon, a header line: write one such as 'X-Spam: yes'", arg)
	}
	return header, err
}

// tryExpression shows what matched, and the verdict of the policy itself on a message
// with this header.
func tryExpression(ctx context.Context, e *policy.Expression, score *float64, header []policy.Field, out io.Writer) error {
	var line []byte
	for i := range header {
		line = header[i].Line(line[:0])
		capture, ok := e.Match(line)
		if !ok {
			continue
		}
		fmt.Fprintf(out, "match    %s\n", daemon.Visible(string(line), 100))
		if e.Groups() > 0 {
			fmt.Fprintf(out, "capture  %s\n", daemon.Visible(capture, 100))
		}
	}
	spam, reasons, err := policy.ReadTags(ctx, e, score, header)
	if err != nil {
		return err
	}
	for _, r := range reasons {
		fmt.Fprintf(out, "rule     %s: %s\n", r.Code, daemon.Visible(r.Text, 200))
	}
	if spam.IsSpam {
		fmt.Fprintln(out, "verdict  spam")
		return nil
	}
	fmt.Fprintln(out, "verdict  not spam")
	return errFinding
}
