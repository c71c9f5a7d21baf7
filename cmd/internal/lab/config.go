package lab

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// A Config describes an instance. The zero Config is a Postfix that accepts mail for nobody.
type Config struct {
	// Dir takes everything of the instance; another may have run there before. Its parents must be searchable by
	// everybody, which those of testing.T.TempDir are not. Empty: a new temporary directory, which Stop removes.
	Dir string
	// Mailboxes are the addresses that the instance delivers to, in any domain; "@example.org" takes all others of
	// its domain. Other addresses in these domains are refused.
	Mailboxes []string
	// Relay is where mail for other domains goes, as in main.cf's relayhost: "[127.0.0.1]:2525". Empty: such mail is
	// refused for now (450), or deferred where it comes from the sendmail command.
	Relay string
	// Milter is used for mail by SMTP and by the sendmail command, as in smtpd_milters: "inet:127.0.0.1:2626", or
	// "unix:" and a path relative to the queue directory, which works chrooted too.
	Milter string
	// Chroot runs the daemons chrooted that Debian chroots by default. They see no system file: see Files.
	Chroot bool
	// Cert lets clients use STARTTLS.
	Cert *Cert
	// Logins are the passwords of users, by user name, with which clients may log in (SMTP AUTH) once there is TLS.
	Logins map[string]string
	// ClientCA makes the server ask clients for a certificate, and trust those of this authority.
	ClientCA *CA
	// Services are SMTP servers beside the one on Addr, by a name of your choice, with smtpd(8) options:
	// "submissions": "-o smtpd_tls_wrappermode=yes".
	Services map[string]string
	// Files are put below the queue directory, "etc/resolv.conf" for a chrooted instance with DNS of its own.
	Files map[string]string
	// Main has further main.cf lines; they replace the instance's own settings of the same name.
	Main string
	// Master has further master.cf lines.
	Master string
}

// pidFile is master(8)'s, below the queue directory.
const pidFile = "pid/master.pid"

// saslSocket is where smtpd asks whether a login is right, below the queue directory.
const saslSocket = "saslauthd"

// A layout is where the parts of an instance are.
type layout struct{ dir string }

func (l layout) config() string   { return filepath.Join(l.dir, "etc") }
func (l layout) queue() string    { return filepath.Join(l.dir, "queue") }
func (l layout) data() string     { return filepath.Join(l.dir, "data") }
func (l layout) mail() string     { return filepath.Join(l.dir, "mail") }
func (l layout) logs() string     { return filepath.Join(l.dir, "log") }
func (l layout) maillog() string  { return filepath.Join(l.logs(), "maillog") }
func (l layout) mainCF() string   { return filepath.Join(l.config(), "main.cf") }
func (l layout) masterCF() string { return filepath.Join(l.config(), "master.cf") }
func (l layout) pidFile() string  { return filepath.Join(l.queue(), pidFile) }
func (l layout) cert() string     { return filepath.Join(l.config(), "cert.pem") }
func (l layout) sasl() string     { return filepath.Join(l.queue(), saslSocket) }
func (l layout) saslConf() string { return filepath.Join(l.config(), "sasl", "smtpd.conf") } // Debian's Postfix looks there
func (l layout) clientCA() string { return filepath.Join(l.config(), "client-ca.pem") }

// A setting is a line of main.cf.
type setting struct{ name, value string }

// mainCF is the text of main.cf. A setting that c.Main has is left out: given twice, every daemon logs a warning.
func mainCF(c Config, l layout) string {
	replaced := map[string]bool{}
	for line := range strings.Lines(c.Main) {
		if name, _, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(name, "#") {
			replaced[strings.TrimRight(name, " \t")] = true
		}
	}
	var b strings.Builder
	for _, s := range settings(c, l) {
		if !replaced[s.name] {
			fmt.Fprintf(&b, "%s = %s\n", s.name, s.value)
		}
	}
	return b.String() + c.Main + "\n"
}

func settings(c Config, l layout) []setting {
	all := []setting{
		{"compatibility_level", "3.6"},
		{"enable_long_queue_ids", "yes"}, // short ones are used again
		{"queue_directory", l.queue()},
		{"data_directory", l.data()},
		{"maillog_file", l.maillog()},
		{"maillog_file_prefixes", l.logs()},
		{"myhostname", "mx.lab.test"},
		{"inet_interfaces", "127.0.0.1"},
		{"inet_protocols", "all"}, // else XCLIENT refuses an IPv6 address
		{"mynetworks", "127.0.0.0/8"},
		{"smtpd_authorized_xclient_hosts", "127.0.0.0/8"},
		{"mydestination", ""},
		{"local_recipient_maps", ""},
		{"local_transport", "error:no local mail"},
		{"alias_maps", ""},
		{"alias_database", ""},
		{"virtual_mailbox_domains", strings.Join(domains(c.Mailboxes), ", ")},
		{"virtual_mailbox_base", l.mail()},
		{"virtual_mailbox_maps", mailboxMap(c.Mailboxes)},
		{"virtual_uid_maps", fmt.Sprintf("static:%d", nobody)},
		{"virtual_gid_maps", fmt.Sprintf("static:%d", nobody)},
		{"biff", "no"},
		{"notify_classes", ""},
		{"smtpd_milters", c.Milter},
		{"non_smtpd_milters", c.Milter},
	}
	if c.Relay != "" {
		all = append(all, setting{"relayhost", c.Relay})
	} else {
		all = append(all, setting{"default_transport", "retry:no way out: lab.Config has no Relay"})
	}
	if c.Cert != nil {
		all = append(all, setting{"smtpd_tls_security_level", "may"}, setting{"smtpd_tls_chain_files", l.cert()})
	}
	if c.Logins != nil {
		all = append(all, setting{"smtpd_sasl_auth_enable", "yes"}, setting{"smtpd_tls_auth_only", "yes"})
	}
	if c.ClientCA != nil {
		all = append(all, setting{"smtpd_tls_ask_ccert", "yes"}, setting{"smtpd_tls_CAfile", l.clientCA()})
	}
	return all
}

// saslConf is the text of Cyrus SASL's file for smtpd, which reads it before it enters its chroot.
func saslConf(c Config, l layout) string {
	socket := l.sasl()
	if c.Chroot {
		socket = "/" + saslSocket
	}
	return "pwcheck_method: saslauthd\nmech_list: PLAIN LOGIN\nsaslauthd_path: " + socket + "\n"
}

// domains returns the domains of addresses, each once.
func domains(addresses []string) []string {
	var all []string
	for _, address := range addresses {
		all = append(all, address[strings.LastIndex(address, "@")+1:])
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// mailboxMap is an inline table from address to maildir. (virtual(8) refuses tables that compute the path.)
func mailboxMap(addresses []string) string {
	if len(addresses) == 0 {
		return ""
	}
	var b strings.Builder
	for _, address := range addresses {
		fmt.Fprintf(&b, "{ %s = %s/ } ", address, maildir(address))
	}
	return "inline:{ " + b.String() + "}"
}

// maildir is where mail for address is, below the mail directory.
func maildir(address string) string {
	at := strings.LastIndex(address, "@")
	return filepath.Join(address[at+1:], cmp.Or(address[:at], "@"))
}

// checkMailbox refuses addresses that a table or a path would take apart.
func checkMailbox(address string) error {
	local, domain, ok := strings.Cut(address, "@")
	if !ok || domain == "" || strings.Contains(domain, "@") || strings.HasPrefix(local, ".") ||
		strings.ContainsAny(address, "/{},= \t\r\n$\"\\") {
		return fmt.Errorf("mailbox %q: want local@domain or @domain, in plain characters", address)
	}
	return nil
}

// masterServices are the daemons that every instance has, as in Debian's master.cf; CHROOT stands for Config.Chroot. Only qmgr
// is woken each second, not every five minutes: a message that it finds locked, as its delivery is just ending, waits in
// incoming until then.
const masterServices = `
pickup     unix      n - CHROOT 60    1 pickup
cleanup    unix      n - CHROOT -     0 cleanup
qmgr       unix      n - n      1     1 qmgr
tlsmgr     unix      - - CHROOT 1000? 1 tlsmgr
rewrite    unix      - - CHROOT -     - trivial-rewrite
bounce     unix      - - CHROOT -     0 bounce
defer      unix      - - CHROOT -     0 bounce
trace      unix      - - CHROOT -     0 bounce
verify     unix      - - CHROOT -     1 verify
flush      unix      n - CHROOT 1000? 0 flush
proxymap   unix      - - n      -     - proxymap
proxywrite unix      - - n      -     1 proxymap
smtp       unix      - - CHROOT -     - smtp
relay      unix      - - CHROOT -     - smtp -o syslog_name=postfix/relay
showq      unix      n - CHROOT -     - showq
error      unix      - - CHROOT -     - error
retry      unix      - - CHROOT -     - error
discard    unix      - - CHROOT -     - discard
virtual    unix      - n n      -     - virtual
anvil      unix      - - CHROOT -     1 anvil
scache     unix      - - CHROOT -     1 scache
postlog    unix-dgram n - n     -     1 postlogd
`

// masterCF is the text of master.cf, with an SMTP server on each of addrs.
func masterCF(c Config, addrs map[string]string) string {
	chroot := "n"
	if c.Chroot {
		chroot = "y"
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(addrs)) {
		fmt.Fprintf(&b, "%s inet n - %s - - smtpd %s\n", addrs[name], chroot, c.Services[name])
	}
	return b.String() + strings.ReplaceAll(masterServices, "CHROOT", chroot) + c.Master + "\n"
}
