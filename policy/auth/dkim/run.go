package dkim

import (
	"fmt"
	"io"
	"strings"

	"github.com/emersion/go-msgauth/dkim"

	"gatemilter/policy"
)

// A run is the verifier at work on one signature. It is the message that the
// verifier reads: first the signed header, then the body, block by block. The
// end of the blocks is always an end of file, never an error, which would leave
// goroutines behind in the verifier; the result of a message cut short is
// thrown away.
type run struct {
	signature *signature
	key       *key
	header    []byte
	blocks    chan []byte
	// read is sent to when a block is no longer in use.
	read chan struct{}
	// done is closed when objection is final.
	done      chan struct{}
	objection *objection
}

func startRun(s *signature, k *key) *run {
	r := &run{
		signature: s,
		key:       k,
		header:    s.header,
		blocks:    make(chan []byte),
		read:      make(chan struct{}),
		done:      make(chan struct{}),
	}
	go r.work()
	return r
}

// feed gives a block to all runs at once and returns when they have read it.
func feed(runs []*run, block []byte) {
	for _, r := range runs {
		r.blocks <- block
	}
	for _, r := range runs {
		<-r.read
	}
}

// end waits for the result.
func (r *run) end() *objection {
	close(r.blocks)
	<-r.done
	return r.objection
}

func (r *run) work() {
	defer close(r.done)
	r.objection = r.verify()
	// What the verifier didn't read has to be taken from feed all the same.
	r.WriteTo(io.Discard)
}

func (r *run) verify() (o *objection) {
	defer func() {
		if fault := recover(); fault != nil {
			o = temporary("the verifier failed: %s", quote(fmt.Sprint(fault)))
		}
	}()
	// The signature stands first in its header; others may be signed.
	results, err := dkim.VerifyWithOptions(r, &dkim.VerifyOptions{LookupTXT: r.lookup, MaxVerifications: 1})
	if len(results) == 0 {
		return temporary("the verifier failed: %s", quote(fmt.Sprint(err)))
	}
	return classify(results[0].Err)
}

func (r *run) lookup(string) ([]string, error) { return []string{r.key.record()}, nil }

// classify puts what is left to the verifier into the words of RFC 8601. Its
// permanent errors are all foreseen by the guard, if the two read alike.
func classify(err error) *objection {
	if err == nil {
		return nil
	}
	reason := strings.TrimPrefix(err.Error(), "dkim: ")
	if dkim.IsPermFail(err) {
		return permanent("%s", reason)
	}
	return &objection{policy.AuthFail, reason}
}

// Read gives the header, and never body along with it: the verifier then takes
// the body by WriteTo, without a copy.
func (r *run) Read(p []byte) (int, error) {
	if len(r.header) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.header)
	r.header = r.header[n:]
	return n, nil
}

// WriteTo gives the body.
func (r *run) WriteTo(w io.Writer) (int64, error) {
	var n int64
	for block := range r.blocks {
		m, err := r.pass(block, w)
		n += int64(m)
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// pass gives a block to w and, even if that panics, back to feed.
func (r *run) pass(block []byte, w io.Writer) (int, error) {
	defer func() { r.read <- struct{}{} }()
	return w.Write(block)
}
