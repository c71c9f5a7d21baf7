package lab

import (
	_ "embed" // for sendmailMC
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A SendmailConfig describes an instance of Sendmail. The zero SendmailConfig is one that accepts mail for nobody.
type SendmailConfig struct {
	// Dir takes everything of the instance. It must not be below a directory in which others than root may write, like
	// /tmp: Sendmail would refuse sockets and files there. Empty: a new directory below /var/cache, which Stop removes.
	Dir string
	// Mailboxes are the addresses that the instance delivers to; "@example.org" takes all others of its domain. Other
	// addresses in these domains are refused. As with any Sendmail, a local user is one in all local domains: who is in
	// the list as alice@a.test gets mail for alice@b.test, too, if b.test is local.
	Mailboxes []string
	// Domains are further local domains.
	Domains []string
	// Aliases is the text of /etc/aliases (aliases(5)), beside entries for postmaster and MAILER-DAEMON, whose mail is
	// dropped.
	Aliases string
	// Relay is where mail for other domains goes: "[127.0.0.1]:2525". Empty: such mail is refused for now (451).
	Relay string
	// Cert lets clients use STARTTLS, and is shown to servers that ask for one.
	Cert *Cert
	// ClientCA is the authority that certificates of clients, and of servers, are checked with. It needs Cert. (There is
	// no Sendmail with TLS but without an authority: if this is nil, it trusts Cert alone.)
	ClientCA *CA
	// DNS lets it ask the DNS for what /etc/hosts hasn't: for MX records, too.
	DNS bool
	// Features is m4 text before the MAILER lines, where FEATURE must be.
	Features string
	// MC is m4 text at the end, after the MAILER lines. As m4 writes the configuration last, a define of conf... here
	// replaces the instance's own. The macros LAB_DIR and LAB_SOCKETS stand for Dir and SocketDir of the instance.
	MC string
}

// A sendmailLayout is where the parts of an instance are.
type sendmailLayout struct{ dir string }

func (l sendmailLayout) etc() string      { return filepath.Join(l.dir, "etc") }
func (l sendmailLayout) queue() string    { return filepath.Join(l.dir, "mqueue") }
func (l sendmailLayout) mail() string     { return filepath.Join(l.dir, "mail") }
func (l sendmailLayout) sockets() string  { return filepath.Join(l.dir, "run") }
func (l sendmailLayout) maillog() string  { return filepath.Join(l.dir, "log") }
func (l sendmailLayout) aliases() string  { return filepath.Join(l.etc(), "aliases") }
func (l sendmailLayout) mc() string       { return filepath.Join(l.etc(), "sendmail.mc") }
func (l sendmailLayout) cf() string       { return filepath.Join(l.etc(), "sendmail.cf") }
func (l sendmailLayout) cert() string     { return filepath.Join(l.etc(), "cert.pem") }
func (l sendmailLayout) clientCA() string { return filepath.Join(l.etc(), "client-ca.pem") }
func (l sendmailLayout) deliver() string  { return filepath.Join(l.etc(), "deliver") }
func (l sendmailLayout) sasl() string     { return filepath.Join(l.sockets(), "saslauthd") }

// sendmailUser is a user name that a class of sendmail.cf can hold.
var sendmailUser = regexp.MustCompile(`^[A-Za-z0-9._-]*$`)

func (c SendmailConfig) check() error {
	for _, address := range c.Mailboxes {
		if err := checkMailbox(address); err != nil {
			return err
		}
		if user, _, _ := strings.Cut(address, "@"); !sendmailUser.MatchString(user) {
			return fmt.Errorf("mailbox %q: want letters, digits, dots, hyphens and underscores before the @", address)
		}
	}
	if c.ClientCA != nil && c.Cert == nil {
		return errors.New("there is a ClientCA without Cert: give Sendmail a certificate, without which it has no TLS")
	}
	if _, _, err := c.relay(); err != nil {
		return err
	}
	return nil
}

// relay takes Relay apart.
func (c SendmailConfig) relay() (host, port string, err error) {
	if c.Relay == "" {
		return "", "", nil
	}
	at := strings.LastIndex(c.Relay, "]:")
	if at < 0 || c.Relay[0] != '[' {
		return "", "", fmt.Errorf("relay %q: want [address]:port", c.Relay)
	}
	return c.Relay[:at+1], c.Relay[at+2:], nil
}

// userName is the local user of a mailbox: the box of a whole domain has the name "@domain", which no user has.
func userName(address string) string {
	if user, _, _ := strings.Cut(address, "@"); user != "" {
		return strings.ToLower(user)
	}
	return strings.ToLower(address)
}

// users are the local users, and catching the domains all of whose other users share a mailbox.
func (c SendmailConfig) users() (users, catching []string) {
	for _, address := range c.Mailboxes {
		if name, catch := strings.CutPrefix(userName(address), "@"); catch {
			catching = append(catching, name)
		} else {
			users = append(users, name)
		}
	}
	slices.Sort(users)
	return slices.Compact(users), catching
}

// sendmailMC is the .mc file of an instance, with gaps that [SendmailConfig.mc] fills.
//
//go:embed sendmail.mc.in
var sendmailMC string

// mc is the text of the instance's .mc file.
func (c SendmailConfig) mc(l sendmailLayout, port string, ipv6 bool) string {
	users, catching := c.users()
	local := slices.Concat(domains(c.Mailboxes), c.Domains)
	return strings.NewReplacer(
		"%settings", c.settings(l)+c.Features,
		"%port", port,
		"%ipv6", only(ipv6, "DAEMON_OPTIONS(`Family=inet6, Name=MTA6, Port="+port+", Addr=::1')dnl\n"),
		"%mc", c.MC,
		"%local", class("w", local),
		"%users", class("{LabUser}", users),
		"%catching", class("{LabCatching}", catching),
		"%noway", only(c.Relay == "", sendmailNoWay),
		"%dir", l.dir,
	).Replace(sendmailMC)
}

// sendmailNoWay are the last rules for mail to other domains where there is no Relay: recipients (not the sender, whose
// address comes here too) are refused.
const sendmailNoWay = `LOCAL_NET_CONFIG
R$* < @ $+ > $*		$: < $&{addr_type} > $1 < @ $2 > $3
R< e r > $*		$#error $@ 4.4.1 $: "451 no way out: lab.SendmailConfig has no Relay"
R< $* > $* < @ $+ > $*	$: $2 < @ $3 > $4
`

// settings are the definitions that depend on the configuration.
func (c SendmailConfig) settings(l sendmailLayout) string {
	var b strings.Builder
	define := func(name, value string) { fmt.Fprintf(&b, "define(`%s', `%s')dnl\n", name, value) }
	if c.Relay != "" {
		host, port, _ := c.relay() // check has seen it
		define("RELAY_MAILER_ARGS", "TCP $h "+port)
		define("SMART_HOST", "relay:"+host)
	}
	if c.Cert == nil {
		return b.String()
	}
	for _, side := range []string{"SERVER", "CLIENT"} {
		define("conf"+side+"_CERT", l.cert())
		define("conf"+side+"_KEY", l.cert())
	}
	define("confCACERT", l.clientCA())
	define("confCACERT_PATH", l.etc())
	return b.String()
}

// class is a line of sendmail.cf that defines a class; none for an empty one.
func class(name string, members []string) string {
	return only(len(members) > 0, "C"+name+" "+strings.Join(members, " ")+"\n")
}

// only returns text if there is to be one.
func only(wanted bool, text string) string {
	if !wanted {
		return ""
	}
	return text
}

// deliverScript puts a message on standard input into a file of its own in the maildir $1. It is run as nobody.
const deliverScript = `#!/bin/sh
set -eu
umask 077
mkdir -p "$1/new" "$1/tmp"
file=$(mktemp "$1/tmp/XXXXXXXX")
{ printf 'Delivered-To: %s\n' "$2" && cat; } >"$file"
mv "$file" "$1/new/"
`

// files are those that Sendmail reads beside its sendmail.cf, which is made of one of them.
func (c SendmailConfig) files(l sendmailLayout, port string, ipv6 bool) map[string]string {
	files := map[string]string{
		l.mc():                                   c.mc(l, port, ipv6),
		l.aliases():                              "postmaster: /dev/null\nMAILER-DAEMON: postmaster\n" + c.Aliases + "\n",
		filepath.Join(l.etc(), "service.switch"): "hosts files" + only(c.DNS, " dns") + "\naliases files\n",
		filepath.Join(l.etc(), "Sendmail.conf"): "pwcheck_method: saslauthd\nmech_list: PLAIN LOGIN\n" +
			"saslauthd_path: " + l.sasl() + "\n",
	}
	if c.ClientCA != nil {
		files[l.clientCA()] = string(c.ClientCA.PEM())
	} else if c.Cert != nil {
		files[l.clientCA()] = string(pemBlock("CERTIFICATE", c.Cert.TLS.Leaf.Raw))
	}
	return files
}
