package lookup

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// maxRequest is the longest request that is read, without the netstring's
// length and comma. The MTAs limit an address to 2 KiB or less; with quotes and
// a mailer's further parts it is still well below.
const maxRequest = 8 << 10

// requestSize is what the longest request takes on the wire.
const requestSize = len("8192:") + maxRequest + len(",")

// peekRequest waits for a whole request in a reader of requestSize or more. It
// returns the table's name and the key, which are valid until the next read,
// and the size to discard after use. The error is io.EOF only between requests.
func peekRequest(r *bufio.Reader) (name, key []byte, size int, err error) {
	length, start, err := peekLength(r)
	if err != nil {
		return nil, nil, 0, err
	}
	end := start + length
	whole, err := peek(r, end+1)
	if err != nil {
		return nil, nil, 0, err
	}
	if whole[end] != ',' {
		return nil, nil, 0, fmt.Errorf("request of %d octets is followed by %q, not by a comma", length, whole[end])
	}
	name, key, ok := bytes.Cut(whole[start:end], []byte(" "))
	if !ok || len(name) == 0 {
		return nil, nil, 0, fmt.Errorf("request %.100q is not a table's name, a blank and a key", whole[start:end])
	}
	return name, key, end + 1, nil
}

// peekLength reads a netstring's length, and returns where its octets start. It
// stops at the first octet that is wrong, and waits for no further ones.
func peekLength(r *bufio.Reader) (length, start int, err error) {
	for start = 1; ; start++ {
		head, err := peek(r, start)
		if err != nil {
			return 0, 0, err
		}
		switch c := head[start-1]; {
		case c == ':' && start > 1:
			return length, start, nil
		case c < '0' || c > '9':
			return 0, 0, fmt.Errorf("octet %q in a request's length, which is digits and a colon", c)
		case start > 1 && head[0] == '0':
			return 0, 0, errors.New("request's length has a leading zero")
		default:
			length = 10*length + int(c-'0')
		}
		if length > maxRequest {
			return 0, 0, fmt.Errorf("request is longer than the limit of %d octets", maxRequest)
		}
	}
}

// peek returns the first n octets without taking them.
func peek(r *bufio.Reader, n int) ([]byte, error) {
	b, err := r.Peek(n)
	if err == io.EOF && len(b) > 0 {
		err = errors.New("connection was closed within a request")
	}
	return b, err
}
