package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"gatemilter/cmd/internal/daemon"
	"gatemilter/cmd/internal/verify"
	"gatemilter/milter/tlsprobe"
)

var verifyTLSCommand = command{
	name:    "verify-tls",
	args:    "ROUTE|HOST[:PORT] [FLAGS]",
	summary: "connect to a mail host and show what its TLS is worth",
	help: `
Connects to a mail host, begins TLS as for sending mail, and shows which of the
options require_tls, require_ca and verify_hostname of a route would hold, the
certificates that the host shows, what it offers to log in with (a user's own
server has to), and what to do about each failure. No mail is sent. HOST is a name
or an IP address, in brackets if an IPv6 address has a port. PORT is 25 (the
default), 587, or 1024 to 65535; 465 only with --implicit.

With the name of a ROUTE of the configuration, each of its hosts is tried, and
judged by the options that the route sets.

Exit status: 0 when all three options (or those of the route) hold, 1 when one
doesn't, 2 when called wrongly.

With --json: target (host, port, implicit, sni), address, greeting, version,
cipher; passed; checks, a list of option, holds, problem, reason; warnings, a
list of problem, reason; chain, the certificates as the host sent them, its
own first: subject, issuer, names, ips, not_before, not_after, key, sha256,
key_sha256; match_names, for "verify match=" in Postfix's
smtp_tls_policy_maps; advice; login, whether Postfix could log in: holds,
mechanisms, problem, reason. Empty parts are left out. For a route: route,
passed, and hosts, a list of table, failed (the options of the route that the
host doesn't hold) and probe, as above.

Examples
  gatemilter verify-tls relay.example.com:587
  gatemilter verify-tls --ca-file /etc/ssl/our-ca.pem mail.example.com`,
	setUp: func(flags *flag.FlagSet) runner {
		implicit := flags.Bool("implicit", false, "begin with TLS instead of STARTTLS; the port is 465 then if none is given")
		caFile := flags.String("ca-file", "", "trust the CAs in this PEM `FILE` instead of the system's")
		sni := flags.String("sni", "", "ask the host for its certificate for `NAME`, or with none for no name (SNI); the default is its own name, or none with a configuration for Sendmail")
		timeout := flags.Duration("timeout", 30*time.Second, "`TIME` for each step of the connection, such as 10s")
		json := flags.Bool("json", false, "show the result as JSON, for scripts")
		config := flags.String("config", defaultConfig, "configuration `FILE`, for a route")
		return func(ctx context.Context, args []string, io stdio) error {
			if len(args) != 1 {
				return usagef("it takes one route or host, but got %s", count(len(args), "argument"))
			}
			if *timeout <= 0 {
				return usagef("--timeout: %s is not more than nothing: write a time such as 10s", *timeout)
			}
			prober := tlsprobe.Prober{HELO: ownName(), Timeout: *timeout}
			r, asks, err := routeNamed(*config, args[0], io)
			if err != nil {
				return err
			} else if r != nil && (*implicit || *sni != "" || *caFile != "") {
				return usagef("--implicit, --sni and --ca-file are for a host: the route %s has its own settings", r.Name)
			} else if r != nil {
				return verifyRoute(ctx, &prober, r, asks, *json, io.out)
			}
			target, err := tlsprobe.ParseTarget(args[0], *implicit)
			if err != nil {
				return usagef("%v", err)
			}
			if target = target.Asking(asks); *sni != "" {
				target.SNI = *sni
			}
			if *sni == "none" {
				target.SNI = ""
			}
			if err := target.Check(); err != nil {
				return usagef("--sni: %v", err)
			}
			roots, err := verify.Roots(*caFile)
			if err != nil {
				return usagef("--ca-file: %v", err)
			}
			report, err := prober.Probe(ctx, target, roots)
			if err != nil {
				return err
			}
			return showTLS(&report, *json, io.out)
		}
	},
}

// ownName is this machine's name as servers accept it in EHLO, or "" if it has none in
// full.
func ownName() string {
	name, err := os.Hostname()
	if err != nil || !strings.Contains(name, ".") {
		return ""
	}
	return name
}

func showTLS(r *tlsprobe.Report, json bool, out io.Writer) error {
	write := writeTLSText
	if json {
		write = writeTLSJSON
	}
	if err := write(r, time.Now(), out); err != nil {
		return err
	}
	if !r.Passed() {
		return errFinding
	}
	return nil
}

// maxReason is how much is shown of a reason, in characters: more than the longest
// that isn't made up by the host.
const maxReason = 600

func targetText(t tlsprobe.Target) string {
	text := fmt.Sprintf("%s, port %d, STARTTLS", t.Host, t.Port)
	if t.Implicit {
		text = fmt.Sprintf("%s, port %d, TLS from the start", t.Host, t.Port)
	}
	switch t.SNI {
	case t.Asking(true).SNI:
		return text
	case "":
		return text + ", without SNI"
	}
	return text + ", SNI " + t.SNI
}

func writeTLSText(r *tlsprobe.Report, now time.Time, w io.Writer) error {
	t := &text{tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)}
	t.row("Target", targetText(r.Target))
	if r.Address.IsValid() {
		t.row("Reached", r.Address.String())
	}
	if r.Greeting != "" {
		t.row("Greeting", r.Greeting)
	}
	if r.Cipher != "" {
		t.row("Connection", "TLS "+r.Version.String()+", "+r.Cipher)
	}
	if login := loginOf(r); login != "" {
		t.row("Login", login)
	}
	t.title("Options of a route")
	for _, o := range verify.Options(r) {
		fmt.Fprintf(t, "  %s\t%s\t%s\n", o.Name, word(o), daemon.Visible(o.Reason, maxReason))
	}
	writeChain(t, r.Chain, now)
	writeList(t, "Warnings", reasons(r.Warnings))
	writeList(t, "Advice", r.Advice())
	t.title("Result")
	if r.Passed() {
		t.row("  pass")
	} else {
		t.row("  FAIL: with the options that fail set to yes, no mail would go to this host")
	}
	return t.Flush()
}

// loginOf says how one can log in at the host; "" where it is not known.
func loginOf(r *tlsprobe.Report) string {
	list := strings.Join(r.Auth, ", ")
	switch {
	case r.Login.Holds:
		return list
	case r.Login.Problem != tlsprobe.NoLogin:
		return ""
	case list == "":
		list = "none"
	}
	return list + " offered: a user's own server needs one that Postfix's client knows"
}

// word is the result in a word.
func word(o verify.Option) string {
	switch {
	case o.Holds:
		return "ok"
	case o.Problem == tlsprobe.NotChecked:
		return "-"
	}
	return "FAIL"
}

func writeChain(t *text, chain []tlsprobe.Certificate, now time.Time) {
	if len(chain) == 0 {
		return
	}
	t.title("Certificates, as the host sent them")
	t.row("  #", "for", "issuer", "valid from", "expires", "key")
	for i, c := range chain {
		t.row("  "+strconv.Itoa(i+1), bearer(c), c.Issuer, c.NotBefore.UTC().Format(time.DateOnly), expiry(c.NotAfter, now), c.Key)
	}
	t.title("SHA-256 of the host's own")
	t.row("  certificate", chain[0].Fingerprint)
	t.row("  public key", chain[0].KeyFingerprint)
}

// bearer is what a certificate is for: its names, or else its subject.
func bearer(c tlsprobe.Certificate) string {
	names := slices.Clone(c.Names)
	for _, ip := range c.IPs {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return orDash(c.Subject)
	}
	return strings.Join(names, ", ")
}

func expiry(end, now time.Time) string {
	day, left := end.UTC().Format(time.DateOnly), end.Sub(now)
	if left < 0 {
		return day + ", over"
	}
	return fmt.Sprintf("%s, %s left", day, count(int(left.Hours()/24), "day"))
}

func reasons(findings []tlsprobe.Finding) []string {
	var list []string
	for _, f := range findings {
		list = append(list, f.Reason)
	}
	return list
}

func writeList(t *text, title string, items []string) {
	if len(items) == 0 {
		return
	}
	t.title(title)
	for _, item := range items {
		fmt.Fprintf(t, "  - %s\n", daemon.Visible(item, maxReason))
	}
}
