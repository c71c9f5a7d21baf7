package tlsprobe

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Limits of a reply. RFC 5321, section 4.5.3.1.5, allows lines of 512 octets; the
// longest lists of extensions have about 20 lines.
const (
	maxLine  = 2048
	maxLines = 100
)

// A reply is what an SMTP server answers (RFC 5321, section 4.2): a code and one or
// more lines of text, without the code.
type reply struct {
	code  int
	lines []string
}

func (r reply) String() string { return fmt.Sprintf("%d %s", r.code, r.lines[0]) }

// offers tells whether an answer to EHLO lists an extension. The first line is a
// greeting.
func (r reply) offers(extension string) bool {
	for _, line := range r.extensions() {
		keyword, _, _ := strings.Cut(line, " ")
		if strings.EqualFold(keyword, extension) {
			return true
		}
	}
	return false
}

// extensions are the lines of an answer to EHLO that list them.
func (r reply) extensions() []string {
	if r.code != 250 {
		return nil
	}
	return r.lines[1:]
}

// readReply reads one reply from in, whose buffer has maxLine octets. What is no
// reply is a Finding.
func readReply(in *bufio.Reader) (reply, error) {
	var r reply
	for {
		code, text, more, err := readLine(in)
		switch {
		case err != nil:
			return reply{}, err
		case len(r.lines) > 0 && code != r.code:
			return reply{}, Finding{NotSMTP, fmt.Sprintf("the codes %d and %d stand in one reply", r.code, code)}
		case len(r.lines) == maxLines:
			return reply{}, Finding{NotSMTP, fmt.Sprintf("a reply has more than %d lines", maxLines)}
		}
		r.code, r.lines = code, append(r.lines, text)
		if !more {
			return r, nil
		}
	}
}

// readLine reads a line of a reply; more says that it isn't the last.
func readLine(in *bufio.Reader) (code int, text string, more bool, err error) {
	raw, err := in.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return 0, "", false, Finding{NotSMTP, fmt.Sprintf("a line has more than %d octets: it begins with %s", maxLine, quote(string(raw)))}
	case err != nil && !(errors.Is(err, io.EOF) && len(raw) > 0):
		return 0, "", false, err
	}
	line := strings.TrimSuffix(strings.TrimSuffix(string(raw), "\n"), "\r")
	switch {
	case !beginsReply(line):
		return 0, "", false, Finding{NotSMTP, "what it sent is no SMTP reply: " + quote(line)}
	case err != nil: // it ends within a line
		return 0, "", false, err
	}
	code = int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
	if len(line) == 3 {
		return code, "", false, nil
	}
	return code, line[4:], line[3] == '-', nil
}

// beginsReply tells whether a line begins with a code of SMTP, alone or before a
// blank or hyphen.
func beginsReply(line string) bool {
	return len(line) >= 3 && '2' <= line[0] && line[0] <= '5' && '0' <= line[1] && line[1] <= '9' && '0' <= line[2] && line[2] <= '9' &&
		(len(line) == 3 || line[3] == ' ' || line[3] == '-')
}
