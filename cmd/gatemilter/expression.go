package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"gatemilter/policy"
)

var testExpressionCommand = command{
	name:    "test-expression",
	args:    "[--score THRESHOLD] EXPRESSION 'HEADER: LINE'|FILE|-",
	summary: "try a spam_header expression on a header line or a message",
	help: `
Shows which header lines an expression matches, the score that it captures, and
whether that is spam. EXPRESSION is what the setting spam_header would hold. The
second argument is a header line if it contains a colon, else the name of a
file with a message; - reads the message from standard input.

Exit status: 0 when the result is spam, 1 when it is not.

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
				return err
			}
			header, err := headerArgument(args[1], io.in)
			if err != nil {
				return err
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
		return nil, nil, usagef("--score: %v", err)
	}
	return e, &score, e.CheckScoring()
}

// headerArgument reads the fields to try the expression on.
func headerArgument(arg string, stdin io.Reader) ([]policy.Field, error) {
	if arg == "-" {
		return readHeader(stdin)
	}
	if _, err := os.Stat(arg); err != nil && strings.Contains(arg, ":") {
		return readHeader(strings.NewReader(arg))
	}
	return readHeaderFile(arg)
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
		fmt.Fprintf(out, "match    %s\n", visible(string(line), 100))
		if e.Groups() > 0 {
			fmt.Fprintf(out, "capture  %s\n", visible(capture, 100))
		}
	}
	spam, reasons, err := policy.ReadTags(ctx, e, score, header)
	if err != nil {
		return err
	}
	for _, r := range reasons {
		fmt.Fprintf(out, "rule     %s: %s\n", r.Code, visible(r.Text, 200))
	}
	if spam.IsSpam {
		fmt.Fprintln(out, "verdict  spam")
		return nil
	}
	fmt.Fprintln(out, "verdict  not spam")
	return errFinding
}

// maxHeaderBytes is how much of a message is read: the daemon takes no longer
// headers either.
const maxHeaderBytes = 1 << 20

func readHeaderFile(path string) ([]policy.Field, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("message can't be read: %w", err)
	}
	defer f.Close()
	return readHeader(f)
}

// readHeader reads the header of a message (RFC 5322, section 2.2) as a mail
// server does: it ends at the first empty line, or at the first line that is no
// header field. A "From " line in front, as in an mbox file, is skipped.
func readHeader(r io.Reader) ([]policy.Field, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxHeaderBytes))
	if err != nil {
		return nil, fmt.Errorf("message can't be read: %w", err)
	}
	var header []policy.Field
	for n := 0; len(data) > 0; n++ {
		var line []byte
		line, data, _ = bytes.Cut(data, []byte("\n"))
		text := string(bytes.TrimSuffix(line, []byte("\r")))
		if n == 0 && strings.HasPrefix(text, "From ") {
			continue
		}
		if len(header) > 0 && text != "" && strings.ContainsRune(" \t", rune(text[0])) {
			header[len(header)-1].Value += "\n" + text
			continue
		}
		name, value, ok := strings.Cut(text, ":")
		if !ok || name == "" || strings.ContainsAny(strings.TrimRight(name, " \t"), " \t") {
			break
		}
		header = append(header, policy.Field{Name: name, Value: strings.TrimPrefix(value, " ")})
	}
	if len(header) == 0 {
		return nil, fmt.Errorf("there is no header: the first line has to be a field such as \"Subject: hello\"")
	}
	return header, nil
}
