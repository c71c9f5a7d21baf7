package lookup

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxReply is the longest reply that Postfix takes, without the netstring's
// length and comma.
const maxReply = 100_000

// maxReason is how much of a reason Postfix shows in its log.
const maxReason = 200

// The words of the protocol that a reply starts with, each with its blank.
const (
	wordOK       = "OK "
	wordNotFound = "NOTFOUND "
	wordTemp     = "TEMP "
)

type status uint8

// The zero status is the safe one.
const (
	statusTemp status = iota
	statusOK
	statusNotFound
)

// Statuses are the statuses of answers as statistics name them.
var Statuses = [...]string{statusTemp: "temp", statusOK: "ok", statusNotFound: "notfound"}

// An Answer is what a table has for a key. The zero Answer is a temporary
// failure.
type Answer struct {
	status status
	text   string
}

// OK is the answer that the key's value is value. The value must have 1 to
// 99,997 octets of UTF-8, not all of them white space, and no NUL, CR or LF; with any
// other the MTA is told of a temporary failure, and the server reports it.
func OK(value string) Answer { return Answer{statusOK, value} }

// NotFound is the answer that the table has nothing for the key: the MTA goes
// its default way.
func NotFound() Answer { return Answer{status: statusNotFound} }

// Temp is the answer that nothing can be said now: the MTA defers the mail. The
// reason goes to its log: what is not printable ASCII becomes '?', and it ends
// after 200 octets.
func Temp(reason string) Answer { return Answer{statusTemp, reason} }

// check says why the MTA can't be given a value. It does not show the value,
// which may be a password.
func (a Answer) check() error {
	if a.status != statusOK {
		return nil
	}
	switch at := strings.IndexAny(a.text, "\x00\r\n"); {
	case strings.TrimSpace(a.text) == "":
		return errors.New("value is empty; answer NotFound or Temp")
	case at >= 0:
		return fmt.Errorf("value has %q in it; leave it out", a.text[at])
	case !utf8.ValidString(a.text):
		return errors.New("value is not UTF-8, and Postfix logs such values; leave it out")
	case len(a.text) > maxReply-len(wordOK):
		return fmt.Errorf("value of %d octets, limit %d; shorten it", len(a.text), maxReply-len(wordOK))
	}
	return nil
}

// appendReply appends the netstring for an answer that was checked.
func appendReply(b []byte, a Answer) []byte {
	word, text := wordTemp, a.text
	switch a.status {
	case statusOK:
		word = wordOK
	case statusNotFound:
		word = wordNotFound
	default:
		text = printable(text)
	}
	b = strconv.AppendInt(b, int64(len(word)+len(text)), 10)
	b = append(append(b, ':'), word...)
	return append(append(b, text...), ',')
}

// printable makes a reason fit for the MTA's log.
func printable(reason string) string {
	if reason == "" {
		return "no reason given"
	}
	b := []byte(reason[:min(len(reason), maxReason)])
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '?'
		}
	}
	return string(b)
}
