package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"gatemilter/cmd/internal/postfix"
	"gatemilter/policy"
)

// An mta is the mail server, as far as its settings could be read.
type mta struct {
	postfix.Settings
	// err says why there are none; postfix.ErrNone, that there is no Postfix at all.
	err error
}

func lookAtPostfix(ctx context.Context, p postfix.Postfix) mta {
	s, err := p.Settings(ctx)
	return mta{s, err}
}

// wiring looks at Postfix's settings.
func (x *examination) wiring(ctx context.Context) []Check {
	if x.isSendmail() {
		return x.sendmail()
	}
	if errors.Is(x.mta.err, postfix.ErrNone) {
		return []Check{x.noPostfix()}
	}
	if x.mta.err != nil {
		found, fix := cut(x.mta.err.Error())
		return []Check{fail(onPostfix, "settings", found, fix)}
	}
	checks := append(x.state(ctx), x.owner()...)
	wanted, changes := x.setUp(ctx)
	checks = append(checks, changes...)
	for _, e := range wanted.Elements {
		if e.Parameter == milters {
			ours := postfix.Milters(e.Value)[0].Address
			checks = append(checks, x.milters(ours)...)
			checks = append(checks, x.defaultAction(ours)...)
		}
	}
	checks = append(checks, x.beside(ctx, wanted)...)
	checks = append(checks, x.tls()...)
	return append(checks, x.logins()...)
}

// noPostfix says what was not looked at. A milter by TCP may be that of another host.
func (x *examination) noPostfix() Check {
	const found = "there is neither Postfix nor Sendmail on this host"
	const fix = "install Postfix (apt-get install postfix), or run doctor where the mail server is"
	if slices.ContainsFunc(x.listeners(), func(s Socket) bool { return s.Network == "tcp" }) {
		return warn(onPostfix, "settings", found, fix)
	}
	return fail(onPostfix, "settings", found+", so nobody uses gatemilter", fix)
}

// state is whether Postfix runs, and can read its own files.
func (x *examination) state(ctx context.Context) []Check {
	var checks []Check
	for _, w := range x.mta.Warnings {
		fix := "correct that line in " + x.mta.Main["config_directory"]
		if name, ok := strings.CutPrefix(afterFile(w), "unused parameter: "); ok {
			name, _, _ = strings.Cut(name, "=")
			fix = x.Postfix.Unset(name)
		}
		checks = append(checks, warn(onPostfix, "postconf", w, fix))
	}
	if checks == nil {
		checks = append(checks, ok(onPostfix, "postconf", "no warnings about main.cf and master.cf, version "+x.mta.Main["mail_version"]))
	}
	switch {
	case os.Geteuid() != 0:
		return append(checks, warn(onPostfix, "service", "whether it runs, only root is told", "run doctor as root"))
	case x.Postfix.Status(ctx) != nil:
		return append(checks, warn(onPostfix, "service", "does not run", x.Postfix.Postfix("start")))
	}
	return append(checks, ok(onPostfix, "service", "runs"))
}

// afterFile is a warning without the name of the file.
func afterFile(w string) string {
	_, text, _ := strings.Cut(w, ": ")
	return text
}

// owner looks at the user of Postfix's processes, whom alone we tell logins.
func (x *examination) owner() []Check {
	name := x.mta.Main["mail_owner"]
	a, err := accountOf(name)
	if err != nil {
		return []Check{fail(onPostfix, "mail_owner", err.Error(), command("adduser", "--system", "--group", "--no-create-home", name))}
	}
	tells, err := accountOf(x.config.Server.MTAUser)
	if x.config.Settings.Outbound.HasUserGateways() && (err != nil || tells.UID != a.UID) {
		return []Check{fail(onPostfix, "mail_owner", fmt.Sprintf("is %s, but logins of users' own servers are told only to mta_user = %s", name, x.config.Server.MTAUser),
			fmt.Sprintf("write into [server] of %s: mta_user = %s, and run systemctl reload gatemilter", x.Config, name))}
	}
	return []Check{ok(onPostfix, "mail_owner", fmt.Sprintf("the user %s exists", name))}
}

// setUp is what mta-setup would change.
func (x *examination) setUp(ctx context.Context) (wanted postfix.Wanted, checks []Check) {
	wanted, err := x.Postfix.Wanted(ctx, x.config)
	var changes []postfix.Change
	if err == nil {
		changes, err = x.Postfix.Plan(ctx, wanted, false)
	}
	if err != nil {
		found, fix := cut(err.Error())
		return wanted, []Check{fail(onPostfix, "wiring", found, fix)}
	}
	for _, c := range changes {
		found := "is unset"
		switch {
		case c.Service && c.Before == "":
			found = "is missing"
		case c.Service:
			found = "is not as this configuration needs it"
		case c.Before != "":
			found = "is " + c.Before
		}
		checks = append(checks, fail(onPostfix, c.Parameter, found+": gatemilter is not used as configured", x.Postfix.Reloaded(c.String())))
	}
	if checks == nil {
		checks = append(checks, ok(onPostfix, "wiring", "as gatemilter mta-setup postfix has it"))
	}
	return wanted, checks
}

// tls looks at what gateways have to use, as the server on port 25 offers it.
func (x *examination) tls() []Check {
	var tls, certificate string
	for _, g := range x.config.Settings.Gateways {
		if g.MinTLS > policy.TLSNone {
			tls = g.Name
		}
		if g.TLSCertificate != "" {
			certificate = g.Name
		}
	}
	var checks []Check
	if tls != "" || certificate != "" {
		checks = append(checks, x.offersTLS(orElse(tls, certificate)))
	}
	if certificate != "" {
		checks = append(checks, x.asksCertificate(certificate)...)
	}
	return checks
}

func orElse(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// main says whether a parameter has one of these values.
func (m mta) has(parameter string, values ...string) bool {
	return slices.Contains(values, m.Main[parameter])
}

func (x *examination) offersTLS(gateway string) Check {
	const level = "smtpd_tls_security_level"
	m := x.mta
	offers := m.has(level, "may", "encrypt") || m.has(level, "") && (m.has("smtpd_use_tls", "yes") || m.has("smtpd_enforce_tls", "yes"))
	needs := "the gateway " + gateway + " must use TLS"
	switch {
	case !m.hasCertificate():
		return fail(onPostfix, level, needs+", but Postfix has no certificate to offer it with", x.Postfix.Reloaded(x.Postfix.Postfix("tls", "enable-server")))
	case !offers:
		return fail(onPostfix, level, fmt.Sprintf("is %q, so TLS is not offered, but %s", m.Main[level], needs), x.Postfix.Set(level, "may"))
	}
	return ok(onPostfix, level, "TLS is offered, as the gateway "+gateway+" must use it")
}

func (m mta) hasCertificate() bool {
	for _, parameter := range []string{"smtpd_tls_chain_files", "smtpd_tls_cert_file", "smtpd_tls_eccert_file", "smtpd_tls_dcert_file"} {
		if v := m.Main[parameter]; v != "" && v != "none" {
			return true
		}
	}
	return false
}

// asksCertificate looks whether clients are asked for a certificate, and any can be verified.
func (x *examination) asksCertificate(gateway string) []Check {
	const ask, authorities = "smtpd_tls_ask_ccert", "smtpd_tls_CAfile"
	m := x.mta
	checks := []Check{ok(onPostfix, ask, "clients are asked for a certificate, by which the gateway "+gateway+" is known")}
	if !m.has(ask, "yes") && !m.has("smtpd_tls_req_ccert", "yes") {
		checks[0] = fail(onPostfix, ask, "is no, so the gateway "+gateway+" can't show its tls_certificate", x.Postfix.Set(ask, "yes"))
	}
	if m.has(authorities, "") && m.has("smtpd_tls_CApath", "") && !m.has("tls_append_default_CA", "yes") {
		checks = append(checks, fail(onPostfix, authorities, "is unset, so no client's certificate is verified, and that of the gateway "+gateway+" does not count",
			x.Postfix.Set(authorities, "/etc/ssl/certs/ca-certificates.crt")))
	}
	return checks
}

// SASLMechanisms are where Linux distributions have the mechanisms of Cyrus SASL that
// mail servers ask for.
var SASLMechanisms = []string{"/usr/lib/*/sasl2/libplain.so*", "/usr/lib/sasl2/libplain.so*", "/usr/lib64/sasl2/libplain.so*"}

// logins looks whether Postfix's client can log in at users' own servers: without the
// modules it says "No worthy mechs found".
func (x *examination) logins() []Check {
	if !x.config.Settings.Outbound.HasUserGateways() {
		return nil
	}
	const what = "SASL mechanisms"
	if found := glob(x.Mechanisms); found != "" {
		return []Check{ok(onPostfix, what, "PLAIN is there, to log in at users' own servers: "+found)}
	}
	return []Check{fail(onPostfix, what, "libsasl2's mechanisms are missing, so Postfix can't log in at users' own servers", "apt-get install libsasl2-modules")}
}
