package portal

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"gatemilter/milter/tlsprobe"
	"gatemilter/policy"
	"gatemilter/policy/identity"
)

// loginPage asks for name and password.
func (v *visit) loginPage() {
	if v.session != nil {
		v.home()
		return
	}
	var n *notice
	if v.ended {
		n = &notice{Kind: "warn", Text: v.lang.t("login.ended")}
	}
	v.showLogin(http.StatusOK, v.loginFields(""), n)
}

func (v *visit) showLogin(status int, fields []*field, n *notice) {
	next := v.query("next")
	if v.r.Method == http.MethodPost {
		next = v.value("next")
	}
	v.show(status, &page{Name: "login", Title: v.lang.t("login.title"), Fields: fields, Notice: n, Body: localTarget(next)})
}

func (v *visit) loginFields(name string) []*field {
	return []*field{
		{Name: "username", Label: v.lang.t("login.username"), Hint: v.lang.t("login.username.hint"), Value: name, Type: "text", Autocomplete: "username", Max: maxUsername},
		{Name: "password", Label: v.lang.t("login.password"), Type: "password", Autocomplete: "current-password", Max: maxPassword},
	}
}

// login tries name and password. The answer to a wrong name is that to a wrong password.
func (v *visit) login() {
	name, password := strings.TrimSpace(v.value("username")), v.r.PostFormValue("password")
	fields := v.loginFields(name)
	for _, f := range fields {
		switch text := map[string]string{"username": name, "password": password}[f.Name]; {
		case text == "":
			f.Error = v.lang.t("login." + f.Name + ".missing")
		case len(text) > f.Max, f.Name == "username" && !isLogin(text), f.Name == "password" && identity.CheckPassword(policy.NewSecret(text)) != nil:
			f.Error = v.lang.t("login." + f.Name + ".bad")
		}
	}
	if fields[0].Error != "" || fields[1].Error != "" {
		fields[0].Value = firstOf(name, maxUsername)
		v.showLogin(http.StatusUnprocessableEntity, fields, nil)
		return
	}
	login := policy.CanonicalLogin(name)
	if wait := v.limits.login(login, network(v.client)); wait > 0 {
		v.log(Event{Kind: Limited, Result: string(LoggedIn), Login: login})
		v.showLogin(http.StatusTooManyRequests, fields, v.tooOften(wait))
		return
	}
	result, reason := v.tryLogin(name, login, policy.NewSecret(password))
	v.log(Event{Kind: LoggedIn, Result: result, Login: login, Reason: reason})
	switch result {
	case OK:
		v.loggedIn(login)
	case string(tlsprobe.LoginRefused):
		v.showLogin(http.StatusUnprocessableEntity, fields, &notice{Kind: "bad", Text: v.lang.t("login.wrong")})
	case resultBusy:
		v.showLogin(http.StatusServiceUnavailable, fields, &notice{Kind: "bad", Text: v.lang.t("busy")})
	default:
		v.Report(fmt.Errorf("nobody can log in to the portal, as the submission server %s:%d can't be asked: %s", v.Config.Submission.Host, v.Config.Submission.Port, reason))
		v.showLogin(http.StatusServiceUnavailable, fields, &notice{Kind: "bad", Text: v.lang.t("login.unavailable")})
	}
}

// isLogin says whether a name can be one: it is stored, logged and shown.
func isLogin(s string) bool { return oneLine(s) && !strings.ContainsAny(s, `<>"`) }

// firstOf is the beginning of a text, in whole characters.
func firstOf(s string, octets int) string {
	if len(s) > octets {
		s = strings.ToValidUTF8(s[:octets], "")
	}
	return s
}

// Results of events that are no problem of a host's.
const (
	resultBusy     = "busy"
	resultFailed   = "failed"
	resultDatabase = "database"
	resultNobody   = "no-account"
)

// tryLogin asks the submission server, and says what came of it.
func (v *visit) tryLogin(name, login string, password policy.Secret) (result, reason string) {
	// A name that is the same but for the case of ASCII letters is sent as it was entered. Of any
	// other the canonical form is: who logs in is who the account here belongs to.
	if !strings.EqualFold(name, login) || strings.ContainsFunc(name, func(r rune) bool { return r >= 0x80 }) {
		name = login
	}
	if !v.limits.logins.enter(v.r.Context()) {
		return resultBusy, ""
	}
	defer v.limits.logins.leave()
	roots, err := v.submissionRoots()
	if err != nil {
		return resultFailed, err.Error()
	}
	ctx, cancel := context.WithTimeout(v.r.Context(), probeTimeout)
	defer cancel()
	p := v.Prober
	p.Login = &tlsprobe.Login{Username: name, Password: password}
	report, err := p.Probe(ctx, v.submission(), roots)
	if err != nil {
		return resultFailed, err.Error()
	}
	f := firstFailure(&report)
	if f.Problem == tlsprobe.LoginRefused && strings.HasPrefix(report.Said, "4") {
		return resultFailed, f.Reason // not now, whatever the password is
	}
	if f.Problem == "" {
		return OK, ""
	}
	return string(f.Problem), f.Reason
}

func (v *visit) submission() tlsprobe.Target {
	at := v.Config.Submission
	return tlsprobe.Target{Host: at.Host, Port: at.Port, Implicit: at.Implicit}.Asking(true)
}

// submissionRoots are read each time: the file may be renewed.
func (v *visit) submissionRoots() (*x509.CertPool, error) {
	if v.Config.Submission.CAFile == "" {
		return nil, nil
	}
	text, err := os.ReadFile(v.Config.Submission.CAFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, errors.New("there is no certificate in " + v.Config.Submission.CAFile)
	}
	return roots, nil
}

// loggedIn begins a session, a new one whatever the browser had, and goes where the user
// wanted to.
func (v *visit) loggedIn(login string) {
	v.limits.loggedIn(login, network(v.client))
	if v.account(login) == "" {
		v.log(Event{Kind: LoggedIn, Result: resultNobody, Login: login})
		v.refuse(http.StatusForbidden, "noAccount", "login", login)
		return
	}
	if old := v.cookie(v.r, sessionCookie); old != "" {
		v.sessions.end(old)
	}
	v.setCookie(v.w, sessionCookie, v.sessions.begin(login), 0)
	target := localTarget(v.value("next"))
	if target == "" {
		target = "/"
	}
	http.Redirect(v.w, v.r, v.base+target, http.StatusSeeOther)
}

// logout ends the session.
func (v *visit) logout() {
	if v.session != nil {
		v.sessions.end(v.cookie(v.r, sessionCookie))
		v.log(Event{Kind: LoggedOut, Result: OK})
		v.session = nil
	}
	v.setCookie(v.w, sessionCookie, "", -1)
	v.showLogin(http.StatusOK, v.loginFields(""), &notice{Kind: "good", Text: v.lang.t("login.bye")})
}

// Limits of what is asked of servers: one step, and all together.
const (
	stepTimeout  = 10 * time.Second
	probeTimeout = 45 * time.Second
)
