package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"gatemilter/policy"
)

// Limits of a message file. The daemon takes no longer headers either; a body that
// is longer is cut.
const (
	maxHeaderBytes = 1 << 20
	maxBodyBytes   = 256 << 20
)

// readMessage reads a message (RFC 5322, section 2.1) from a file, or from standard
// input for "-". The body has the line ends of SMTP.
func readMessage(path string, stdin io.Reader) (header []policy.Field, body io.Reader, err error) {
	if path == "-" {
		return splitMessage(stdin)
	}
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("message %q is no regular file: give - to read from a pipe", path)
	}
	var data *os.File
	if err == nil {
		data, err = os.Open(path)
	}
	if pathError, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, nil, fmt.Errorf("message %q can't be read: %w; check the path", path, pathError.Err)
	}
	// It is read until the program ends.
	return splitMessage(data)
}

// splitMessage reads the header as a mail server does: it ends at the first empty line,
// or at the first line that is no header field. A "From " line in front, as in
// an mbox file, is skipped.
func splitMessage(r io.Reader) (header []policy.Field, body io.Reader, err error) {
	lines := bufio.NewReader(r)
	var value strings.Builder // of the last field so far
	finish := func() {
		if len(header) > 0 {
			header[len(header)-1].Value = value.String()
		}
	}
	for n, read := 0, 0; ; n++ {
		line, err := readLine(lines, maxHeaderBytes-read)
		if err != nil {
			return nil, nil, err
		}
		read += len(line)
		text := strings.TrimRight(line, "\r\n")
		switch {
		case n == 0 && strings.HasPrefix(text, "From "):
		case len(header) > 0 && text != "" && strings.ContainsRune(" \t", rune(text[0])):
			value.WriteString("\n" + text)
		case isField(text):
			finish()
			name, rest, _ := strings.Cut(text, ":")
			header = append(header, policy.Field{Name: name})
			value.Reset()
			value.WriteString(rest)
		case len(header) == 0:
			return nil, nil, errors.New("there is no header: the first line has to be a field such as \"Subject: hello\"")
		default:
			finish()
			rest := io.Reader(lines)
			if text != "" {
				rest = io.MultiReader(strings.NewReader(line), lines)
			}
			return header, withCRLF(io.LimitReader(rest, maxBodyBytes)), nil
		}
	}
}

// readLine reads a line of at most so many octets of the header.
func readLine(r *bufio.Reader, limit int) (string, error) {
	var line []byte
	for {
		piece, err := r.ReadSlice('\n')
		if line = append(line, piece...); len(line) > limit {
			return "", fmt.Errorf("header has more than %d octets, which the daemon refuses too", maxHeaderBytes)
		}
		switch {
		case err == nil, errors.Is(err, io.EOF):
			return string(line), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return "", fmt.Errorf("message can't be read: %w", err)
		}
	}
}

// isField says whether a line starts a header field.
func isField(line string) bool {
	name, _, ok := strings.Cut(line, ":")
	name = strings.TrimRight(name, " \t")
	return ok && name != "" && !strings.ContainsAny(name, " \t")
}

// withCRLF gives every line the end that it has in SMTP, for files have LF.
func withCRLF(r io.Reader) io.Reader { return &crlfReader{in: bufio.NewReader(r)} }

type crlfReader struct {
	in *bufio.Reader
	// buf holds the piece of a line of which rest is still to be read.
	buf, rest []byte
}

func (r *crlfReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// next reads a line, or a piece of a long one.
func (r *crlfReader) next() error {
	piece, err := r.in.ReadSlice('\n')
	if len(piece) == 0 {
		return err
	}
	text, ended := bytes.CutSuffix(piece, []byte("\n"))
	if errors.Is(err, bufio.ErrBufferFull) && piece[len(piece)-1] == '\r' {
		// It may be half of a line end.
		text = piece[:len(piece)-1]
		if err := r.in.UnreadByte(); err != nil {
			return err
		}
	}
	r.buf = append(r.buf[:0], text...)
	if ended {
		r.buf = append(bytes.TrimSuffix(r.buf, []byte("\r")), '\r', '\n')
	}
	r.rest = r.buf
	return nil
}
