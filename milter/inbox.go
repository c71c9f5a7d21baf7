package milter

import (
	"io"
	"sync"
)

// The sizes of an inbox: at rest, and while more comes in than fits. For a
// longer packet it grows further, by doubling, as the octets arrive: a length
// that nothing follows costs nothing.
const (
	smallInbox = 4 << 10
	largeInbox = 64 << 10
)

var largeInboxes = sync.Pool{New: func() any { return new([largeInbox]byte) }}

// An inbox holds the octets that have arrived and are still to be used.
type inbox struct {
	buf        []byte
	start, end int
	// small is the buffer for times of rest.
	small []byte
}

func (b *inbox) len() int { return b.end - b.start }

// peek returns the first n octets, which must be there.
func (b *inbox) peek(n int) []byte { return b.buf[b.start : b.start+n] }

// take removes the first n octets, which must be there, and returns them. They
// are valid until the next fill.
func (b *inbox) take(n int) []byte {
	p := b.peek(n)
	b.start += n
	return p
}

// fill reads once, after it has made room. When the last read left none, more
// is waiting than fits.
func (b *inbox) fill(r io.Reader) error {
	full := b.end == len(b.buf)
	switch {
	case b.buf == nil:
		b.small = make([]byte, smallInbox)
		b.buf = b.small
	case full && b.start == b.end && len(b.buf) < largeInbox, full && b.start == 0:
		b.grow()
	}
	if full || b.start == b.end {
		b.end = copy(b.buf, b.buf[b.start:b.end])
		b.start = 0
	}
	n, err := r.Read(b.buf[b.end:])
	b.end += n
	if n > 0 {
		return nil
	}
	return err
}

func (b *inbox) grow() {
	old := b.buf
	if len(old) < largeInbox {
		b.buf = largeInboxes.Get().(*[largeInbox]byte)[:]
	} else {
		b.buf = make([]byte, 2*len(old))
	}
	copy(b.buf, old)
	recycle(old)
}

// rest gives back what a message needed, if nothing is left in it.
func (b *inbox) rest() {
	if b.start == b.end {
		recycle(b.buf)
		b.buf, b.start, b.end = b.small, 0, 0
	}
}

func recycle(buf []byte) {
	if len(buf) == largeInbox {
		largeInboxes.Put((*[largeInbox]byte)(buf))
	}
}
