package config_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatemilter/policy"
	"gatemilter/policy/config"
)

func prefixes(list ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, s := range list {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

func expression(t *testing.T, source string) *policy.Expression {
	t.Helper()
	e, err := policy.CompileExpression(source)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func load(t *testing.T, path string) *config.Config {
	t.Helper()
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func write(t *testing.T, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "gatemilter.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func compare(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n%+v\nwant:\n%+v", what, got, want)
	}
}

// Every key becomes the value that it stands for.
func TestExample(t *testing.T) {
	inCopy(t, "good")
	c := load(t, "example.conf")
	score, report := 0.5, policy.DMARCReport
	compare(t, "dns", c.DNS, config.DNS{Servers: []string{"127.0.0.1:53", "[::1]:5353"}, Timeout: 1500 * time.Millisecond})
	compare(t, "authentication", c.Authentication, config.Authentication{SPF: true, DKIM: true, Signatures: 3, ReceivedSPF: true})
	compare(t, "server", c.Server, config.Server{
		Milter: []config.Listener{
			{Network: "unix", Address: "/var/spool/postfix/gatemilter/milter.sock"},
			{Network: "tcp", Address: "127.0.0.1:9624"},
			{Network: "tcp", Address: "[::1]:9624"},
		},
		Lookup:         []config.Listener{{Network: "unix", Address: "/var/spool/postfix/gatemilter/lookup.sock"}},
		SocketGroup:    "postfix",
		SocketMode:     0o660,
		MTAUser:        "postfix",
		GatewayMilters: "{ unix:gatemilter/milter.sock, default_action=tempfail }",
		AuthservID:     "mx.example.com",
		Admin:          []config.Listener{{Network: "tcp", Address: "127.0.0.1:9625"}, {Network: "unix", Address: "/run/gatemilter/admin.sock"}},
	})
	compare(t, "log", c.Log, config.Log{Target: "journal", Format: "json", Level: "debug"})
	exchange := &policy.Route{
		Name:    "exchange",
		Primary: []policy.Host{{Name: "mail.example.com", Port: 25, Load: 100}},
		TLS:     policy.TLSDemand{Required: true, CA: true, Hostname: true},
	}
	relays := &policy.Route{
		Name: "relays",
		Primary: []policy.Host{
			{Name: "xn--bcher-kva.example", Port: 25, Load: 33}, {Name: "192.0.2.25", Port: 587, Load: 33}, {Name: "2001:db8::25", Port: 65535, Load: 34},
		},
		Secondary: []policy.Host{{Name: "c.example.com", Port: 1024, Load: 100}},
		TLS:       policy.TLSDemand{Required: true, CA: true},
	}
	old := &policy.Route{
		Name:     "old",
		Primary:  []policy.Host{{Name: "example.net", Port: 25, Load: 100}},
		MXLookup: true,
	}
	compare(t, "settings", c.Settings, policy.Settings{
		Mode:             policy.Observe,
		InternalNetworks: prefixes("10.0.0.0/8", "2001:db8:1::/48"),
		Allowlist:        prefixes("203.0.113.7/32"),
		DMARC:            policy.DMARCEnforce,
		Gateways: []policy.Gateway{{
			Name:             "filter",
			Addresses:        prefixes("192.0.2.2/32", "192.0.2.55/32", "2001:db8:5::/48"),
			DetectExternalIP: true,
			RejectOther:      true,
			MinTLS:           policy.TLS12,
			TLSCertificate:   "relay.example.net",
			RequireHeader:    expression(t, "^X-Gateway-Key: hunter2$"),
			SpamHeader:       expression(t, `^X-(?:spam|phishy): (0\.\d*|1\.0*)$`),
			SpamScore:        &score,
			SpamAction:       policy.SpamQuarantine,
			DMARC:            &report,
		}, {
			Name:      "archive",
			Addresses: prefixes("198.51.100.0/24"),
			Domains:   []string{"example.com", "xn--bcher-kva.example", "example.org"},
		}},
		Outbound: policy.Outbound{
			Routes:  []*policy.Route{exchange, relays, old},
			Gateway: relays,
			Senders: map[string]*policy.Route{
				"@sales.example.com":     exchange,
				"@xn--bcher-kva.example": old,
				"alice@example.com":      exchange,
				"a.b+list@example.com":   relays,
			},
			Slots:        1,
			SenderHeader: true,
		},
	})
	if len(c.Warnings) != 1 || c.Warnings[0].Key != "reject_other" {
		t.Errorf("warnings %v, want one, that MX records can't be checked with domains = *", c.Warnings)
	}
	if got := c.Policy.GatewayOf(netip.MustParseAddr("192.0.2.55")); got != "filter" {
		t.Errorf("the policy has gateway %q for 192.0.2.55, want filter", got)
	}
}

// defaults are the settings that nobody has changed.
var defaults = policy.Settings{DMARC: policy.DMARCReport, Outbound: policy.Outbound{Slots: 1, SenderHeader: true}}

// What is not given has the default.
func TestDefaults(t *testing.T) {
	inCopy(t, "good")
	c := load(t, "minimal.conf")
	compare(t, "server", c.Server, config.Server{
		Milter:     []config.Listener{{Network: "unix", Address: "/var/spool/postfix/gatemilter/milter.sock"}},
		Lookup:     []config.Listener{{Network: "unix", Address: "/var/spool/postfix/gatemilter/lookup.sock"}},
		SocketMode: 0o660,
		MTAUser:    "postfix",

		GatewayMilters: "{ unix:gatemilter/milter.sock, default_action=tempfail }",
	})
	compare(t, "log", c.Log, config.Log{Format: "console", Level: "info"})
	compare(t, "dns", c.DNS, config.DNS{Timeout: 5 * time.Second})
	compare(t, "authentication", c.Authentication, config.Authentication{SPF: true, DKIM: true, Signatures: 5})
	compare(t, "settings", c.Settings, defaults)
	gateway, err := config.Parse("x", []byte("[inbound-gateway x]\naddresses = ::ffff:192.0.2.0/120\n"))
	if err != nil {
		t.Fatal(err)
	}
	compare(t, "gateway", gateway.Settings.Gateways, []policy.Gateway{{Name: "x", Addresses: prefixes("192.0.2.0/24"), DetectExternalIP: true}})
}

// Every word that a key takes has its own meaning.
func TestWords(t *testing.T) {
	gateway := func(c *config.Config) policy.Gateway { return c.Settings.Gateways[0] }
	const spam = "spam_header = ^X-Spam: yes\nspam_action = "
	tests := []struct {
		line string
		read func(*config.Config) any
		want any
	}{
		{"reject_other = yes", func(c *config.Config) any { return gateway(c).RejectOther }, true},
		{"reject_other = TRUE", func(c *config.Config) any { return gateway(c).RejectOther }, true},
		{"reject_other = on", func(c *config.Config) any { return gateway(c).RejectOther }, true},
		{"detect_external_ip = no", func(c *config.Config) any { return gateway(c).DetectExternalIP }, false},
		{"detect_external_ip = False", func(c *config.Config) any { return gateway(c).DetectExternalIP }, false},
		{"detect_external_ip = off", func(c *config.Config) any { return gateway(c).DetectExternalIP }, false},
		{"unrecognized_hop = continue", func(c *config.Config) any { return gateway(c).StopAtUnrecognised }, false},
		{"unrecognized_hop = stop", func(c *config.Config) any { return gateway(c).StopAtUnrecognised }, true},
		{"require_tls = no", func(c *config.Config) any { return gateway(c).MinTLS }, policy.TLSNone},
		{"require_tls = yes", func(c *config.Config) any { return gateway(c).MinTLS }, policy.TLSOther},
		{"require_tls = yes\nmin_tls = 1.0", func(c *config.Config) any { return gateway(c).MinTLS }, policy.TLS10},
		{"require_tls = yes\nmin_tls = 1.1", func(c *config.Config) any { return gateway(c).MinTLS }, policy.TLS11},
		{"require_tls = yes\nmin_tls = 1.2", func(c *config.Config) any { return gateway(c).MinTLS }, policy.TLS12},
		{"require_tls = yes\nmin_tls = 1.3", func(c *config.Config) any { return gateway(c).MinTLS }, policy.TLS13},
		{spam + "tag", func(c *config.Config) any { return gateway(c).SpamAction }, policy.SpamTag},
		{spam + "quarantine", func(c *config.Config) any { return gateway(c).SpamAction }, policy.SpamQuarantine},
		{spam + "reject", func(c *config.Config) any { return gateway(c).SpamAction }, policy.SpamReject},
		{spam + "discard", func(c *config.Config) any { return gateway(c).SpamAction }, policy.SpamDiscard},
		{"[server]\nmode = enforce", func(c *config.Config) any { return c.Policy.Mode() }, policy.Enforce},
		{"[server]\nmode = observe", func(c *config.Config) any { return c.Policy.Mode() }, policy.Observe},
		{"[server]\nsocket_mode = 600", func(c *config.Config) any { return c.Server.SocketMode }, fs.FileMode(0o600)},
		{"[server]\nsocket_mode = 0775", func(c *config.Config) any { return c.Server.SocketMode }, fs.FileMode(0o775)},
	}
	for _, test := range tests {
		c, err := config.Parse("x", []byte("[inbound-gateway x]\naddresses = 192.0.2.2\n"+test.line+"\n"))
		if err != nil {
			t.Error(err)
		} else if got := test.read(c); got != test.want {
			t.Errorf("%q reads as %v, want %v", test.line, got, test.want)
		}
	}
}

// Values that name each other would make ini.v1's expansion recurse for ever.
func TestMutualReference(t *testing.T) {
	c, err := config.Parse("x", []byte("[inbound-gateway x]\naddresses = 192.0.2.2\ntls_certificate = %(spam_header)s\nspam_header = ^X-%(tls_certificate)s\n"))
	if err != nil {
		t.Fatal(err)
	}
	g := c.Settings.Gateways[0]
	compare(t, "values", []string{g.TLSCertificate, g.SpamHeader.String()}, []string{"%(spam_header)s", "^X-%(tls_certificate)s"})
}

// O9: nothing that can be printed holds a secret, neither of a good file nor of a bad one.
func TestSecretsAreNeverShown(t *testing.T) {
	const secret = "hunter2"
	const gateway = "[inbound-gateway filter]\naddresses = 192.0.2.2\n"
	files := []string{
		"require_header = ^X-Key: hunter2$\n",
		"require_header = /^X-Key: hunter2$/ # hunter2\n",
		"require_header = \"^X-Key: hunter2$\"\n",
		"require_header = '^X-Key: hunter2$'\n",
		"require_header = /^X-Key: hunter2$/i\n",
		"require_header = X-Key: hunter2\n",
		"require_header = ^X-Key: hunter2$ ; hunter2\n",
		"require_header = ^hunter2:\n",
		"require_header = ^X-Key: hunter2,\nhunter2\n",
		"require_header = ^X-Key: (hunter2\n",
		"require_header = ^X-Key: hunter2\\1\n",
		"require_header = ^X-Key: *+hunter2\n",
		"require_header = ^X-Key: [hunter2\n",
		"require_header = ^X-Key: [z-hunter2]\n",
		"require_header = ^X-Key: (?<hunter2\n",
		"require_header = ^X-Key: (?:hunter2){900}\n",
		"require_header = (?:hunter2)?\n",
		"require_header = " + strings.Repeat("hunter2", 1000) + "\n",
		"require_header = `hunter2`\n",
		"require_header: hunter2\n",
		"require_header: ^X-Key=hunter2\n",
		"require_header hunter2 = x\n",
		"require_header = ^X-Key: \\\n  hunter2\n",
		"require_header = ^X-Key: hunter2\x00\n",
		"require_header = a\nrequire_header = hunter2\n",
		"requireheader = hunter2\n",
		"[require_header = hunter2\n[server]\nrequire_header = hunter2\n",
		"[log]\nrequire_header = hunter2\n",
	}
	for _, text := range files {
		c, err := config.Parse("x", []byte(gateway+text))
		shown := fmt.Sprintf("%v %+v %q", err, err, err)
		if c != nil {
			data, err := json.Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			shown += fmt.Sprintf("%v %+v %#v %s %q %v %+v %#v %s %v", c, c, c, c, c, *c, *c, *c, data, c.Warnings)
		}
		if strings.Contains(strings.ToLower(shown), secret) {
			t.Errorf("%q: the secret is shown in\n%s", text, shown)
		}
	}
}

// O9: a file with a secret that everyone can read is refused.
func TestO9ReadableSecret(t *testing.T) {
	password := write(t, "hunter2\n")
	user := "[outbound]\nallow_user_gateways = yes\n[user a@example.com]\n[user-gateway a@example.com a@partner.example]\nserver = smtp.partner.example\n"
	for _, c := range []struct {
		text, problem string
		file          string // whose mode counts; "" is that of the configuration
	}{
		{"[inbound-gateway filter]\naddresses = 192.0.2.2\nrequire_header = ^X-Key: hunter2$\n", ":3: [inbound-gateway filter] require_header: every user of this host can read the secret: run chmod o= ", ""},
		{user + "password = hunter2\n", ":6: [user-gateway a@example.com a@partner.example] password: every user of this host can read the secret: run chmod o= ", ""},
		{user + "password_file = " + password + "\n", ":6: [user-gateway a@example.com a@partner.example] password_file: \"" + password + "\" can be read by every user of this host: run chmod o= on it", password},
	} {
		path := write(t, c.text)
		problem := path + c.problem
		if c.file == "" {
			c.file, problem = path, problem+path
		}
		for mode, want := range map[fs.FileMode]string{0o600: "", 0o640: "", 0o644: problem, 0o604: problem} {
			if err := os.Chmod(c.file, mode); err != nil {
				t.Fatal(err)
			}
			got := ""
			if _, err := config.Load(path); err != nil {
				got = err.Error()
			}
			compare(t, mode.String(), got, want)
		}
	}
}

// O4: users, their addresses, and servers of their own.
func TestO4Users(t *testing.T) {
	password := write(t, "correct horse: battery; staple \n")
	c := load(t, write(t, `
[outbound]
allow_user_gateways = yes
user_gateway_slots = 2
unknown_sender = rewrite
sender_header = no
[user Alice@Example.com]
addresses = alice@example.com, a.smith@example.org, alice@partner.example
[user bob]
addresses = Bob@example.com
[user carol@example.net]
[user-gateway alice@example.com Alice@Partner.example]
server = SMTP.Partner.example
username = alice
password = ;x "y" %z
[user-gateway alice@example.com alice@bücher.example]
server = 192.0.2.7:2525
tls = implicit
password_file = `+password+`
[user-gateway BOB alice@partner.example]
server = smtp.bob.example
tls = implicit
password = p
slot = 1
`))
	gateway := func(host string, port uint16, tls policy.UserTLS, user, password string, slot int) *policy.UserGateway {
		return &policy.UserGateway{Host: host, Port: port, TLS: tls, Username: user, Password: policy.NewSecret(password), Slot: slot}
	}
	compare(t, "outbound", c.Settings.Outbound, policy.Outbound{
		Users: map[string]*policy.User{
			"alice@example.com": {Login: "alice@example.com", Account: "alice@example.com", Identities: []policy.Identity{
				{Address: "alice@example.com"}, {Address: "a.smith@example.org"},
				{Address: "alice@partner.example", Gateway: gateway("smtp.partner.example", 587, policy.STARTTLS, "alice", `;x "y" %z`, 0)},
				{Address: "alice@xn--bcher-kva.example", Gateway: gateway("192.0.2.7", 2525, policy.ImplicitTLS, "alice@xn--bcher-kva.example", "correct horse: battery; staple ", 0)},
			}},
			"bob": {Login: "bob", Account: "bob@example.com", Identities: []policy.Identity{
				{Address: "bob@example.com"},
				{Address: "alice@partner.example", Gateway: gateway("smtp.bob.example", 465, policy.ImplicitTLS, "alice@partner.example", "p", 1)},
			}},
			"carol@example.net": {Login: "carol@example.net", Account: "carol@example.net", Identities: []policy.Identity{{Address: "carol@example.net"}}},
		},
		Domains:           map[string]bool{"example.com": true, "example.net": true},
		AllowUserGateways: true,
		Slots:             2,
		UnknownSender:     policy.RewriteSender,
	})
	compare(t, "warnings", c.Warnings, []config.Problem(nil))
}

// Files that can't be read are errors that name them.
func TestUnreadable(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := syscall.Mkfifo("pipe", 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("large", make([]byte, 1<<20+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("empty", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"missing": `missing: can't be read: no such file or directory; check the path`,
		".":       `.: can't be read: it is no regular file; check the path`,
		"pipe":    `pipe: can't be read: it is no regular file; check the path`,
		"large":   `large: the file is larger than 1048576 octets: split it with include`,
		"empty":   `empty: the file has no section: write at least [server]`,
	} {
		_, err := config.Load(path)
		compare(t, path, fmt.Sprint(err), want)
	}
}

// A pattern that matches one file too many, and one that does not.
func TestTooManyIncludes(t *testing.T) {
	t.Chdir(t.TempDir())
	for i := range 257 {
		if err := os.WriteFile(fmt.Sprintf("%d.inc", i), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile("main", []byte("[server]\ninclude = *.inc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := config.Load("main")
	compare(t, "257 files", fmt.Sprint(err), `main:2: [server] include: "*.inc" matches 257 files: at most 256 can be included`)
	if err := os.Remove("0.inc"); err != nil {
		t.Fatal(err)
	}
	compare(t, "256 files", load(t, "main").Settings, defaults)
}

// Parse opens no files.
func TestParseRefusesInclude(t *testing.T) {
	_, err := config.Parse("x", []byte("[server]\ninclude = /etc/passwd\n"))
	compare(t, "error", err, config.Errors{{File: "x", Line: 2, Section: "server", Key: "include",
		Text: "other files can't be included here: write their sections into this one"}})
}

// A file that is no configuration gives no endless list.
func TestProblemsAreBounded(t *testing.T) {
	_, err := config.Parse("x", []byte(strings.Repeat("x\n", 5000)))
	problems, _ := err.(config.Errors)
	if len(problems) != 1001 {
		t.Fatalf("%d problems, want 1001", len(problems))
	}
	compare(t, "last", problems[1000], config.Problem{File: "x", Line: 1001, Text: "more than 1000 problems: the rest is not shown"})
}

// The sample works as it is, and with everything in it that is commented out.
func TestSample(t *testing.T) {
	sample, err := os.ReadFile("../../packaging/gatemilter.conf")
	if err != nil {
		t.Fatal(err)
	}
	c := load(t, write(t, string(sample)))
	compare(t, "settings", c.Settings, defaults)
	compare(t, "warnings", c.Warnings, []config.Problem(nil))

	commented := regexp.MustCompile(`(?m)^;(\S)`)
	all := commented.ReplaceAllString(string(sample), "$1")
	all = strings.ReplaceAll(all, "/etc/gatemilter/conf.d/", t.TempDir()+"/")
	all = strings.ReplaceAll(all, "/etc/gatemilter/relay-ca.pem", writeAuthority(t))
	all = strings.ReplaceAll(all, "/etc/gatemilter/secrets/alice-partner", write(t, "hunter2\n"))
	cert, key := certificate(t)
	for name, path := range map[string]string{"portal.pem": cert, "portal.key": key, "submission-ca.pem": writeAuthority(t)} {
		all = strings.ReplaceAll(all, "/etc/gatemilter/"+name, path)
	}
	all = regexp.MustCompile(`(?m)^mode( *)= observe$`).ReplaceAllString(all, "mode$1= enforce") // which does not go with a portal
	c = load(t, write(t, all))
	compare(t, "warnings", c.Warnings, []config.Problem(nil))
	if len(c.Settings.Gateways) != 1 {
		t.Fatalf("%d gateways, want 1", len(c.Settings.Gateways))
	}
	if len(c.Settings.Outbound.Routes) != 2 {
		t.Fatalf("%d routes, want 2", len(c.Settings.Outbound.Routes))
	}
	for _, section := range config.Schema() {
		for _, key := range section.Keys {
			if !regexp.MustCompile(`(?m)^` + key.Name + ` +=`).MatchString(all) {
				t.Errorf("the sample does not show %s of [%s]", key.Name, section.Name)
			}
		}
	}
}

// All files that a configuration is made of, each once, are known.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	secret, included := filepath.Join(dir, "password"), filepath.Join(dir, "users.inc")
	for path, text := range map[string]string{
		secret:   "hunter2\n",
		included: "[user-gateway a@home.example a@partner.example]\nserver = smtp.partner.example\npassword_file = " + secret + "\n[user-gateway a@home.example b@partner.example]\nserver = smtp.partner.example\npassword_file = " + secret + "\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	main := write(t, "[server]\ninclude = "+included+"\n[outbound]\nallow_user_gateways = yes\n[user a@home.example]\n")
	compare(t, "files", load(t, main).Files(), []config.File{{Path: main}, {Path: included}, {Path: secret, Key: "password_file"}})
}
