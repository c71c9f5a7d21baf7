package doctor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"gatemilter/cmd/internal/postfix"
	"gatemilter/cmd/internal/sendmail"
)

// setUpSendmail tells Sendmail what mta-setup has for it.
const setUpSendmail = "gatemilter mta-setup sendmail > /etc/mail/gatemilter.m4 && sendmailconfig"

// isSendmail says whether the mail server here is Sendmail: where there is Postfix too, Postfix
// is the one.
func (x *examination) isSendmail() bool {
	if !errors.Is(x.mta.err, postfix.ErrNone) {
		return false
	}
	_, err := os.Stat(x.SendmailCF)
	return err == nil
}

// sendmail looks whether sendmail.cf is what the configuration needs.
func (x *examination) sendmail() []Check {
	text, err := os.ReadFile(x.SendmailCF)
	if err != nil {
		return []Check{warn(onSendmail, x.SendmailCF, err.Error(), "run doctor as root")}
	}
	setup, err := sendmail.Setup(x.config)
	if err != nil {
		var checks []Check
		for problem := range strings.Lines(err.Error()) {
			found, fix := cut(strings.TrimSpace(problem))
			checks = append(checks, fail(onSendmail, "what it can't do", found, fix))
		}
		return checks
	}
	filter := lineWith(string(text), "Xgatemilter,")
	switch {
	case filter == "":
		return []Check{fail(onSendmail, x.SendmailCF, "does not name gatemilter as a milter",
			"run gatemilter mta-setup sendmail > /etc/mail/gatemilter.m4, add the last line include(`/etc/mail/gatemilter.m4')dnl to sendmail.mc, and run sendmailconfig")}
	case lineWith(string(text), sendmail.Mark(setup)) == "":
		return []Check{fail(onSendmail, x.SendmailCF, "is of another configuration of gatemilter: mail whose way it does not know waits", setUpSendmail)}
	case !strings.Contains(filter, "F=T"):
		return []Check{fail(onSendmail, x.SendmailCF, "lets mail pass while gatemilter is down: "+filter, setUpSendmail)}
	}
	return []Check{ok(onSendmail, x.SendmailCF, "is as mta-setup makes it")}
}

func lineWith(text, start string) string {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, start) {
			return line
		}
	}
	return ""
}

// safe looks whether Sendmail takes a socket for safe: it uses none in a directory, or below
// one, in which others than the owner may write.
func safe(s Socket) Check {
	what := s.Key + " for Sendmail"
	for dir := filepath.Dir(s.Address); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return warn(onSockets, what, err.Error(), "run doctor as root")
		}
		if info.Mode()&0o022 != 0 {
			return fail(onSockets, what, fmt.Sprintf("Sendmail does not use it, for others may write to %s (%s)", dir, modeOf(info)),
				fmt.Sprintf("write into [server]: %s = unix:/run/gatemilter/%s.sock, and run %s", s.Key, s.Key, startDaemon))
		}
		if dir == "/" {
			return ok(onSockets, what, "is in a directory that only its owner writes to")
		}
	}
}
