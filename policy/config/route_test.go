package config_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatemilter/policy"
	"gatemilter/policy/config"
)

// routeWith is a configuration whose only route has these lines.
func routeWith(lines string) string {
	return "[outbound]\ngateway = x\n[route x]\n" + lines + "\n"
}

func parseRoute(t *testing.T, lines string) *policy.Route {
	t.Helper()
	c, err := config.Parse("x", []byte(routeWith(lines)))
	if err != nil {
		t.Fatal(err)
	}
	return c.Settings.Outbound.Gateway
}

// problems returns what is wrong, or doubtful, with a configuration, without the places.
func problems(t *testing.T, text string) []string {
	t.Helper()
	c, err := config.Parse("x", []byte(text))
	list, _ := err.(config.Errors)
	if err == nil {
		list = c.Warnings
	}
	var texts []string
	for _, p := range list {
		texts = append(texts, p.Text)
	}
	return texts
}

// R2: a host is a name or an address, with one of the ports of mail hosts.
func TestR2Hosts(t *testing.T) {
	for text, want := range map[string]policy.Host{
		"mail.example.com":        {Name: "mail.example.com", Port: 25},
		"mail.example.com:25":     {Name: "mail.example.com", Port: 25},
		"mail.example.com:0587":   {Name: "mail.example.com", Port: 587},
		"mail.example.com:1024":   {Name: "mail.example.com", Port: 1024},
		"Mail.Example.COM:65535":  {Name: "mail.example.com", Port: 65535},
		"bücher.example":          {Name: "xn--bcher-kva.example", Port: 25},
		"4711.example":            {Name: "4711.example", Port: 25},
		"192.0.2.1":               {Name: "192.0.2.1", Port: 25},
		"192.0.2.1:2525":          {Name: "192.0.2.1", Port: 2525},
		"[2001:DB8::1]":           {Name: "2001:db8::1", Port: 25},
		"[2001:db8:0:0::1]:587":   {Name: "2001:db8::1", Port: 587},
		"[::ffff:192.0.2.1]:587":  {Name: "192.0.2.1", Port: 587},
		"127.0.0.1:10025":         {Name: "127.0.0.1", Port: 10025},
		"[::1]:10025":             {Name: "::1", Port: 10025},
		"localhost:10025":         {Name: "localhost", Port: 10025},
		"a-b.c--d.xn--p1ai:10025": {Name: "a-b.c--d.xn--p1ai", Port: 10025},
	} {
		want.Load = 100
		compare(t, text, parseRoute(t, "host = "+text).Primary, []policy.Host{want})
	}
}

// R2: what is not a host, or would end the mail server's smtp client, is refused.
func TestR2BadHosts(t *testing.T) {
	const ports = "write a number, 25, 587, or from 1024 to 65535"
	const few = "it is not one of a mail host's; write 25, 587, or one from 1024 to 65535"
	for text, want := range map[string]string{
		"mail.example.com:465":         `"mail.example.com:465" has the port "465": TLS from the start is for user gateways, and a route uses STARTTLS; write 587 or 25`,
		"mail.example.com:0":           `"mail.example.com:0" has the port "0": ` + few,
		"mail.example.com:26":          `"mail.example.com:26" has the port "26": ` + few,
		"mail.example.com:1023":        `"mail.example.com:1023" has the port "1023": ` + few,
		"mail.example.com:65536":       `"mail.example.com:65536" has the port "65536": ` + ports,
		"mail.example.com:":            `"mail.example.com:" has the port "": ` + ports,
		"mail.example.com:smtp":        `"mail.example.com:smtp" has the port "smtp": ` + ports,
		"mail.example.com:+25":         `"mail.example.com:+25" has the port "+25": ` + ports,
		"[2001:db8::1]:465":            `"[2001:db8::1]:465" has the port "465": TLS from the start is for user gateways, and a route uses STARTTLS; write 587 or 25`,
		"mail.example.com.":            `"mail.example.com." is no host: it ends with a point; write mail.example.com`,
		"mail.example.com.:25":         `"mail.example.com.:25" is no host: it ends with a point; write mail.example.com`,
		":25":                          `":25" is no host: it has two points together, or one at its beginning; remove one`,
		"[mail.example.com]:25":        `"[mail.example.com]:25" is no host: only an IPv6 address stands in brackets; write mail.example.com`,
		"[192.0.2.1]":                  `"[192.0.2.1]" is no host: only an IPv6 address stands in brackets; write 192.0.2.1`,
		"[IPv6:2001:db8::1]:25":        `"[IPv6:2001:db8::1]:25" is no host: write the address without IPv6:, as in [2001:db8::1]`,
		"2001:db8::1":                  `"2001:db8::1" is no host: an IPv6 address needs brackets; write [2001:db8::1], or [2001:db8::1]:25`,
		"[fe80::1%eth0]":               `"[fe80::1%eth0]" is no host: it has a zone; write the address alone, [fe80::1]`,
		"0.0.0.0:2525":                 `"0.0.0.0:2525" is no host: it is not the address of one host; write that of a mail host`,
		"[ff02::1]:25":                 `"[ff02::1]:25" is no host: it is not the address of one host; write that of a mail host`,
		"255.255.255.255":              `"255.255.255.255" is no host: it is not the address of one host; write that of a mail host`,
		"192.0.2.300":                  `"192.0.2.300" is no host: the numbers of an address go up to 255; correct it`,
		"192.0.2":                      `"192.0.2" is no host: it is neither an address nor a name, whose last part is never a number; write it in full, as in 192.0.2.1 or mail.example.com`,
		"mail.25":                      `"mail.25" is no host: it is neither an address nor a name, whose last part is never a number; write it in full, as in 192.0.2.1 or mail.example.com`,
		"a_b.example":                  `"a_b.example" is no host: "_" can't be in a domain name; write letters, digits, - and points`,
		"smtp:[mail.example.com]:25":   `"smtp:[mail.example.com]:25" is no host: it begins with a transport; write only the host, as in mail.example.com:25`,
		"smtp://mail.example.com":      `"smtp://mail.example.com" is no host: it is a URL; write only the host, as in mail.example.com:25`,
		"smtp://mail.example.com:25":   `"smtp://mail.example.com:25" is no host: it is a URL; write only the host, as in mail.example.com:25`,
		`"mail.example.com"`:           "`\"mail.example.com\"` is no host: it is more than a name; write it without quotes, mail.example.com",
		"mail.example.com ; ours":      `"mail.example.com ; ours" is no host: it is more than a name; comments need a line of their own`,
		"a.example.com, b.example.com": `"a.example.com, b.example.com" is more than one host: write HOST or HOST:PORT here; several hosts, or a load, go into primary = HOST:PORT LOAD, …`,
		"a.example.com 100":            `"a.example.com 100" is more than one host: write HOST or HOST:PORT here; several hosts, or a load, go into primary = HOST:PORT LOAD, …`,
		"127.0.0.1":                    `"127.0.0.1:25" is this server itself, so that mail would go in a circle: name another host (other ports of this one may be those of a filter)`,
		"127.1.2.3:25":                 `"127.1.2.3:25" is this server itself, so that mail would go in a circle: name another host (other ports of this one may be those of a filter)`,
		"[::1]":                        `"[::1]:25" is this server itself, so that mail would go in a circle: name another host (other ports of this one may be those of a filter)`,
		"localhost":                    `"localhost:25" is this server itself, so that mail would go in a circle: name another host (other ports of this one may be those of a filter)`,
	} {
		compare(t, text, problems(t, routeWith("verify_hostname = no\nhost = "+text)), []string{want})
	}
}

// R3: the loads of each table add up to 100.
func TestR3Loads(t *testing.T) {
	const number = "write one from 1 to 100"
	for text, want := range map[string][]string{
		"primary = a.example 100":                                         nil,
		"primary = a.example 1, b.example:587 99":                         nil,
		"primary = a.example 50, a.example:587 50":                        nil,
		"primary = a.example\t 25 ,b.example 75":                          nil,
		"primary = a.example 100\nsecondary = b.example 40, c.example 60": nil,
		"primary = a.example 50, b.example 40":                            {"the loads add up to 90, not to 100: correct them, so that each is the host's share of the mail in percent"},
		"primary = a.example 50, b.example 51":                            {"the loads add up to 101, not to 100: correct them, so that each is the host's share of the mail in percent"},
		"primary = a.example 100\nsecondary = b.example 99":               {"the loads add up to 99, not to 100: correct them, so that each is the host's share of the mail in percent"},
		"primary = a.example":                                             {`"a.example" has no load: write the host's share of the mail in percent behind it, as in a.example 50`},
		"primary = a.example 0, b.example 100":                            {`the load of "a.example" is 0, so it would get no mail: write it into secondary, or remove it`},
		"primary = a.example -1, b.example 101":                           {`the load "-1" of "a.example" is not between 1 and 100: write its share of the mail in percent`, `the load "101" of "b.example" is not between 1 and 100: write its share of the mail in percent`},
		"primary = a.example 50%, b.example 50":                           {`the load "50%" of "a.example" has a %: write the number alone`},
		"primary = a.example 33.3, b.example half":                        {`the load "33.3" of "a.example" is no whole number: ` + number, `the load "half" of "b.example" is no whole number: ` + number},
		"primary = a.example 99999999999999999999":                        {`the load "99999999999999999999" of "a.example" is no whole number: ` + number},
		"primary = a.example 50 b.example 50":                             {`"a.example 50 b.example 50" is more than a host and its load: put commas between the hosts`},
		"primary = a.example:465 50, b.example 50":                        {`"a.example:465" has the port "465": TLS from the start is for user gateways, and a route uses STARTTLS; write 587 or 25`},
		"primary = a.example 50, A.example:25 50":                         {`"a.example:25" is listed twice: write it once, with both loads together`},
		"primary = a.example 100,":                                        {"there is nothing before or after one of the commas: remove that comma"},
		"primary = ,":                                                     {"there is nothing before or after one of the commas: remove that comma", "the loads add up to 0, not to 100: correct them, so that each is the host's share of the mail in percent"},
		"primary = a.example 100 ; ours":                                  {`"a.example 100 ; ours" is no host with its load: comments need a line of their own`},
		"primary = a.example 100\nsecondary = a.example:25 100":           {`"a.example:25" is a primary host too: when these don't take a message, it is only asked again`},
		"secondary = a.example 100":                                       {"this has no effect alone: write primary too, as in primary = a.example.com:25 50, b.example.com:25 50, or remove this line"},
		"host = a.example\nsecondary = b.example 100":                     {"this has no effect alone: write primary too, as in primary = a.example.com:25 50, b.example.com:25 50, or remove this line"},
		"host = a.example\nprimary = b.example 100":                       {"there is primary too (line 5): write the host into that table, or remove one of them"},
		"mx_lookup = yes":                                                 {"the route leads nowhere: write host = … into this section, for example mail.example.com, or primary = … for several hosts"},
	} {
		compare(t, text, problems(t, routeWith(text)), want)
	}
}

// O10: no route is longer than what the mail server takes.
func TestLength(t *testing.T) {
	table := func(hosts int) string {
		var items []string
		for i := range hosts {
			load := 1
			if i == 0 {
				load = 100 - hosts + 1
			}
			items = append(items, fmt.Sprintf("%s%02d.example 0%d", strings.Repeat("a", 52), i, load))
		}
		return strings.Join(items, ", ")
	}
	// Each nexthop has 67 octets and a comma.
	r := parseRoute(t, "primary = "+table(20)+"\nsecondary = "+table(9))
	if n := len(strings.Join(r.Nexthops(func(int) int { return 0 }), ",")); n != 29*68-1 {
		t.Errorf("29 hosts have %d octets", n)
	}
	compare(t, "30 hosts", problems(t, routeWith("primary = "+table(30))), []string{
		"the hosts of the route have 2039 octets together: the mail server takes at most 2000, so list fewer of them"})
}

// R4, R5, R6, R7: each demand can be set apart.
func TestDemands(t *testing.T) {
	const none = "require_tls = no\n"
	all := policy.TLSDemand{Required: true, CA: true, Hostname: true}
	for text, want := range map[string]policy.TLSDemand{
		"":                                      all,
		"require_tls = yes":                     all,
		"require_ca = yes":                      all,
		"verify_hostname = no":                  {Required: true, CA: true},
		"require_ca = no":                       {Required: true, Hostname: true},
		"require_ca = no\nverify_hostname = no": {Required: true},
		"ca_file = /etc/ssl/ours.pem":           {Required: true, CA: true, Hostname: true, CAFile: "/etc/ssl/ours.pem"},
		none:                                    {},
		none + "require_ca = no":                {},
		none + "verify_hostname = no\nrequire_ca = off": {},
	} {
		r := parseRoute(t, "host = a.example\n"+text)
		compare(t, text, r.TLS, want)
	}
	for text, want := range map[string][]string{
		none + "require_ca = yes":                {"this has no effect with require_tls = no (line 5): remove one of them"},
		none + "verify_hostname = yes":           {"this has no effect with require_tls = no (line 5): remove one of them"},
		none + "ca_file = /a.pem":                {"this has no effect with require_tls = no (line 5): remove one of them"},
		"require_ca = no\nca_file = /a.pem":      {"this has no effect with require_ca = no (line 5): remove one of them"},
		"require_ca = no\nverify_hostname = yes": {"this proves nothing with require_ca = no (line 5): everybody can make a certificate with that name, so set require_ca = yes"},
		"require_ca = maybe":                     {`"maybe" is neither yes nor no: write one of them (true and false, on and off are understood too)`},
		"ca_file = ours.pem":                     {`"ours.pem" is no absolute path: begin it with /, as in /etc/gatemilter/relay-ca.pem`},
		"ca_file = /etc/../ours.pem":             {`"/etc/../ours.pem" is not written plainly: write "/ours.pem"`},
		"ca_file = '/etc/ours.pem'":              {`"'/etc/ours.pem'" is no path: write it without quotes, /etc/ours.pem`},
	} {
		compare(t, text, problems(t, routeWith("host = a.example\n"+text)), want)
	}
	for host, want := range map[string][]string{
		"192.0.2.1\nmx_lookup = yes\nrequire_ca = no\nverify_hostname = no": {`"192.0.2.1:25" is an address, which has no MX hosts: write a domain, or mx_lookup = no (line 5)`},
		"192.0.2.1":                       {`"192.0.2.1:25" is an address: mail goes only if the certificate bears the address itself, so write the host's name, or set verify_hostname = no`},
		"[2001:db8::1]":                   {`"[2001:db8::1]:25" is an address: mail goes only if the certificate bears the address itself, so write the host's name, or set verify_hostname = no`},
		"192.0.2.1\nverify_hostname = no": nil,
		"exchange":                        {`"exchange:25" has no point in its name: it is looked up as it is, without a domain, so write the full name`},
	} {
		compare(t, host, problems(t, routeWith("host = "+host)), want)
	}
}

// One host and port has one demand; routes are used, and defined.
func TestRoutesTogether(t *testing.T) {
	const two = "[route a]\nhost = m.example\n[route b]\nprimary = n.example 50, m.example:25 50\n%s\n[outbound]\ngateway = a\n[sender @x.example]\nroute = b\n"
	const conflict = `"m.example:25" is in the route a too (x:2), with other demands on TLS: make require_tls, require_ca, verify_hostname and ca_file the same in both`
	for text, want := range map[string][]string{
		fmt.Sprintf(two, ""): nil,
		fmt.Sprintf(two, "mx_lookup = yes\nrequire_tls = no"): nil, // other nexthops: those of the domain
		fmt.Sprintf(two, "require_tls = no"):                  {conflict},
		fmt.Sprintf(two, "require_ca = no"):                   {conflict},
		fmt.Sprintf(two, "verify_hostname = no"):              {conflict},
		fmt.Sprintf(two, "ca_file = /a.pem"):                  {conflict},
		"[route Relays]\nhost = m.example\n[outbound]\ngateway = relays\n[sender @x.example]\nroute = Relay\n[sender @y.example]\nroute = other\n[sender @z.example]\nroute = \"Relays\"": {
			`there is no route "relays": did you mean "Relays" (x:1)?`,
			`there is no route "Relay": did you mean "Relays" (x:1)?`,
			`there is no route "other": write a section [route NAME] with this name, or the name of another one`,
			"there is no route `\"Relays\"`: write it without quotes, Relays",
		},
		"[route a]\nhost = m.example\n": {"nothing uses this route: name it in [outbound] or in a section [sender ADDRESS] or [recipient ADDRESS], or remove it"},
		"[server]\nmilter = inet:127.0.0.1:9624\n" + routeWith("host = 127.0.0.1:9624\nrequire_tls = no"): {`"127.0.0.1:9624" is where gatemilter listens for the mail server: name a mail host`},
		"[server]\nmilter = inet:127.0.0.1:9624\n" + routeWith("host = localhost:9624"):                   {`"localhost:9624" is where gatemilter listens for the mail server: name a mail host`},
		"[server]\nmilter = inet:127.0.0.1:9624\n" + routeWith("host = 127.0.0.2:9624\nrequire_tls = no"): nil,
		"[server]\nauthserv_id = mx.example\n" + routeWith("host = MX.example"):                           {`"mx.example:25" has the name that authserv_id gives to this server: mail would go in a circle`},
		"[server]\nauthserv_id = mx.example\n" + routeWith("host = mx.example:587"):                       nil,
	} {
		compare(t, text, problems(t, text), want)
	}
}

// O2: a sender is an address or a domain, and stands in one section.
func TestO2Senders(t *testing.T) {
	for name, want := range map[string]string{
		"alice@example.com":                      "alice@example.com",
		"Alice+News@EXAMPLE.com":                 "alice+news@example.com",
		"o'brien_#1@example.com":                 "o'brien_#1@example.com",
		"{a|b}!`x@example.com":                   "{a|b}!`x@example.com",
		"@example.com":                           "@example.com",
		"@Bücher.example":                        "@xn--bcher-kva.example",
		strings.Repeat("a", 64) + "@example.com": strings.Repeat("a", 64) + "@example.com",
	} {
		c, err := config.Parse("x", []byte("[route x]\nhost = m.example\n[sender "+name+"]\nroute = x\n"))
		if err != nil {
			t.Error(err)
			continue
		}
		compare(t, name, c.Settings.Outbound.Senders, map[string]*policy.Route{want: c.Settings.Outbound.Routes[0]})
	}
	for name, want := range map[string]string{
		"":                                       "the section names no sender: write [sender user@example.com], or [sender @example.com] for all of a domain",
		"alice":                                  `"alice" is no sender: write an address, user@example.com, or @example.com for all of a domain`,
		"example.com":                            `"example.com" is no sender: write an address, user@example.com, or @example.com for all of a domain`,
		"<alice@example.com>":                    `"<alice@example.com>" is no sender: write the address alone, without <, > and quotes`,
		"<>":                                     `"<>" is no sender: write the address alone, without <, > and quotes`,
		"*@example.com":                          `"*@example.com" has a wildcard: write [sender @example.com] for all of the domain`,
		"@*.example.com":                         `"@*.example.com" is no sender, "*.example.com" behind the @ is not a domain: "*" can't be in a domain name; write letters, digits, - and points`,
		"alice@example.com.":                     `"alice@example.com." is no sender, "example.com." behind the @ is not a domain: it ends with a point; write example.com`,
		"alice@192.0.2.1":                        `"alice@192.0.2.1" is no sender, "192.0.2.1" behind the @ is not a domain: it is an address; write a name`,
		"a..b@example.com":                       `"a..b@example.com" is no sender: a point is at the beginning or the end of what stands before the @, or two are together; correct it, or write a rule for the domain`,
		"a@b@example.com":                        `"a@b@example.com" is no sender: "@" can't be before the @ here; correct it, or write a rule for the domain`,
		"jürgen@example.com":                     `"jürgen@example.com" is no sender: "ü" can't be before the @ here; correct it, or write a rule for the domain`,
		strings.Repeat("a", 65) + "@example.com": `"` + strings.Repeat("a", 65) + `@example.com" is no sender: what stands before the @ has 65 octets, more than the 64 of a local part; correct it`,
	} {
		compare(t, name, problems(t, "[route x]\nhost = m.example\n[sender "+name+"]\nroute = x\n"), []string{want})
	}
	const first = "[route x]\nhost = m.example\n[sender @bücher.example]\nroute = x\n"
	compare(t, "twice", problems(t, first+"[sender @BÜCHER.example]\nroute = x\n"), []string{"the section is given twice, first at x:3: write all its settings there"})
	compare(t, "IDN twice", problems(t, first+"[sender @xn--bcher-kva.example]\nroute = x\n"), []string{"there is a section for this sender already, [sender @bücher.example] (x:3): remove one of them"})
}

// authority makes a certificate that signs itself.
func authority(t *testing.T) []byte {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Unix(1<<32, 0), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(nil, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// writeAuthority writes a file as ca_file names it.
func writeAuthority(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, authority(t), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// R6: a file of authorities that can't be used is found out at load. Parse opens none.
func TestR6CAFile(t *testing.T) {
	good := string(authority(t))
	block := func(kind, content string) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: []byte(content)}))
	}
	path := filepath.Join(t.TempDir(), "ca.pem")
	text := routeWith("host = m.example\nca_file = " + path)
	for content, want := range map[string]string{
		good:                                "",
		"# ours\n" + good + "\n" + good:     "",
		block("X509 CRL", "x") + good:       "",
		"":                                  "has no certificate in PEM form (-----BEGIN CERTIFICATE-----): convert it with openssl x509 -inform der",
		"\x30\x82":                          "has no certificate in PEM form (-----BEGIN CERTIFICATE-----): convert it with openssl x509 -inform der",
		good + block("CERTIFICATE", "x"):    "has a certificate, number 2, that can't be read: x509: malformed certificate; get it again from its authority",
		good + block("EC PRIVATE KEY", "x"): "has a private key in it, which does not belong there: write only certificates into it",
		strings.Repeat("\n", 1<<20) + good:  "is larger than 1048576 octets: write only the authorities into it that this route needs",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		main := write(t, text)
		got := ""
		if _, err := config.Load(main); err != nil {
			got = strings.TrimPrefix(err.Error(), fmt.Sprintf("%s:5: [route x] ca_file: %q ", main, path))
		}
		if got != want {
			t.Errorf("%.40q: %q, want %q", content, got, want)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	main := write(t, text)
	_, err := config.Load(main)
	compare(t, "no file", fmt.Sprint(err), fmt.Sprintf("%s:5: [route x] ca_file: %q can't be read: no such file or directory; check the path", main, path))
	compare(t, "not opened", parseRoute(t, "host = m.example\nca_file = "+path).TLS.CAFile, path)
}
