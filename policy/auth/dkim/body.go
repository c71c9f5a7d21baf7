package dkim

const (
	// maxPending is how much of the body, in octets, waits for the keys in
	// memory. Most messages are shorter, and most keys are there sooner.
	maxPending = 256 << 10
	// blockSize is how much of the body, in octets, the verifier gets at once.
	blockSize = 32 << 10
	// maxBlankRun is the number of blanks and line ends in a row, in octets.
	// The verifier keeps them all until something follows, and in the simple
	// form copies and reads them again with each block: such a run costs twice
	// as much as other text if it is no longer than a block.
	maxBlankRun = blockSize
)

// A body keeps what has come until it can be handed on.
type body struct {
	kept []byte
	// blank is the length of the run of blanks and line ends at the end.
	blank int
}

// scan measures the runs in p, and says whether all are within the bound.
func (b *body) scan(p []byte) bool {
	for _, c := range p {
		if c != '\n' && c != '\r' && c != ' ' && c != '\t' {
			b.blank = 0
		} else if b.blank++; b.blank > maxBlankRun {
			return false
		}
	}
	return true
}

// keep takes as much of p as there is room for below the limit, and gives the
// rest.
func (b *body) keep(p []byte, limit int) []byte {
	n := min(len(p), limit-len(b.kept))
	b.kept = append(b.kept, p[:n]...)
	return p[n:]
}

// flush hands all that was kept to the runs, in blocks.
func (b *body) flush(runs []*run) {
	for rest := b.kept; len(rest) > 0; {
		n := min(len(rest), blockSize)
		feed(runs, rest[:n])
		rest = rest[n:]
	}
	if cap(b.kept) > 2*blockSize {
		b.kept = nil
	}
	b.kept = b.kept[:0]
}
