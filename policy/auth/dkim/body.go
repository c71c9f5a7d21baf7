package dkim

import (
	"bytes"
	"io"
	"sync"
)

const (
	// maxPending is how much of the body, in octets, is held. Most messages are
	// shorter.
	maxPending = 256 << 10
	// blockSize is how much of the body, in octets, the verifier gets at once: it
	// copies each block twice.
	blockSize = 32 << 10
	// maxBlankRun is the number of blanks and line ends in a row, in octets.
	// The verifier keeps them all until something follows, and in the simple
	// form copies and reads them again with each block: such a run costs twice
	// as much as other text if it is no longer than a block.
	maxBlankRun = blockSize
)

// A body holds what has come until the verifier takes it.
type body struct {
	held part
	// blank is the length of the run of blanks and line ends at the end.
	blank int
}

// bodies are to be used again, for their memory.
var bodies = sync.Pool{New: func() any { return new(body) }}

func newBody() *body { return bodies.Get().(*body) }

// free makes b one for another message.
func (b *body) free() {
	b.held, b.blank = b.held[:0], 0
	bodies.Put(b)
}

// scan measures the runs in p, and says whether all are within the bound. It
// looks at no more of p than could be the end of a run that is too long, or is
// the end of p.
func (b *body) scan(p []byte) bool {
	for len(p) > 0 {
		window := p[:min(len(p), maxBlankRun+1-b.blank)]
		blank := len(window) - len(bytes.TrimRight(window, blanks))
		if blank < len(window) {
			b.blank = 0
		}
		if b.blank += blank; b.blank > maxBlankRun {
			return false
		}
		p = p[len(window):]
	}
	return true
}

// hold takes as much of p as there is room for, and gives the rest.
func (b *body) hold(p []byte) []byte {
	n := min(len(p), maxPending-len(b.held))
	if size := len(b.held) + n; size > cap(b.held) {
		b.held = append(make(part, 0, min(max(size, 2*cap(b.held)), maxPending)), b.held...)
	}
	b.held = append(b.held, p[:n]...)
	return p[n:]
}

// A part is a part of a body.
type part []byte

// WriteTo writes the part in blocks.
func (p part) WriteTo(w io.Writer) (int64, error) {
	var written int64
	for len(p) > 0 {
		n, err := w.Write(p[:min(len(p), blockSize)])
		written += int64(n)
		if err != nil {
			return written, err
		}
		p = p[n:]
	}
	return written, nil
}
