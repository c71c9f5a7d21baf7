package tlsprobe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/textproto"
	"strings"
)

// A Letter is a message that a [Prober] sends at the end of a session: after the login, or
// where there is none to a host that takes mail without. It shows what a login alone does
// not: that the host lets this account send as this address.
type Letter struct {
	From, To string // addresses, of ASCII letters
	// Write makes the message, once the host has agreed to sender and recipient. Its lines
	// end with CRLF, or with LF, and have at most 998 octets. Where it fails, nothing is
	// sent. Nil: the host is only asked whether it would take a message.
	Write func(context.Context) ([]byte, error)
}

// Limits of a letter, in octets. RFC 5321, section 4.5.3.1, allows paths of 256 with their
// brackets and lines of 1000 with their end.
const (
	maxPath       = 254
	maxLetter     = 1 << 20
	maxLetterLine = 998
)

// check says what is wrong with a letter before anybody is asked to take it.
func (l *Letter) check() error {
	for _, address := range []string{l.From, l.To} {
		if len(address) > maxPath || !strings.Contains(address, "@") || strings.ContainsFunc(address, breaksPath) {
			return fmt.Errorf("%s can't be an address of a letter: write one such as user@example.com", quote(address))
		}
	}
	return nil
}

// breaksPath tells whether a character would end a path, or the line that it stands in.
func breaksPath(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune(`<>"\`, r)
}

// checkText says what is wrong with a message: what one server takes for the end of a line
// and another doesn't would let it end early.
func checkText(data []byte) error {
	if len(data) > maxLetter {
		return fmt.Errorf("a letter of %d octets is too long: at most %d are allowed", len(data), maxLetter)
	}
	for line := range strings.SplitSeq(string(data), "\n") {
		line = strings.TrimSuffix(line, "\r")
		if len(line) > maxLetterLine || strings.ContainsAny(line, "\r\x00") {
			return errors.New("a letter has a line that is too long, or a line end or a NUL within one")
		}
	}
	return nil
}

// mayWrite says whether the host is the one to be given the letter.
func (r *run) mayWrite() Check {
	if r.Login != nil && !r.report.Accepted.Holds {
		return fails(Finding{NotChecked, "there was no login, so nothing is sent"})
	}
	return holds("")
}

// send gives the host the letter, if there is one. What goes wrong is noted: all that was
// seen before still holds. It says whether the host is still to be talked with.
func (r *run) send(ctx context.Context, s *session) (goesOn bool) {
	if r.Letter == nil {
		return true
	}
	if r.report.Sent = r.mayWrite(); !r.report.Sent.Holds {
		return true
	}
	err := r.letter(ctx, s)
	var f Finding
	switch {
	case err == nil && r.Letter.Write == nil:
		r.report.Sent = holds("the server would take mail from this address")
	case err == nil:
		r.report.Sent = holds("the server has taken the message")
	case errors.As(err, &f) && f.Problem == NotSMTP && r.Login != nil:
		// What it says may be the password.
		r.report.Sent = fails(Finding{NotSMTP, "the server answers with what is no SMTP reply"})
	case errors.As(err, &f) && (f.Problem == LetterRefused || f.Problem == LetterUnwritten):
		r.report.Sent = fails(f)
		return true
	default:
		r.report.Sent = fails(findingOf(withContext(ctx, err)))
	}
	return err == nil
}

// letter is the transaction (RFC 5321, section 3.3).
func (r *run) letter(ctx context.Context, s *session) error {
	for _, step := range []struct{ line, what string }{
		{"MAIL FROM:<" + r.Letter.From + ">", "the sender"},
		{"RCPT TO:<" + r.Letter.To + ">", "the recipient"},
	} {
		answer, err := s.command(step.line)
		if err != nil {
			return err
		}
		if answer.code/100 != 2 {
			return r.refused(step.what, answer)
		}
	}
	if r.Letter.Write == nil {
		_, err := s.command("RSET")
		return err
	}
	data, err := r.Letter.Write(ctx)
	if err == nil {
		err = checkText(data)
	}
	if err != nil {
		return Finding{LetterUnwritten, err.Error()}
	}
	return r.data(s, data)
}

// data sends the message itself.
func (r *run) data(s *session, data []byte) error {
	answer, err := s.command("DATA")
	switch {
	case err != nil:
		return err
	case answer.code != 354:
		return r.refused("a message", answer)
	}
	if err := s.begin(); err != nil {
		return err
	}
	// The writer makes all line ends CRLF, and hides dots at their beginning.
	out := textproto.NewWriter(bufio.NewWriter(s.conn)).DotWriter()
	_, err = out.Write(data)
	if failed := out.Close(); err == nil {
		err = failed
	}
	if err != nil && !isClosed(err) {
		return err
	}
	if answer, err = s.answer("an answer to the message"); err != nil {
		return err
	}
	if answer.code/100 != 2 {
		return r.refused("the message", answer)
	}
	return nil
}

// refused notes what the host says against a letter.
func (r *run) refused(what string, answer reply) Finding {
	r.report.Said = r.said(answer)
	return Finding{LetterRefused, fmt.Sprintf("the server refuses %s: %s", what, answer.codes())}
}

// maxSaid bounds what of an answer is kept.
const maxSaid = 600

// said is an answer as it may be shown to whoever gave the password: without it, should it
// be in it.
func (r *run) said(answer reply) string {
	text := fmt.Sprintf("%d %s", answer.code, strings.Join(answer.lines, " "))
	if r.Login != nil && r.Login.shows(text) {
		return answer.codes()
	}
	return text[:min(len(text), maxSaid)]
}
