package config_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatemilter/policy/config"
)

// certificate writes a certificate and its key, as the portal takes them.
func certificate(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"mail.example.com"}, NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, content []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}))
	}
	return write(t, block("CERTIFICATE", cert)), write(t, block("PRIVATE KEY", der))
}

// U1, U2: every key of the portal becomes the value that it stands for.
func TestPortal(t *testing.T) {
	cert, key := certificate(t)
	ca := writeAuthority(t)
	c := load(t, write(t, `
[outbound]
domains = example.com
[identities]
database = sqlite:/srv/identities.db
[portal]
listen = inet:192.0.2.1:443, unix:/run/portal.sock
url = https://MAIL.example.com:8443/my/addresses/
certificate = `+cert+`
key = `+key+`
trusted_proxies = 127.0.0.1, 2001:db8::/48
submission = Mail.Example.com:1465
submission_tls = implicit
submission_ca_file = `+ca+`
account_domain = Example.com
ports = 25, 2525
allowed_networks = 10.0.0.0/8, 127.0.0.1
relay = [::ffff:127.0.0.1]:2525
`))
	compare(t, "identities", c.Identities, config.Identities{Database: "sqlite:/srv/identities.db", KeyFile: "/etc/gatemilter/identities.key", SnapshotFile: "/var/lib/gatemilter/identities.snapshot"})
	compare(t, "portal", c.Portal, config.Portal{
		Listen:          []config.Listener{{Network: "tcp", Address: "192.0.2.1:443"}, {Network: "unix", Address: "/run/portal.sock"}},
		URL:             "https://mail.example.com:8443/my/addresses",
		Certificate:     cert,
		Key:             key,
		TrustedProxies:  prefixes("127.0.0.1/32", "2001:db8::/48"),
		Submission:      config.Submission{Host: "mail.example.com", Port: 1465, Implicit: true, CAFile: ca},
		AccountDomain:   "example.com",
		Ports:           []uint16{25, 2525},
		AllowedNetworks: prefixes("10.0.0.0/8", "127.0.0.1/32"),
		Relay:           netip.MustParseAddrPort("127.0.0.1:2525"),
	})
	if o := c.Settings.Outbound; !o.SelfService || o.HasUserGateways() || c.Settings.AsksLookup() {
		t.Errorf("self-service %v, users' servers %v, lookup %v; want only the first, as they are not allowed", o.SelfService, o.HasUserGateways(), c.Settings.AsksLookup())
	}
	compare(t, "warnings", c.Warnings, []config.Problem(nil))
	all := c.Files()
	compare(t, "files", all[1:], []config.File{{Path: "/etc/gatemilter/identities.key", Key: "key_file"}, {Path: cert, Key: "certificate"}, {Path: key, Key: "key"}, {Path: ca, Key: "submission_ca_file"}})
}

// U4: with a portal there is a database; without either, there is none; and where users' own
// servers are allowed, the mail server has to ask from the beginning.
func TestIdentitiesDatabase(t *testing.T) {
	const portal = "[outbound]\ndomains = example.com\nallow_user_gateways = yes\n[portal]\nlisten = 127.0.0.1:8080\nurl = https://mail.example.com\ntrusted_proxies = ::1\nsubmission = mail.example.com\n"
	for _, c := range []struct {
		text, database string
		asks           bool
	}{
		{"[server]\n", "", false},
		{"[outbound]\nallow_user_gateways = yes\n", "", false},
		{"[portal]\nports = 25\n", "", false},
		{portal, "sqlite:/var/lib/gatemilter/identities.db", true},
		{portal + "[identities]\ndatabase = sqlite:/x.db\n", "sqlite:/x.db", true},
		{"[identities]\ndatabase = postgres://u@h.example/d?sslmode=verify-full\n", "postgres://u@h.example/d?sslmode=verify-full", false},
		{"[identities]\ndatabase = postgres://u@h.example/d\n", "postgres://u@h.example/d", false},
		{"[identities]\ndatabase = postgres://u@localhost/d?sslmode=disable\n", "postgres://u@localhost/d?sslmode=disable", false},
	} {
		got, err := config.Parse("x", []byte(c.text))
		if err != nil {
			t.Error(err)
			continue
		}
		o := got.Settings.Outbound
		if got.Identities.Database != c.database || o.SelfService != (c.database != "") || got.Settings.AsksLookup() != c.asks {
			t.Errorf("%q: database %q, self-service %v, lookup %v", c.text, got.Identities.Database, o.SelfService, got.Settings.AsksLookup())
		}
		compare(t, "ports", got.Portal.Ports != nil, true)
		compare(t, "warnings", got.Warnings, []config.Problem(nil))
	}
}

// U7: a proxy that is not believed makes all its clients one, for whom attempts are counted together.
func TestPortalBehindProxy(t *testing.T) {
	for lines, warned := range map[string]bool{
		"listen = 127.0.0.1:8080\nurl = https://mail.example.com":                              true,
		"listen = 127.0.0.1:8080\nurl = http://127.0.0.1:8080":                                 false, // only for trying out, as another warning says
		"listen = 127.0.0.1:8080\nurl = https://mail.example.com\ntrusted_proxies = 127.0.0.1": false,
		"listen = unix:/run/portal.sock\nurl = https://mail.example.com":                       false,
	} {
		c, err := config.Parse("x", []byte("[outbound]\ndomains = example.com\n[portal]\n"+lines+"\nsubmission = mail.example.com\n"))
		if err != nil {
			t.Error(err)
			continue
		}
		got := ""
		for _, w := range c.Warnings {
			got += w.String()
		}
		if strings.Contains(got, "write trusted_proxies = 127.0.0.1 for a proxy on this host") != warned {
			t.Errorf("%s: %q", lines, got)
		}
	}
}

// How a login is tried, by port and by word.
func TestPortalSubmission(t *testing.T) {
	for lines, want := range map[string]config.Submission{
		"submission = mail.example.com":                                   {Host: "mail.example.com", Port: 587},
		"submission = mail.example.com:465":                               {Host: "mail.example.com", Port: 465, Implicit: true},
		"submission = mail.example.com\nsubmission_tls = implicit":        {Host: "mail.example.com", Port: 465, Implicit: true},
		"submission = mail.example.com:2525":                              {Host: "mail.example.com", Port: 2525},
		"submission = [::1]:2465\nsubmission_tls = implicit":              {Host: "::1", Port: 2465, Implicit: true},
		"submission = 127.0.0.1:25\nsubmission_tls = starttls":            {Host: "127.0.0.1", Port: 25},
		"submission = Bücher.example:587\nsubmission_ca_file = /x/ca.pem": {Host: "xn--bcher-kva.example", Port: 587, CAFile: "/x/ca.pem"},
	} {
		c, err := config.Parse("x", []byte("[outbound]\ndomains = example.com\n[portal]\nlisten = 127.0.0.1:8080\nurl = https://mail.example.com\n"+lines+"\n"))
		if err != nil {
			t.Error(err)
			continue
		}
		compare(t, lines, c.Portal.Submission, want)
	}
}

// U7: the portal's key is its own, and fits its certificate.
func TestPortalCertificate(t *testing.T) {
	cert, key := certificate(t)
	_, other := certificate(t)
	open := write(t, string(must(os.ReadFile(key))))
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ cert, key, want string }{
		{cert, key, ""},
		{cert, open, fmt.Sprintf(":8: [portal] key: %q can be read by every user of this host: run chmod o= on it", open)},
		{cert, other, fmt.Sprintf(":7: [portal] certificate: %q and %q don't go together: private key does not match public key; get the certificate again, with the key that it was made for", cert, other)},
		{cert, cert, fmt.Sprintf(":7: [portal] certificate: %q and %q don't go together: found a certificate rather than a key in the PEM for the private key; get the certificate again, with the key that it was made for", cert, cert)},
	} {
		path := write(t, "[outbound]\ndomains = example.com\n[portal]\nlisten = 192.0.2.1:443\nurl = https://mail.example.com\nsubmission = mail.example.com\ncertificate = "+c.cert+"\nkey = "+c.key+"\n")
		_, err := config.Load(path)
		got := ""
		if err != nil {
			got = strings.TrimPrefix(err.Error(), path)
		}
		compare(t, filepath.Base(c.key), got, c.want)
	}
}

// O9, U5: whatever is wrong with the name of a database, a password in it is not shown.
func TestDatabaseIsNotShown(t *testing.T) {
	for _, value := range []string{
		"postgres://u:hunter2@h.example/d",
		"postgres://u:hunter2@h.example",
		"postgres://u@h.example/d?password=hunter2",
		"postgres://u@h.example/d?sslpassword=hunter2",
		"postgres://u:hun%ter2@h.example/d",
		"postgres:u:hunter2@h.example/d",
		"postgres:///d?user=u&password=hunter2",
		"postgresql://u:hunter2@h.example/d ; the database",
		"mysql://u:hunter2@h.example/d",
		`"postgres://u:hunter2@h.example/d"`,
		"host=h.example password=hunter2",
	} {
		c, err := config.Parse("x", []byte("[identities]\ndatabase = "+value+"\n"))
		if err == nil || c != nil || strings.Contains(err.Error(), "hunter") {
			t.Errorf("%s: %v", value, err)
		}
	}
}

// S4: what is said of identities and the portal has no secrets, so changes show.
func TestS4PortalChanges(t *testing.T) {
	parse := func(text string) *config.Config { return must(config.Parse("x", []byte(text))) }
	const portal = "[outbound]\ndomains = example.com\n[portal]\nlisten = 127.0.0.1:8080\nurl = https://mail.example.com\nsubmission = mail.example.com\n"
	old := parse(portal)
	compare(t, "a database", parse(portal+"[identities]\ndatabase = postgres://u@localhost/d\n").Changes(old), []config.Change{
		{Section: "identities", Key: "database", Old: "sqlite:/var/lib/gatemilter/identities.db", New: "postgres://u@localhost/d"}})
	changes := parse("[outbound]\ndomains = example.com\n").Changes(old)
	gone := map[string]string{}
	for _, c := range changes {
		gone[c.Section+" "+c.Key] = c.Old
	}
	if gone["identities database"] != "sqlite:/var/lib/gatemilter/identities.db" || gone["portal url"] != "https://mail.example.com" {
		t.Errorf("changes %v", changes)
	}
	compare(t, "nothing", parse(portal).Changes(old), []config.Change(nil))
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
