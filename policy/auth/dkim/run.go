package dkim

import "io"

// A run is the verifier at work on one signature, on a goroutine of its own,
// while the body comes in. It is the body that the verifier reads, part by
// part. The end of them is always an end of file, never an error, which would
// leave goroutines behind in the verifier; the result of a message cut short is
// thrown away.
type run struct {
	signature *signature
	parts     chan part
	// read is sent to when a part is no longer in use.
	read chan struct{}
	// done is closed when objection is final.
	done      chan struct{}
	objection *objection
}

func startRun(s *signature) *run {
	r := &run{
		signature: s,
		parts:     make(chan part),
		read:      make(chan struct{}),
		done:      make(chan struct{}),
	}
	go r.work()
	return r
}

// feed gives a part to all runs at once and returns when they have read it.
func feed(runs []*run, p part) {
	for _, r := range runs {
		r.parts <- p
	}
	for _, r := range runs {
		<-r.read
	}
}

// end waits for the result.
func (r *run) end() *objection {
	close(r.parts)
	<-r.done
	return r.objection
}

func (r *run) work() {
	defer close(r.done)
	r.objection = r.signature.verify(r)
	// What the verifier didn't read has to be taken from feed all the same.
	r.WriteTo(io.Discard)
}

// WriteTo gives the body.
func (r *run) WriteTo(w io.Writer) (int64, error) {
	var written int64
	for p := range r.parts {
		n, err := r.pass(p, w)
		written += n
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// pass gives a part to w and, even if that panics, back to feed.
func (r *run) pass(p part, w io.Writer) (int64, error) {
	defer func() { r.read <- struct{}{} }()
	return p.WriteTo(w)
}
