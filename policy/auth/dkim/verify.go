package dkim

import (
	"fmt"
	"io"
	"strings"

	"github.com/emersion/go-msgauth/dkim"

	"gatemilter/policy"
)

// verify asks the verifier about a signature whose key is there, and returns
// when the body is at its end or no longer matters.
func (s *signature) verify(body io.WriterTo) (o *objection) {
	defer func() {
		if fault := recover(); fault != nil {
			o = temporary("the verifier failed: %s", quote(fmt.Sprint(fault)))
		}
	}()
	lookup := func(string) ([]string, error) { return []string{s.key.record()}, nil }
	// The signature stands first in its header; others may be signed.
	options := dkim.VerifyOptions{LookupTXT: lookup, MaxVerifications: 1}
	results, err := dkim.VerifyWithOptions(&signedMessage{s.header, body}, &options)
	if len(results) == 0 {
		return temporary("the verifier failed: %s", quote(fmt.Sprint(err)))
	}
	return classify(results[0].Err)
}

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

// A signedMessage is what the verifier reads for one signature: first the signed
// header, then the body.
type signedMessage struct {
	header []byte
	body   io.WriterTo
}

// Read gives the header, and never body along with it: the verifier then takes
// the body by WriteTo, without a copy.
func (m *signedMessage) Read(p []byte) (int, error) {
	if len(m.header) == 0 {
		return 0, io.EOF
	}
	n := copy(p, m.header)
	m.header = m.header[n:]
	return n, nil
}

// WriteTo gives the body.
func (m *signedMessage) WriteTo(w io.Writer) (int64, error) { return m.body.WriteTo(w) }
