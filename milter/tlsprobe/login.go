package tlsprobe

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/smtp"
	"slices"
	"strings"

	"gatemilter/policy"
)

// A Login is an account at the host that a Prober tries to log in to.
type Login struct {
	Username string
	Password policy.Secret
	// Unprotected says that the password may be shown to whoever answers. Otherwise TLS has to
	// hold, with a trusted certificate that bears the host's name.
	Unprotected bool
}

// mechanisms are those with which a Prober can log in, the first that is offered counts.
var mechanisms = []string{"PLAIN", "LOGIN", "CRAM-MD5"}

// LoginMechanisms are those with which a Prober can log in, with blanks between them.
func LoginMechanisms() string { return strings.Join(mechanisms, " ") }

// CanLogIn says whether one of those that are offered will do.
func CanLogIn(offered []string) bool { return new(Login).mechanism(offered, "") != nil }

// mechanism is how to log in with one of those that are offered (RFC 4954), or nil.
func (l *Login) mechanism(offered []string, host string) smtp.Auth {
	for _, name := range mechanisms {
		if !slices.Contains(offered, name) {
			continue
		}
		switch name {
		case "PLAIN":
			return smtp.PlainAuth("", l.Username, l.Password.Reveal(), host)
		case "CRAM-MD5":
			return smtp.CRAMMD5Auth(l.Username, l.Password.Reveal())
		}
		return &loginAuth{l}
	}
	return nil
}

// loginAuth is the mechanism LOGIN, which no standard describes: the server asks for the name,
// then for the password.
type loginAuth struct{ *Login }

func (*loginAuth) Start(*smtp.ServerInfo) (mechanism string, response []byte, err error) {
	return "LOGIN", nil, nil
}

func (a *loginAuth) Next(challenge []byte, more bool) ([]byte, error) {
	switch text := strings.ToLower(string(challenge)); {
	case !more:
		return nil, nil
	case strings.HasPrefix(text, "user"):
		return []byte(a.Username), nil
	case strings.HasPrefix(text, "pass"):
		return []byte(a.Password.Reveal()), nil
	}
	return nil, errors.New("the server asks for something else than name and password")
}

// logIn tries the login, if there is one, after all else has been seen.
func (r *run) logIn(s *session) error {
	if r.Login == nil {
		return nil
	}
	var seen Report
	seen.Target = r.report.Target
	seen.judge(r.chain, r.roots, r.Now())
	switch {
	case r.Login.Unprotected:
	case !(seen.Trust.Holds && seen.Name.Holds):
		r.report.Accepted = fails(Finding{NotChecked, "the certificate is not as it should be, so no password is shown"})
		return nil
	case !judgeTLS(seen.Target, r.report.Version).Holds:
		r.report.Accepted = fails(Finding{NotChecked, "TLS is too old, so no password is shown"})
		return nil
	}
	auth := r.Login.mechanism(r.report.Auth, r.report.Target.Host)
	if auth == nil {
		r.report.Accepted = fails(Finding{NoLogin, fmt.Sprintf("the server offers none of the logins %s", strings.Join(mechanisms, ", "))})
		return nil
	}
	answer, err := s.auth(auth, r.report.Target.Host)
	var finding Finding
	if errors.As(err, &finding) && finding.Problem == NotSMTP {
		// What it says may be the password.
		return Finding{NotSMTP, "the server answers the login with what is no SMTP reply"}
	}
	if err != nil {
		return err
	}
	r.report.Accepted = holds("the login is accepted")
	if answer.code != 235 {
		r.report.Accepted = fails(Finding{LoginRefused, "the server refuses the login: " + answer.codes()})
		r.report.Said = r.said(answer)
	}
	return nil
}

// shows tells whether a text has the password in it, or what was sent of it.
func (l *Login) shows(text string) bool {
	password := l.Password.Reveal()
	for _, form := range []string{password, base64.StdEncoding.EncodeToString([]byte(password)), base64.StdEncoding.EncodeToString([]byte("\x00" + l.Username + "\x00" + password))} {
		if strings.Contains(text, form) {
			return true
		}
	}
	return false
}

// codes are the numbers of an answer (RFC 3463): its text might repeat what it was shown.
func (r reply) codes() string {
	status, _, _ := strings.Cut(r.lines[0], " ")
	if status == "" || len(status) > 11 || strings.Trim(status, "0123456789.") != "" {
		return fmt.Sprint(r.code)
	}
	return fmt.Sprintf("%d %s", r.code, status)
}

// maxChallenges is how often a server may ask.
const maxChallenges = 10

// auth does the exchange of a mechanism, and returns the last answer.
func (s *session) auth(a smtp.Auth, host string) (reply, error) {
	// What protects the password has been seen to.
	name, response, err := a.Start(&smtp.ServerInfo{Name: host, TLS: true, Auth: mechanisms})
	if err != nil {
		return reply{}, err
	}
	line := "AUTH " + name
	if response != nil {
		line += " " + base64.StdEncoding.EncodeToString(response)
	}
	answer, err := s.command(line)
	for range maxChallenges {
		if err != nil || answer.code != 334 {
			return answer, err
		}
		challenge, err := base64.StdEncoding.DecodeString(answer.lines[0])
		if err != nil {
			return reply{}, Finding{NotSMTP, "the server asks for the login in a form that can't be read"}
		}
		response, err := a.Next(challenge, true)
		if err != nil {
			return reply{}, Finding{NoLogin, err.Error()}
		}
		if answer, err = s.answerTo(base64.StdEncoding.EncodeToString(response), "an answer to AUTH"); err != nil {
			return reply{}, err
		}
	}
	return reply{}, Finding{NotSMTP, "the server asks too often for the login"}
}
