package config

import (
	"crypto/tls"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gatemilter/policy"
)

// Portal says where and how users attach addresses themselves.
type Portal struct {
	// Listen is where it is served; empty: nowhere.
	Listen []Listener
	// URL is how users reach it, https://HOST[:PORT][/PATH] without a slash at its end.
	URL string
	// Certificate and Key are files in PEM; empty behind a proxy that does TLS.
	Certificate, Key string
	// TrustedProxies may say for whom they ask (X-Forwarded-For).
	TrustedProxies []netip.Prefix
	// Submission is the server, HOST and port, that tells whether a login is right.
	Submission Submission
	// AccountDomain completes logins that are no address, or is empty.
	AccountDomain string
	// Ports are those that a user's server may have. They are set without a portal too, and so
	// are AllowedNetworks: both hold for all that is in the database.
	Ports []uint16
	// AllowedNetworks are those inside, in which users' servers may be nevertheless.
	AllowedNetworks []netip.Prefix
	// Relay is the host and port that takes codes for addresses without a server of their own.
	Relay netip.AddrPort
}

// Submission is a server to which users log in to send mail.
type Submission struct {
	Host     string
	Port     uint16
	Implicit bool // TLS from the start
	// CAFile holds the authorities that are trusted for it; empty: the system's.
	CAFile string
}

// The keys of [portal].
const (
	listenKey        = "listen"
	urlKey           = "url"
	certificateKey   = "certificate"
	privateKeyKey    = "key"
	proxiesKey       = "trusted_proxies"
	submissionKey    = "submission"
	submissionTLSKey = "submission_tls"
	submissionCAKey  = "submission_ca_file"
	accountDomainKey = "account_domain"
	portsKey         = "ports"
	allowedKey       = "allowed_networks"
	relayKey         = "relay"
)

func (f fields) portal() Portal {
	p := Portal{
		Listen:          f.listeners(listenKey, parseAdmin, f.doubtPortal),
		URL:             f.portalURL(),
		Certificate:     f.path(certificateKey),
		Key:             f.path(privateKeyKey),
		TrustedProxies:  f.proxies(),
		Submission:      f.submission(),
		AccountDomain:   f.accountDomain(),
		Ports:           f.ports(),
		AllowedNetworks: f.allowedNetworks(),
		Relay:           f.relay(),
	}
	f.checkNeeds()
	if !f.given(listenKey) {
		return p
	}
	for _, key := range []string{urlKey, submissionKey} {
		if !f.has(key) && !f.misspelled(key) {
			spec, _ := f.spec.key(key)
			f.problem(listenKey, "the key %s is missing: write %s = … into this section, for example %s", key, key, spec.Example)
		}
	}
	if f.given(certificateKey) && !f.has(privateKeyKey) && !f.misspelled(privateKeyKey) {
		f.problem(certificateKey, "the certificate has no key beside it: write key = … too, for example /etc/gatemilter/portal.key")
	}
	if !f.given(certificateKey) {
		for _, l := range p.Listen {
			if at, err := netip.ParseAddrPort(l.Address); err == nil && !at.Addr().IsLoopback() {
				f.problem(listenKey, "%s can be reached by others, who would send passwords in clear: give it a certificate and a key, or write an address of this host only, as in inet:127.0.0.1:8080, to which a proxy with TLS leads", l)
			} else if err == nil && strings.HasPrefix(p.URL, "https:") && !f.has(proxiesKey) {
				f.doubt(listenKey, "a proxy leads to %s, and is not believed whom it asks for: all users count as one, so that who guesses passwords keeps all others out; write trusted_proxies = %s for a proxy on this host", l, at.Addr())
			}
		}
	}
	return p
}

// doubtPortal warns of a port that changes.
func (f fields) doubtPortal(key string, l Listener) {
	if at, err := netip.ParseAddrPort(l.Address); err == nil {
		f.doubtPort(key, l, at)
	}
}

// portalURL reads the URL that users know: it is in the messages with codes, and cookies are for
// it.
func (f fields) portalURL() string {
	text := f.text(urlKey)
	if text == "" {
		return ""
	}
	fail := func(format string, args ...any) string {
		f.problem(urlKey, "%s "+format, append([]any{quote(text)}, args...)...)
		return ""
	}
	if hint := hintFor(text, ""); hint != "" {
		return fail("is no URL: %s", hint)
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Opaque != "" {
		return fail("is no URL: write it in full, as in https://mail.example.com/addresses")
	}
	if u.User != nil {
		f.problem(urlKey, "it has a user name or a password in it, which do not belong there: write it as in https://mail.example.com/addresses")
		return ""
	}
	if u.RawQuery != "" || u.Fragment != "" || u.ForceQuery || strings.HasSuffix(text, "#") {
		return fail("has more than a host and a path: write these only, as in https://mail.example.com/addresses")
	}
	host, err := hostName(bracketsOf(u.Hostname()))
	if port := u.Port(); err == nil && port != "" {
		if n, wrong := strconv.ParseUint(port, 10, 16); wrong != nil || n == 0 {
			return fail("has the port %s: write a number up to 65535, or none", quote(port))
		}
	}
	path := strings.TrimRight(u.EscapedPath(), "/")
	switch {
	case err != nil:
		return fail("has no good host: %s", err)
	case path != "" && filepath.Clean(path) != path:
		return fail("has a path that is not written plainly: write %s", quote(u.Scheme+"://"+u.Host+filepath.Clean(path)))
	case u.Scheme == "https":
	case u.Scheme == "http" && isLoopback(host):
		f.doubt(urlKey, "%s is without TLS, which suits only trying out: users' passwords would be sent in clear", quote(text))
	default:
		return fail("does not begin with https://: users send passwords there, so write https://%s", u.Host+path)
	}
	return u.Scheme + "://" + strings.ToLower(u.Host) + path
}

// bracketsOf writes an IPv6 address with its brackets, and any other host as it is.
func bracketsOf(host string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

func (f fields) proxies() []netip.Prefix {
	prefixes := f.networks(proxiesKey)
	for _, p := range prefixes {
		if p.Bits() == 0 {
			f.problem(proxiesKey, "%q is every address, so anybody could say that he is somebody else: list the proxies", p)
		}
	}
	return f.distinct(proxiesKey, prefixes)
}

func (f fields) allowedNetworks() []netip.Prefix {
	prefixes := f.networks(allowedKey)
	for _, p := range prefixes {
		if p.Bits() == 0 {
			f.problem(allowedKey, "%q is every address, so users could reach all that this host can: list the networks with mail servers for users", p)
		}
	}
	return f.distinct(allowedKey, prefixes)
}

// submission reads HOST or HOST:PORT, and how TLS is done there.
func (f fields) submission() Submission {
	s := Submission{CAFile: f.path(submissionCAKey)}
	words := f.choice(submissionTLSKey)
	text := f.text(submissionKey)
	if text == "" {
		return s
	}
	name, port, hasPort := splitPort(text)
	var err error
	if s.Host, err = hostName(name); err != nil {
		f.problem(submissionKey, "%s is no host: %s", quote(text), err)
		return s
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if hasPort && err != nil {
		f.problem(submissionKey, "%s has the port %s: write 587, or 465 for TLS from the start", quote(text), quote(port))
		return s
	}
	s.Port, s.Implicit = uint16(number), words == "implicit" || words == "" && number == policy.PortSubmissions
	mode := policy.STARTTLS
	if s.Implicit {
		mode = policy.ImplicitTLS
	}
	if !hasPort {
		s.Port = mode.DefaultPort()
	}
	switch {
	case mode.TakesPort(s.Port):
	case s.Implicit:
		f.problem(submissionKey, "%s has the port %d, at which TLS is not from the start: write port 465, or submission_tls = starttls", quote(text), s.Port)
	case s.Port == policy.PortSubmissions:
		f.problem(submissionKey, "%s has the port %d, at which TLS is from the start: write submission_tls = implicit, or port 587", quote(text), s.Port)
	default:
		f.problem(submissionKey, "%s has the port %d: write 587 or 25, 465 for TLS from the start, or from 1024 to 65535", quote(text), s.Port)
	}
	return s
}

func (f fields) accountDomain() string {
	text := f.text(accountDomainKey)
	if text == "" {
		return ""
	}
	domain, err := recipientDomain(text)
	if err != nil {
		f.problem(accountDomainKey, "%s is not a domain: %s", quote(text), err)
	}
	return domain
}

// ports reads the ports that servers of users may have.
func (f fields) ports() []uint16 {
	var ports []uint16
	for _, item := range f.list(portsKey) {
		number, err := strconv.ParseUint(item, 10, 16)
		port := uint16(number)
		switch {
		case err != nil:
			f.problem(portsKey, "%s is no port: %s", quote(item), hintFor(item, "write numbers with commas between them"))
		case port != policy.PortSubmissions && !policy.IsRoutePort(port):
			f.problem(portsKey, "%s is not a port of mail servers, which have 25, 465, 587, or one from 1024 to 65535: remove it", quote(item))
		case slices.Contains(ports, port):
			f.doubt(portsKey, "%s is listed twice: one of them can go", quote(item))
		default:
			ports = append(ports, port)
		}
	}
	return ports
}

func (f fields) relay() netip.AddrPort {
	text := f.text(relayKey)
	at, err := netip.ParseAddrPort(text)
	at = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	switch ip := at.Addr(); {
	case err != nil:
		f.problem(relayKey, "%s is not ADDRESS:PORT: %s", quote(text), hintFor(text, "write the IP address and the port of a mail server, as in 127.0.0.1:25"))
	case at.Port() == 0 || ip.IsUnspecified() || ip.IsMulticast():
		f.problem(relayKey, "%s is not where a mail server is: write its address and port, as in 127.0.0.1:25", quote(text))
	case !ip.IsLoopback() && !ip.IsPrivate() && !ip.IsLinkLocalUnicast():
		f.doubt(relayKey, "%s is a public address, and codes are sent there without login: let it be a mail server of your own", quote(text))
	}
	return at
}

// checkPortal looks at the portal together with other sections.
func (c *Config) checkPortal(portal, server, outbound fields) {
	p := &c.Portal
	for _, other := range []struct {
		key   string
		taken []Listener
	}{{"milter", c.Server.Milter}, {"lookup", c.Server.Lookup}, {"admin", c.Server.Admin}} {
		for _, l := range p.Listen {
			if slices.Contains(other.taken, l) {
				portal.problem(listenKey, "%s is listed under %s in [server] too (line %d): write another one", quote(l.String()), other.key, server.line(other.key))
			}
		}
	}
	if len(p.Listen) == 0 {
		return
	}
	if c.Settings.Mode == policy.Observe {
		portal.doubt(listenKey, "the addresses that users attach take no effect yet, as [server] mode = observe (line %d): write mode = enforce there before you tell users of the portal", server.line("mode"))
	}
	domains := c.Settings.Outbound.Domains
	switch {
	case !outbound.given(ownDomainsKey):
		portal.problem(listenKey, "[outbound] has no domains, which have to be known before users attach addresses: those in them are for their owners only; write domains = … there, for example example.com")
	case p.AccountDomain != "" && len(domains) > 0 && !domains[p.AccountDomain]:
		portal.doubt(accountDomainKey, "%s is not in [outbound] domains (line %d): add it there, if it is yours", quote(p.AccountDomain), outbound.line(ownDomainsKey))
	}
}

// checkFiles looks whether certificates can be used.
func (p *Portal) checkFiles(f fields) {
	if len(p.Listen) == 0 {
		return
	}
	if filepath.IsAbs(p.Submission.CAFile) {
		data, err := readFile(p.Submission.CAFile)
		if err == nil {
			err = checkCertificates(data)
		}
		if err != nil {
			f.problem(submissionCAKey, "%s %s", quote(p.Submission.CAFile), err)
		}
	}
	if !filepath.IsAbs(p.Certificate) || !filepath.IsAbs(p.Key) {
		return // there is none, or it has its problem already
	}
	certificate, err := readFile(p.Certificate)
	if err != nil {
		f.problem(certificateKey, "%s %s", quote(p.Certificate), err)
	}
	key, keyErr := readFile(p.Key)
	if keyErr != nil {
		f.problem(privateKeyKey, "%s %s", quote(p.Key), keyErr)
	}
	if err != nil || keyErr != nil {
		return
	}
	if info, err := os.Stat(p.Key); err == nil && info.Mode()&0o004 != 0 {
		f.problem(privateKeyKey, "%s can be read by every user of this host: run chmod o= on it", quote(p.Key))
		return
	}
	if _, err := tls.X509KeyPair(certificate, key); err != nil {
		f.problem(certificateKey, "%s and %s don't go together: %s; get the certificate again, with the key that it was made for", quote(p.Certificate), quote(p.Key), strings.TrimPrefix(err.Error(), "tls: "))
	}
}
