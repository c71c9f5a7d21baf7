package lab

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
)

const (
	// maxReplyLine is generous: RFC 5321 section 4.5.3.1.5 allows 512 octets.
	maxReplyLine  = 4096
	maxReplyLines = 200
)

// A Reply is what the server said to one command (RFC 5321 section 4.2). The zero Reply stands for a command that was
// not sent.
type Reply struct {
	Code     int    // 220 … 554
	Enhanced string // enhanced status code (RFC 3463) that starts every line, or empty
	Text     string // the rest; lines separated by \n
}

// OK says whether the reply is positive: 2xx, or 3xx where more is awaited.
func (r Reply) OK() bool { return r.Code >= 200 && r.Code < 400 }

// String is the reply as it was sent, lines separated by \n.
func (r Reply) String() string {
	lines := strings.Split(r.Text, "\n")
	for i, line := range lines {
		sep := "-"
		if i == len(lines)-1 {
			sep = " "
		}
		if r.Enhanced != "" {
			line = r.Enhanced + " " + line
		}
		lines[i] = strconv.Itoa(r.Code) + sep + line
	}
	return strings.Join(lines, "\n")
}

var queuedAs = regexp.MustCompile(`(?m)\bqueued as ([0-9A-Za-z]+)$|\b([0-9A-Za-z]+) Message accepted for delivery$`)

// QueueID is the queue id in Postfix's or Sendmail's reply to a message that it accepted, or empty.
func (r Reply) QueueID() string {
	if m := queuedAs.FindStringSubmatch(r.Text); m != nil {
		return m[1] + m[2]
	}
	return ""
}

var (
	replyLine = regexp.MustCompile(`^([2-5][0-9][0-9])(?:([ -])(.*))?$`)
	enhanced  = regexp.MustCompile(`^([245]\.[0-9]{1,3}\.[0-9]{1,3}) `)
)

// readReply reads one reply. The reader's buffer must hold maxReplyLine bytes.
func readReply(r *bufio.Reader) (Reply, error) {
	var code string
	var lines []string
	for {
		line, err := readLine(r)
		if err != nil {
			return Reply{}, err
		}
		m := replyLine.FindStringSubmatch(line)
		if m == nil || code != "" && m[1] != code {
			return Reply{}, fmt.Errorf("%q is not a line of an SMTP reply", line)
		}
		code = m[1]
		if lines = append(lines, m[3]); m[2] != "-" {
			return newReply(code, lines), nil
		}
		if len(lines) == maxReplyLines {
			return Reply{}, fmt.Errorf("SMTP reply %s has more than %d lines", code, maxReplyLines)
		}
	}
}

// newReply takes the enhanced status code off the lines, where all bear the same.
func newReply(code string, lines []string) Reply {
	n, _ := strconv.Atoi(code) // three digits
	r := Reply{Code: n}
	if m := enhanced.FindStringSubmatch(lines[0]); m != nil {
		r.Enhanced = m[1]
	}
	for _, line := range lines {
		if !strings.HasPrefix(line, r.Enhanced+" ") {
			r.Enhanced = ""
		}
	}
	if r.Enhanced != "" {
		for i := range lines {
			lines[i] = lines[i][len(r.Enhanced)+1:]
		}
	}
	r.Text = strings.Join(lines, "\n")
	return r
}

func readLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return "", fmt.Errorf("SMTP reply line is longer than %d bytes", maxReplyLine)
	case errors.Is(err, io.EOF):
		return "", fmt.Errorf("connection closed by the SMTP server: %w", io.ErrUnexpectedEOF)
	case err != nil:
		return "", err
	}
	return strings.TrimRight(string(line), "\r\n"), nil
}
