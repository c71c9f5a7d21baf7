package policy

import (
	"io"
	"net/netip"
	"strings"
)

// A Message is what policy knows of one SMTP transaction: who is connected,
// what the envelope says, and the header.
type Message struct {
	Client Client
	// Login is the name by which the client authenticated (SMTP AUTH), or "".
	Login string
	// Sender is the envelope sender without angle brackets; "" is the null
	// sender of bounces.
	Sender string
	// Recipients are the envelope recipients without angle brackets, in order.
	Recipients []string
	// Header holds the fields in the order of the message, topmost first,
	// without the Received field of our own server (a milter is not shown it).
	Header []Field
	// Body is read if it is needed; nil is an empty body.
	Body io.Reader
}

// A Client is the host that is connected to our mail server.
type Client struct {
	// IP is the client's address, not mapped, without zone. It is invalid where
	// the mail server didn't tell it.
	IP netip.Addr
	// Local says that there is no client on the network: the sendmail command or
	// a unix socket.
	Local bool
	// Name is the client's reverse name as verified by the mail server, or "".
	Name string
	// HELO is the name that the client gave, or "".
	HELO string
	// TLS is the version in use, or TLSNone.
	TLS TLSVersion
	// Certificate is the common name of the client certificate if the mail
	// server verified that certificate, or "".
	Certificate string
	// Resembles names the gateway whose hosts have reverse names in the same
	// registered domain as Name, as far as the caller has seen any, or "".
	Resembles string
}

// A Field is one header field. Value is all that stands behind the colon, as
// received: with the blank, and folded or not.
type Field struct {
	Name  string
	Value string
}

// Line appends the field to line as "Name: value", unfolded (RFC 5322, section
// 2.2.3), without white space around the value.
func (f *Field) Line(line []byte) []byte {
	line = append(line, trimBlanks(f.Name)...)
	line = append(line, ':', ' ')
	value := trimBlanks(f.Value)
	for {
		end := strings.IndexAny(value, "\r\n")
		if end < 0 {
			return append(line, value...)
		}
		line = append(line, value[:end]...)
		value = value[end+1:]
	}
}

// Is says whether the field has this name, in any case of letters and with the
// blanks before the colon that old syntax allows (RFC 5322, section 4.5).
func (f *Field) Is(name string) bool {
	return len(f.Name) >= len(name) && strings.EqualFold(trimBlanks(f.Name), name)
}

func trimBlanks(s string) string { return strings.Trim(s, " \t\r\n") }
