package doctor

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"gatemilter/cmd/internal/postfix"
	"gatemilter/cmd/internal/sendmail"
	"gatemilter/policy"
)

// setUpSendmail tells Sendmail what mta-setup has for it.
const setUpSendmail = "gatemilter mta-setup sendmail --apply && sendmailconfig"

// isSendmail says whether the mail server here is Sendmail: where there is Postfix too, Postfix
// is the one.
func (x *examination) isSendmail() bool {
	if !errors.Is(x.mta.err, postfix.ErrNone) {
		return false
	}
	_, err := os.Stat(x.SendmailCF)
	return err == nil
}

// sendsSNI says whether the mail server here asks hosts for their names, also where mta_user has not
// been set for Sendmail, as no user has a server of his own.
func (x *examination) sendsSNI() bool { return x.config.Server.SendsSNI() && !x.isSendmail() }

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
			setUpSendmail)}
	case x.config.Settings.AsksLookup() && fallback(string(text)) != "":
		return []Check{fail(onSendmail, x.SendmailCF, "names a host that takes mail whose way is not known, or whose route is down: "+fallback(string(text)),
			"remove that from sendmail.mc, or let the include of gatemilter.m4 be its last line, which leaves it out, and run sendmailconfig")}
	case lineWith(string(text), sendmail.Mark(setup)) == "":
		return []Check{fail(onSendmail, x.SendmailCF, "is of another configuration of gatemilter: mail whose way it does not know waits", setUpSendmail)}
	case x.config.Settings.AsksLookup() && lineWith(string(text), "O ForkEachJob=True") == "":
		return []Check{fail(onSendmail, "ForkEachJob", "is off: in a queue run, what a host did to mail of one sender counts for the others'",
			"remove confSEPARATE_PROC from sendmail.mc, or let the include of gatemilter.m4 be its last line, which sets it, and run sendmailconfig")}
	case !strings.Contains(filter, "F=T"):
		return []Check{fail(onSendmail, x.SendmailCF, "lets mail pass while gatemilter is down: "+filter, setUpSendmail)}
	}
	checks := []Check{ok(onSendmail, x.SendmailCF, "is as mta-setup makes it")}
	checks = append(checks, x.behindInclude()...)
	checks = append(checks, filtersOf(string(text))...)
	return append(checks, x.sendmailTLS(string(text))...)
}

// fallback is the line that names a host of last resort. gatemilter.m4 takes out what stands before
// it.
func fallback(cf string) string {
	return cmp.Or(lineWith(cf, "O FallbackMXhost="), lineWith(cf, "O FallbackSmartHost="))
}

// behindInclude looks whether sendmail.mc goes on behind our include: with the milters, macros and rules
// that stand there, ours may not hold.
func (x *examination) behindInclude() []Check {
	line := sendmail.Directory(filepath.Dir(x.SendmailCF)).Behind()
	if line == "" {
		return nil
	}
	return []Check{warn(onSendmail, "sendmail.mc", "goes on behind the include of gatemilter.m4, which belongs at its end, and may undo what that sets: "+line,
		setUpSendmail)}
}

// filtersOf looks whether all mail passes gatemilter, and first.
func filtersOf(cf string) []Check {
	const option = "O InputMailFilters="
	var checks []Check
	for line := range strings.Lines(cf) {
		line = strings.TrimSpace(line)
		filters, all := strings.CutPrefix(line, option)
		_, own, daemon := strings.Cut(line, "InputMailFilters=")
		switch {
		case all && !strings.HasPrefix(strings.TrimSpace(filters), "gatemilter"):
			checks = append(checks, warn(onSendmail, "InputMailFilters", "others see mail before gatemilter does, with forged fields and without its results: "+filters,
				"move the include of gatemilter.m4 behind their INPUT_MAIL_FILTER lines in sendmail.mc, and run sendmailconfig"))
		case daemon && strings.HasPrefix(line, "O DaemonPortOptions=") && !strings.Contains(own, "gatemilter"):
			checks = append(checks, warn(onSendmail, "DaemonPortOptions", "mail to this service passes without gatemilter: "+line,
				"write InputMailFilters=gatemilter into its DAEMON_OPTIONS in sendmail.mc, or leave that out, and run sendmailconfig"))
		}
	}
	return checks
}

// sendmailTLS looks whether Sendmail offers the TLS that gateways have to use, and asks for
// their certificates.
func (x *examination) sendmailTLS(cf string) []Check {
	var checks []Check
	for _, g := range x.config.Settings.Gateways {
		if g.MinTLS != policy.TLSNone && lineWith(cf, "O ServerCertFile=") == "" {
			checks = append(checks, fail(onSendmail, "STARTTLS", fmt.Sprintf("is not offered, but gateway %s has to use it: all of its mail is refused", g.Name),
				"add include(`/etc/mail/tls/starttls.m4')dnl to sendmail.mc, before MAILER_DEFINITIONS, and run sendmailconfig"))
		}
		if options := lineWith(cf, "O TLSSrvOptions="); g.TLSCertificate != "" && strings.Contains(options, "V") {
			checks = append(checks, fail(onSendmail, "TLSSrvOptions", fmt.Sprintf("no client is asked for its certificate, which gateway %s has to show: %s", g.Name, options),
				"add define(`confTLS_SRV_OPTIONS', `')dnl to sendmail.mc, behind the include of starttls.m4, and run sendmailconfig"))
		}
	}
	return checks
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
