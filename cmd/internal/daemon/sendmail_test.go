package daemon

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"gatemilter/cmd/internal/lab"
	"gatemilter/cmd/internal/sendmail"
	"gatemilter/milter/lookup"
)

// mtaPeer is Sendmail, for configurations of usersGeneration.
var mtaPeer = lookup.Peer{UID: 4711}

// asks returns what asks these tables.
func asks(t *testing.T, d *daemon) func(table, key, want string) {
	tables := d.tables()
	return func(table, key, want string) {
		t.Helper()
		got := tables[table].Lookup(t.Context(), mtaPeer, key)
		if text := fmt.Sprint(got); !strings.Contains(text, want) {
			t.Errorf("%s %s: %s, want %s", table, key, text, want)
		}
	}
}

// O2, O4, O5, S8: who logged in, the sender and the recipient give the way; what Sendmail can't
// do waits.
func TestSendmailWays(t *testing.T) {
	const settings = `[route relay]
host = relay.example:25
[route exchange]
primary = a.example:25 100
secondary = b.example:587 100
[sender @sales.example]
route = exchange
[recipient @plant.example]
route = relay
[outbound]
allow_user_gateways = yes
gateway = relay
[user a+x@home.example]
[user b@home.example]
[user-gateway a+x@home.example team@partner.example]
server = smtp.partner.example
password = pass
[user-gateway b@home.example team@partner.example]
server = mail.partner.example:25
password = word
slot = 1
[user-gateway b@home.example b@club.example]
server = mail.club.example
tls = implicit
password = club
`
	d, logs := usersDaemon(t, strings.Replace(settings, "[user a", "user_gateway_slots = 2\n[user a", 1))
	ask, none := asks(t, d), fmt.Sprint(lookup.NotFound())
	ask(sendmail.TableOwn, "<a+2Bx@home.example>;<team@partner.example>", fmt.Sprint(lookup.OK("gatemilter-user-587:[smtp.partner.example]")))
	ask(sendmail.TableOwn, "<b@home.example>;<Team@partner.example>", fmt.Sprint(lookup.OK("gatemilter-user-25:[mail.partner.example]")))
	ask(sendmail.TableOwn, "<b@home.example>;<b@home.example>", none)
	ask(sendmail.TableOwn, "<c@home.example>;<team@partner.example>", none)
	ask(sendmail.TableOwn, "<>;<team@partner.example>", none)
	ask(sendmail.TableOwn, "<b@home.example>;<>", none)
	ask(sendmail.TableTo, "<x@plant.example.>", fmt.Sprint(lookup.OK("gatemilter-25:[relay.example]")))
	ask(sendmail.TableTo, "<x@other.example.>", none)
	ask(sendmail.TableOwn, "<b@home.example>;<b@club.example>", "TLS from the start")
	ask(sendmail.TableRoute, "6AM1;<any@else.example>", fmt.Sprint(lookup.OK("gatemilter-25:[relay.example]")))
	ask(sendmail.TableRoute, "6AM1;<>", fmt.Sprint(lookup.OK("gatemilter-25:[relay.example]")))
	ask(sendmail.TableRoute, "6AM1;<x@sales.example>", "ports 25 and 587")
	ask(sendmail.TableRoute, "x@sales.example", "malformed question")
	ask(sendmail.TableOwn, "x", "malformed question")
	ask(sendmail.TableTo, "x", "malformed question")
	if n := logs.FilterMessage("mail is held back: Sendmail can't go its way").Len(); n != 5 {
		t.Errorf("%d times logged that it can't", n)
	}

	ask(sendmail.TableSame, "<=nobody>;<any@else.example>;<>", fmt.Sprint(lookup.OK(sendmail.Fine)))
	ask(sendmail.TableSame, "<=nobody>;<x@sales.example>;<any@else.example>", fmt.Sprint(lookup.OK(sendmail.Other)))
	ask(sendmail.TableSame, "<b@home.example>;<b@home.example>;<team@partner.example>", fmt.Sprint(lookup.OK(sendmail.Other)))
	ask(sendmail.TableSame, "<c@home.example>;<b@home.example>;<team@partner.example>", fmt.Sprint(lookup.OK(sendmail.Fine)))
	ask(sendmail.TableSame, "<>;<x@sales.example>", "malformed question")

	// A host that DNS does not know is left out, and where none is left, the mail waits.
	d.hosts.resolve = func(_ context.Context, name string, _ bool) error {
		if name == "relay.example" {
			return errors.New("the DNS knows no host " + name)
		}
		return nil
	}
	d.hosts.seen = nil
	ask(sendmail.TableRoute, "6AM1;<any@else.example>", "route relay: the DNS knows no host relay.example")

	d.current.Store(usersGeneration(t, settings[:strings.Index(settings, "[outbound]")]))
	ask(sendmail.TableRoute, "6AM1;<x@else.example>", none)
}

// R5, R6, R7, O9: a connection is for the host of a route, or for the very server of the user who
// logged in, and has to be as demanded; the certificate that Sendmail was shown counts, and has
// to be the one that the host shows us. Only then there is a login.
func TestSendmailConnections(t *testing.T) {
	ca, caFile := systemAuthority(t)
	cert, err := ca.Issue(lab.Subject{Hosts: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	sink, err := lab.SinkConfig{Cert: cert, Logins: map[string]string{"team": "secret"}}.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sink.Close)
	port := sink.Addr().Port()
	plain, err := lab.SinkConfig{IP: "127.0.0.9", Port: port, Logins: map[string]string{"clear@partner.example": "other"}}.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(plain.Close)
	var pair []string // the certificates of two hosts of one route
	for _, ip := range []string{"127.0.0.4", "127.0.0.5"} {
		cert, err := ca.Issue(lab.Subject{Hosts: []string{ip}})
		if err != nil {
			t.Fatal(err)
		}
		host, err := lab.SinkConfig{IP: ip, Port: port, Cert: cert}.Start()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(host.Close)
		pair = append(pair, hexDigest(t, cert))
	}
	d, _ := usersDaemon(t, fmt.Sprintf(`[route strict]
host = 127.0.0.1:%d
ca_file = %s
[route clear]
host = 127.0.0.2:%[1]d
require_tls = no
[route secret]
host = 127.0.0.3:%[1]d
require_ca = no
verify_hostname = no
[route pair]
primary = 127.0.0.4:%[1]d 50, 127.0.0.5:%[1]d 50
ca_file = %[2]s
[route mx]
host = domain.example:%[1]d
mx_lookup = yes
require_tls = no
[route strictmx]
host = strict.example:%[1]d
mx_lookup = yes
[outbound]
allow_user_gateways = yes
[user a@home.example]
[user-gateway a@home.example team@partner.example]
server = 127.0.0.1:%[1]d
username = team
password = secret
[user-gateway a@home.example clear@partner.example]
server = 127.0.0.9:%[1]d
tls = none
password = other
[user-gateway a@home.example wrong@partner.example]
server = 127.0.0.9:%[1]d
tls = none
password = wrong
`, port, caFile))
	ask := asks(t, d)
	shown, login := hexDigest(t, cert), "a@home.example"
	other := strings.Repeat("0", len(shown))
	route := func(addr, tls, print, hosts, host string) string {
		return fmt.Sprintf("route:%d;%s;%s;%s;<%s>;<%s>", port, addr, tls, print, hosts, host)
	}
	user := func(addr, tls, print, host, login string) string {
		return fmt.Sprintf("user:%d;%s;%s;%s;<[%s]>;<%s>", port, addr, tls, print, host, login)
	}
	fine := fmt.Sprint(lookup.OK(sendmail.Fine))
	for _, c := range []struct{ key, want string }{
		{route("127.0.0.2", "", "", "[127.0.0.2]", ""), fine},
		{route("127.0.0.3", "", "", "[127.0.0.3]", ""), "no require_tls of route secret fails"},
		{route("127.0.0.3", "TLSv1.3", "", "[127.0.0.3]", ""), fine},
		{route("127.0.0.1", "", "", "[127.0.0.1]", ""), "no require_tls of route strict fails"},
		{route("127.0.0.1", "TLSv1.3", shown, "[127.0.0.1]", ""), fine},
		{route("127.0.0.1", "TLSv1.3", other, "[127.0.0.1]", ""), "has shown Sendmail a certificate"},
		{route("127.0.0.1", "TLSv1.3", "", "[127.0.0.1]", ""), "confCERT_FINGERPRINT_ALGORITHM"},
		{route("127.0.0.7", "TLSv1.3", shown, "[127.0.0.7]", ""), "is no route's any more"},
		{route("127.0.0.2", "", "", "[127.0.0.2]:[127.0.0.3]", ""), "is no route's any more"},
		{route("127.0.0.2", "", "", "", ""), "has no hosts"},
		{fmt.Sprintf("route:%d;127.0.0.2;;;<[127.0.0.2]>;<>", port+1), "is no route's any more"},
		{route("127.0.0.5", "TLSv1.3", pair[1], "[127.0.0.4]:[127.0.0.5]", ""), fine},
		{route("127.0.0.4", "TLSv1.3", pair[0], "[127.0.0.5]:[127.0.0.4]", ""), fine},
		{route("127.0.0.4", "TLSv1.3", pair[1], "[127.0.0.5]:[127.0.0.4]", ""), "has shown Sendmail a certificate"},
		{route("127.0.0.6", "TLSv1.3", pair[1], "[127.0.0.5]:[127.0.0.4]", ""), "is the address of no host of route pair"},
		// Where the DNS leads to does not count, but what was chosen.
		{route("127.0.0.2", "", "", "[127.0.0.3]", ""), "no require_tls of route secret fails"},
		{route("127.0.0.2", "", "", "strict.example", "strict.example"), "no require_tls of route strictmx fails"},
		{route("127.0.0.8", "", "", "domain.example", "domain.example"), fine},
		{route("127.0.0.8", "", "", "domain.example", "fallback.example"), "is no MX host of domain.example"},
		{user("127.0.0.1", "TLSv1.3", shown, "127.0.0.1", login), fine},
		{user("127.0.0.1", "", "", "127.0.0.1", login), "needs TLS"},
		{user("127.0.0.1", "TLSv1.3", other, "127.0.0.1", login), "has shown Sendmail a certificate"},
		{user("127.0.0.2", "TLSv1.3", shown, "127.0.0.2", login), "is no server of this user any more"},
		{user("127.0.0.1", "TLSv1.3", shown, "127.0.0.1", ""), "is no server of this user any more"},
		{user("127.0.0.1", "TLSv1.3", shown, "127.0.0.1", "b@home.example"), "is no server of this user any more"},
		{user("127.0.0.9", "", "", "127.0.0.9", login), fine},
		{user("127.0.0.9", "TLSv1.3", other, "127.0.0.9", login), fine},
		{"x", "malformed question"},
	} {
		ask(sendmail.TableTLS, c.key, c.want)
	}
	for _, c := range []struct{ addr, host, login, sender, want string }{
		{"127.0.0.1", "127.0.0.1", login, "team@partner.example", `"U=dGVhbQ==" "I=dGVhbQ==" "P=c2VjcmV0"`},
		{"127.0.0.9", "127.0.0.9", login, "clear@partner.example", `"P=b3RoZXI="`},
		{"127.0.0.9", "127.0.0.9", login, "wrong@partner.example", "refuses the login: 535 5.7.8"},
		{"127.0.0.9", "127.0.0.9", login, "team@partner.example", "is another one now"},
		{"127.0.0.1", "127.0.0.1", "b@home.example", "team@partner.example", "no user's server is known"},
		{"127.0.0.1", "127.0.0.1", login, "", "no user's server is known"},
	} {
		ask(sendmail.TableLogin, fmt.Sprintf("user:%d;%s;<[%s]>;<%s>;<%s>", port, c.addr, c.host, c.login, c.sender), c.want)
	}
	ask(sendmail.TableLogin, fmt.Sprintf("route:%d;127.0.0.1;<[127.0.0.1]>;<%s>;<team@partner.example>", port, login), "malformed question")
	tls := d.tables()[sendmail.TableTLS]
	for _, stranger := range []lookup.Peer{{UID: 1000}, {Err: errors.New("TCP")}} {
		if got := tls.Lookup(t.Context(), stranger, user("127.0.0.1", "TLSv1.3", shown, "127.0.0.1", login)); got != lookup.Temp("not for this user") {
			t.Errorf("another user is told %v", got)
		}
	}
	if !d.tables()[sendmail.TableLogin].Admits(4711) || d.tables()[sendmail.TableLogin].Admits(0) {
		t.Error("logins are told to others than mta_user")
	}
}

// authority is what this process takes for the system's only authority, and its file. The system's
// are read once.
var authority = sync.OnceValues(func() (*lab.CA, string) {
	ca, err := lab.NewCA("CA")
	if err != nil {
		panic(err)
	}
	dir, err := os.MkdirTemp("", "authority")
	if err != nil {
		panic(err)
	}
	path := filepath.Join(dir, "ca.pem")
	if err := errors.Join(os.WriteFile(path, ca.PEM(), 0o644), os.Setenv("SSL_CERT_FILE", path)); err != nil {
		panic(err)
	}
	if _, err := x509.SystemCertPool(); err != nil {
		panic(err)
	}
	return ca, path
})

// systemAuthority is authority, whose file is there during the test.
func systemAuthority(t *testing.T) (*lab.CA, string) {
	t.Helper()
	ca, path := authority()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, ca.PEM(), 0o644)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(filepath.Dir(path)) })
	return ca, path
}

// hexDigest is as much of a certificate's digest as Sendmail tells, without colons.
func hexDigest(t *testing.T, c *lab.Cert) string {
	t.Helper()
	return fmt.Sprintf("%.16x", sha256.Sum256(c.TLS.Leaf.Raw))
}
