package config

import (
	"cmp"
	"slices"

	"gatemilter/policy"
)

// A SectionSpec is one kind of section that a configuration may have.
type SectionSpec struct {
	Name string
	// Named sections are written [Name NAME], and there may be several of them.
	Named bool
	// NameForm is what stands for the name where it is not of the administrator's
	// choice: as in [Name ADDRESS], or [Name LOGIN ADDRESS] for two of them.
	NameForm string
	// Meaning is one line for the manual.
	Meaning string
	Keys    []KeySpec
}

// A KeySpec is one setting of a section.
type KeySpec struct {
	Name string
	// Kind says in a word or two what is to be written.
	Kind string
	// Values are all that may be written, where they can be listed.
	Values []string
	// Default is what holds when the key is not given; "" means nothing.
	Default string
	// Required keys have no default: the section is refused without them.
	Required bool
	// Needs is another key of the section, without which (or, where that is a yes or
	// no, without yes) this one has no effect and is an error, unless it says no; or "".
	Needs string
	// Secret values are never shown.
	Secret bool
	// Meaning is one line for the manual, Example a value as it might be written.
	Meaning string
	Example string
}

// The sections.
const (
	serverSection  = "server"
	logSection     = "log"
	dnsSection     = "dns"
	authSection    = "authentication"
	inboundSection = "inbound"
	gatewaySection = "inbound-gateway"
	routeSection   = "route"
	outSection     = "outbound"
	senderSection  = "sender"
	rcptSection    = "recipient"
	userSection    = "user"
	userGWSection  = "user-gateway"
	idsSection     = "identities"
	portalSection  = "portal"
)

// gatewayMiltersKey is the key of [server] with the milters for gateway-only mail.
const gatewayMiltersKey = "gateway_milters"

// includeKey is the key of [server] that names further files.
const includeKey = "include"

// The kinds that mean something to the reader of the section.
const (
	kindBool      = "yes or no"
	kindSockets   = "sockets"
	kindNetworks  = "networks"
	kindDomains   = "domains"
	kindHosts     = "hosts with loads"
	kindAddresses = "mail addresses"
	kindMilters   = "milters"
	kindPorts     = "ports"
)

var dmarcModes = []string{"off", "report", "enforce"}

var yesNo = []string{"yes", "no"}

// schema is all that can be configured, in the order of the manual.
var schema = []SectionSpec{
	{Name: serverSection, Meaning: "How the mail server reaches gatemilter.", Keys: []KeySpec{
		{Name: "milter", Kind: kindSockets, Default: "unix:/var/spool/postfix/gatemilter/milter.sock",
			Meaning: "Where to listen for the mail server: unix:PATH or inet:ADDRESS:PORT, several with commas.",
			Example: "unix:/var/spool/postfix/gatemilter/milter.sock, inet:127.0.0.1:9624"},
		{Name: "lookup", Kind: kindSockets, Default: "unix:/var/spool/postfix/gatemilter/lookup.sock",
			Meaning: "Where the mail server asks for the ways of outgoing mail; opened only if there are routes, users' own servers, or gateways with spam_evaluation = gateway-only.",
			Example: "unix:/var/spool/postfix/gatemilter/lookup.sock"},
		{Name: gatewayMiltersKey, Kind: kindMilters,
			Meaning: "The milters for mail of gateways with spam_evaluation = gateway-only, as in Postfix's smtpd_milters but without the spam filter; without it, gatemilter alone.", Example: "unix:gatemilter/milter.sock, unix:opendkim/opendkim.sock"},
		{Name: "admin", Kind: kindSockets,
			Meaning: "Where metrics (/metrics), health (/healthz, /readyz) and a status page (/) are served over HTTP: ADDRESS:PORT or unix:PATH; without it, nowhere. These pages know no login.",
			Example: "127.0.0.1:9625"},
		{Name: "socket_group", Kind: "group",
			Meaning: "Group of the unix sockets; without it, that of their directory where it is setgid, as the systemd service makes it, or else of the process.", Example: "postfix"},
		{Name: "socket_mode", Kind: "octal mode", Default: "0660",
			Meaning: "Permissions of the unix sockets.", Example: "0660"},
		{Name: "mta_user", Kind: "user", Default: DefaultMTAUser,
			Meaning: "The user that the mail server's processes run as, postfix, or root for Sendmail: only they are told the logins of users' own servers.", Example: "postfix"},
		{Name: "mode", Kind: "choice", Values: []string{"enforce", "observe"}, Default: "enforce",
			Meaning: "Whether verdicts take effect, or are only made and logged.", Example: "observe"},
		{Name: "authserv_id", Kind: "host name",
			Meaning: "The name under which results are reported in Authentication-Results; without it, the name of this host.", Example: "mx.example.com"},
		{Name: includeKey, Kind: "file pattern",
			Meaning: "Further files to read: one path or pattern, with * and ? in the file name; a relative one starts at the directory of this file.", Example: "/etc/gatemilter/conf.d/*.conf"},
	}},
	{Name: logSection, Meaning: "What is logged, where to, and how.", Keys: []KeySpec{
		{Name: "target", Kind: "choice", Values: []string{"journal", "stderr"},
			Meaning: "Where to: systemd's journal, with fields to search by, or stderr; without it, the journal if stderr leads there, as in a service.", Example: "journal"},
		{Name: "format", Kind: "choice", Values: []string{"console", "json"}, Default: "console",
			Meaning: "Lines of stderr for people, or for programs.", Example: "json"},
		{Name: "level", Kind: "choice", Values: []string{"debug", "info", "warn", "error"}, Default: "info",
			Meaning: "The least severity that is logged.", Example: "warn"},
	}},
	{Name: dnsSection, Meaning: "How SPF, DKIM and DMARC ask the DNS.", Keys: []KeySpec{
		{Name: "servers", Kind: "addresses",
			Meaning: "Recursive name servers, ADDRESS:PORT, at most 8; without any, those of /etc/resolv.conf.", Example: "127.0.0.1:53, [::1]:53"},
		{Name: "timeout", Kind: "duration", Default: "5s",
			Meaning: "How long one server has for one answer, 100ms to 10s.", Example: "2s"},
	}},
	{Name: authSection, Meaning: "What is authenticated, with the true source.", Keys: []KeySpec{
		{Name: "spf", Kind: kindBool, Values: yesNo, Default: "yes",
			Meaning: "Check the envelope sender's SPF policy.", Example: "no"},
		{Name: "dkim", Kind: kindBool, Values: yesNo, Default: "yes",
			Meaning: "Verify DKIM signatures.", Example: "no"},
		{Name: "dkim_signatures", Kind: "number", Default: "5",
			Meaning: "How many signatures of one message are verified, 1 to 10.", Example: "3"},
		{Name: "dmarc", Kind: "choice", Values: dmarcModes, Default: "report",
			Meaning: "Whether DMARC is left out, reported, or also acted on: refused, or treated as spam, as the author's domain asks.", Example: "enforce"},
		{Name: "received_spf", Kind: kindBool, Values: yesNo, Default: "no",
			Meaning: "Add a Received-SPF field too.", Example: "yes"},
	}},
	{Name: inboundSection, Meaning: "What holds for all incoming mail.", Keys: []KeySpec{
		{Name: "internal_networks", Kind: kindNetworks,
			Meaning: "Our own networks: mail from them is exempt from all inbound rules.", Example: "10.0.0.0/8, 2001:db8:1::/48"},
		{Name: "allowlist", Kind: kindNetworks,
			Meaning: "Source IPs whose mail is never spam.", Example: "203.0.113.7"},
	}},
	{Name: gatewaySection, Named: true, Meaning: "A mail server that filters our mail before it reaches us.", Keys: []KeySpec{
		{Name: "addresses", Kind: kindNetworks, Required: true,
			Meaning: "Every public address from which the gateway's hosts send, and each one that mail passes before.",
			Example: "192.0.2.2, 192.0.2.55, 2001:db8:5::/48"},
		{Name: "domains", Kind: kindDomains, Default: "*",
			Meaning: "The recipient domains behind this gateway, by their exact names: subdomains are not included; * is all that no other gateway names.", Example: "example.com, example.org"},
		{Name: "detect_external_ip", Kind: kindBool, Values: yesNo, Default: "yes",
			Meaning: "Search the Received fields for the first public address that is no gateway; otherwise take the hop before the gateway.", Example: "no"},
		{Name: "unrecognized_hop", Kind: "choice", Values: []string{"continue", "stop"}, Default: "continue",
			Meaning: "What the search does at a Received field that it can't read: go on beneath it, or stop there and take the gateway's own address.", Example: "stop"},
		{Name: "reject_other", Kind: kindBool, Values: yesNo, Default: "no",
			Meaning: "Refuse mail to these domains that does not come from the gateway.", Example: "yes"},
		{Name: "require_tls", Kind: kindBool, Values: yesNo, Default: "no",
			Meaning: "Refuse the gateway when it connects without TLS.", Example: "yes"},
		{Name: "min_tls", Kind: "choice", Values: []string{"1.0", "1.1", "1.2", "1.3"}, Needs: "require_tls",
			Meaning: "The least TLS version of the gateway.", Example: "1.2"},
		{Name: "tls_certificate", Kind: "certificate name",
			Meaning: "The common name that the gateway's verified client certificate must bear, in full.", Example: "relay.example.net"},
		{Name: "require_header", Kind: "expression", Secret: true,
			Meaning: "A header field with a shared secret that only our gateway account adds; it is removed before delivery.", Example: `^X-Gateway-Key: 2f1c9a77e0$`},
		{Name: "spam_header", Kind: "expression",
			Meaning: "The header field by which the gateway tags spam.", Example: `^X-(?:spam|phishy): (0\.\d*|1\.0*)$`},
		{Name: "spam_score", Kind: "number", Needs: "spam_header",
			Meaning: "Spam from this score on, which the one capture group of spam_header catches; 0,5 is read as 0.5.", Example: "0.50"},
		{Name: "spam_action", Kind: "choice", Values: []string{"tag", "quarantine", "reject", "discard"}, Default: "tag", Needs: "spam_header",
			Meaning: "What happens to spam: it is tagged (X-Spam-Flag: YES), put into the mail server's hold queue, refused, or accepted and thrown away.", Example: "quarantine"},
		{Name: "spam_evaluation", Kind: "choice", Values: []string{"local", policy.GatewayOnly}, Default: "local",
			Meaning: "Whether the local spam filter (rspamd, SpamAssassin, amavis) looks at this gateway's mail too, or the gateway alone decides.", Example: policy.GatewayOnly},
		{Name: "dmarc", Kind: "choice", Values: dmarcModes,
			Meaning: "As in [authentication], for this gateway's mail: report suits one that changes messages and so breaks signatures.", Example: "report"},
	}},
	{Name: routeSection, Named: true, Meaning: "A way for outgoing mail: one mail host, or several that share it.", Keys: []KeySpec{
		{Name: hostKey, Kind: "host",
			Meaning: "The mail host, HOST or HOST:PORT: a name (recommended) or an address, IPv6 in brackets; port 25 (the default), 587, or 1024 to 65535.", Example: "mail.example.com:587"},
		{Name: primaryKey, Kind: kindHosts,
			Meaning: "Instead of host: several hosts, each with its share of the mail in percent, HOST:PORT LOAD; the loads add up to 100.", Example: "a.example.com:25 50, b.example.com:25 50"},
		{Name: secondaryKey, Kind: kindHosts, Needs: primaryKey,
			Meaning: "Hosts that are tried, likewise, when no primary one takes the message.", Example: "c.example.com:587 100"},
		{Name: "mx_lookup", Kind: kindBool, Values: yesNo, Default: "no",
			Meaning: "The names are domains, and mail goes to their MX hosts.", Example: "yes"},
		{Name: "require_tls", Kind: kindBool, Values: yesNo, Default: "yes",
			Meaning: "Never send in clear: without TLS, mail is deferred.", Example: "yes"},
		{Name: "require_ca", Kind: kindBool, Values: yesNo, Default: "yes", Needs: "require_tls",
			Meaning: "The host's certificate must be signed by a trusted authority.", Example: "yes"},
		{Name: "verify_hostname", Kind: kindBool, Values: yesNo, Default: "yes", Needs: "require_tls",
			Meaning: "The certificate must bear the host's name; with mx_lookup, that of the MX host.", Example: "yes"},
		{Name: caFileKey, Kind: fileKind, Needs: "require_ca",
			Meaning: "A PEM file with the authorities that are trusted for this route; without it, the system's.", Example: "/etc/gatemilter/relay-ca.pem"},
	}},
	{Name: outSection, Meaning: "What holds for all outgoing mail, bounces and forwarded mail included.", Keys: []KeySpec{
		{Name: outGatewayKey, Kind: "route",
			Meaning: "The route of all outgoing mail of which no [sender] speaks; without it, the mail server delivers that directly.", Example: "relays"},
		{Name: allowKey, Kind: kindBool, Values: yesNo, Default: "no",
			Meaning: "Let mail of users leave by servers of their own, [user-gateway], where they have one for its From address; otherwise ours send it.", Example: "yes"},
		{Name: slotsKey, Kind: "number", Default: "1",
			Meaning: "How many users may have the same address with servers of their own, 1 to 16: each takes a slot, which is transports of its own in Postfix that mta-setup makes.", Example: "2"},
		{Name: "unknown_sender", Kind: "choice", Values: []string{"reject", "rewrite", "accept"}, Default: "reject",
			Meaning: "What happens when a [user] writes as an address that is not his, or anybody else as one that is: refused, replaced by the account's address, or let through.", Example: "rewrite"},
		{Name: ownDomainsKey, Kind: kindDomains,
			Meaning: "Our own domains: what our servers send as a user's address in any other bears the account's address as its envelope sender, and in Sender; without it, those of the users' accounts.", Example: "example.com, example.org"},
		{Name: "sender_header", Kind: kindBool, Values: yesNo, Default: "yes",
			Meaning: "Write that Sender field, by which readers show who sent it on behalf of whom.", Example: "no"},
	}},
	{Name: senderSection, Named: true, NameForm: "ADDRESS", Meaning: "Outgoing mail by its envelope sender: an address, user@example.com, or all of a domain, @example.com, without its subdomains. The address decides before the domain, and the one without +extension speaks for those with it.", Keys: []KeySpec{
		{Name: ruleRouteKey, Kind: "route", Required: true,
			Meaning: "The route of this mail, instead of the outbound gateway.", Example: "exchange"},
	}},
	{Name: rcptSection, Named: true, NameForm: "ADDRESS", Meaning: "Mail by its recipient, an address or @domain as in [sender], also where it would stay on this server: it goes before all senders' rules.", Keys: []KeySpec{
		{Name: ruleRouteKey, Kind: "route", Required: true,
			Meaning: "The route of this mail.", Example: "exchange"},
	}},
	{Name: userSection, Named: true, NameForm: "LOGIN", Meaning: "A user, by the name with which he logs in to send mail (SMTP AUTH), and the addresses as which he may write.", Keys: []KeySpec{
		{Name: addressesKey, Kind: kindAddresses,
			Meaning: "The user's addresses, that of the account first; without it, the login itself. Those of his own servers need not be listed again.", Example: "alice@example.com, a.smith@example.com"},
	}},
	{Name: userGWSection, Named: true, NameForm: "LOGIN ADDRESS", Meaning: "The server of a user's own by which his mail as that address leaves, with allow_user_gateways = yes.", Keys: []KeySpec{
		{Name: serverKey, Kind: "host", Required: true,
			Meaning: "The server, HOST or HOST:PORT; the port is 587, or 465 with tls = implicit.", Example: "smtp.partner.example"},
		{Name: "tls", Kind: "choice", Values: []string{"starttls", "implicit", "none"}, Default: "starttls",
			Meaning: "How the connection is protected: by STARTTLS, by TLS from the start (port 465), or not at all. With TLS, the certificate must be signed by a trusted authority and bear the server's name.", Example: "implicit"},
		{Name: "username", Kind: "text",
			Meaning: "The user name there; without it, the address.", Example: "alice"},
		{Name: passwordKey, Kind: "text", Secret: true,
			Meaning: "The password there. A file with passwords in it must not be readable by every user of this host.", Example: "correct horse battery staple"},
		{Name: slotKey, Kind: "number", Default: "0",
			Meaning: "Where several users have this address with servers of their own, each needs a number of his own, from 0 to below user_gateway_slots, and keeps it: mail that waits is known by it.", Example: "1"},
		{Name: passwordFileKey, Kind: fileKind,
			Meaning: "Instead of password: a file with it as its only line.", Example: "/etc/gatemilter/secrets/alice-partner"},
	}},
	{Name: idsSection, Meaning: "Addresses and servers that users have attached themselves: they are in a database, beside the sections [user] and [user-gateway], which go before it.", Keys: []KeySpec{
		{Name: databaseKey, Kind: "database",
			Meaning: "Where they are: sqlite:PATH for one mail server, or postgres://USER@HOST/DATABASE for several, with the password in a passfile; without it, " + defaultDatabase + " if [portal] listen is given, and otherwise nowhere.",
			Example: "postgres://mail@db.example.com/mail?sslmode=verify-full"},
		{Name: keyFileKey, Kind: fileKind, Default: "/etc/gatemilter/identities.key", Needs: databaseKey,
			Meaning: "The keys that encrypt passwords in the database, 32 octets in base64 a line: the first one encrypts, all decrypt. The systemd credential identities.key goes before it.", Example: "/etc/gatemilter/identities.key"},
		{Name: snapshotKey, Kind: "state file", Default: "/var/lib/gatemilter/identities.snapshot", Needs: databaseKey,
			Meaning: "A copy of what is in the database, for a start while that can't be reached. Passwords are encrypted in it as well.", Example: "/var/lib/gatemilter/identities.snapshot"},
	}},
	{Name: portalSection, Meaning: "The web pages on which users attach addresses.", Keys: []KeySpec{
		{Name: listenKey, Kind: kindSockets,
			Meaning: "Where they are served: inet:ADDRESS:PORT or unix:PATH; without it, nowhere. It needs url and submission, and domains in [outbound].", Example: "inet:127.0.0.1:8080"},
		{Name: urlKey, Kind: "URL", Needs: listenKey,
			Meaning: "How users reach them, from outside, also through a proxy.", Example: "https://mail.example.com/addresses"},
		{Name: certificateKey, Kind: fileKind, Needs: listenKey,
			Meaning: "A PEM file with the certificate for TLS, and those between it and its authority; without it, a proxy on this host has to do TLS.", Example: "/etc/gatemilter/portal.pem"},
		{Name: privateKeyKey, Kind: fileKind, Needs: certificateKey,
			Meaning: "A PEM file with the certificate's private key.", Example: "/etc/gatemilter/portal.key"},
		{Name: proxiesKey, Kind: kindNetworks, Needs: listenKey,
			Meaning: "Proxies that say for whom they ask (X-Forwarded-For); one on a unix socket is always believed.", Example: "127.0.0.1, ::1"},
		{Name: submissionKey, Kind: "host", Needs: listenKey,
			Meaning: "The mail server, HOST or HOST:PORT, that users log in to: it says whether a login is right. The port is 587, or 465 with submission_tls = implicit.", Example: "mail.example.com"},
		{Name: submissionTLSKey, Kind: "choice", Values: []string{"starttls", "implicit"}, Needs: submissionKey,
			Meaning: "How the connection to it is protected, always with a certificate that is verified: by STARTTLS, or by TLS from the start; without it, the latter on port 465.", Example: "starttls"},
		{Name: submissionCAKey, Kind: fileKind, Needs: submissionKey,
			Meaning: "A PEM file with the authorities that are trusted for it; without it, the system's.", Example: "/etc/gatemilter/submission-ca.pem"},
		{Name: accountDomainKey, Kind: "domain", Needs: listenKey,
			Meaning: "The domain of the account's address where a login is none itself: alice is then alice@example.com.", Example: "example.com"},
		{Name: portsKey, Kind: kindPorts, Default: "25, 465, 587",
			Meaning: "The ports that users' servers may have: of 25, 465, 587, and those from 1024 on.", Example: "25, 587, 2525"},
		{Name: allowedKey, Kind: kindNetworks,
			Meaning: "Networks inside, private ones or this host, in which users' servers may be nevertheless.", Example: "192.0.2.0/28"},
		{Name: relayKey, Kind: "address", Default: "127.0.0.1:25", Needs: listenKey,
			Meaning: "The mail server, ADDRESS:PORT, that takes the messages with codes for addresses without a server of their own.", Example: "127.0.0.1:25"},
	}},
}

// Schema returns all that can be configured: for the manual and for shell
// completion. The caller may change what it gets.
func Schema() []SectionSpec {
	sections := slices.Clone(schema)
	for i := range sections {
		sections[i].Keys = slices.Clone(sections[i].Keys)
		for j := range sections[i].Keys {
			sections[i].Keys[j].Values = slices.Clone(sections[i].Keys[j].Values)
		}
	}
	return sections
}

// definition returns the section of that name, and whether there is one.
func definition(name string) (SectionSpec, bool) {
	i := slices.IndexFunc(schema, func(s SectionSpec) bool { return s.Name == name })
	if i < 0 {
		return SectionSpec{}, false
	}
	return schema[i], true
}

// key returns the key of that name, and whether there is one.
func (s SectionSpec) key(name string) (KeySpec, bool) {
	i := slices.IndexFunc(s.Keys, func(k KeySpec) bool { return k.Name == name })
	if i < 0 {
		return KeySpec{}, false
	}
	return s.Keys[i], true
}

func (s SectionSpec) keyNames() []string {
	names := make([]string, len(s.Keys))
	for i, k := range s.Keys {
		names[i] = k.Name
	}
	return names
}

func sectionNames() []string {
	names := make([]string, len(schema))
	for i, s := range schema {
		names[i] = s.Name
	}
	return names
}

// home returns the section in which a key belongs, or "" for an unknown one.
func home(key string) string {
	for _, s := range schema {
		if _, ok := s.key(key); ok {
			return s.Title()
		}
	}
	return ""
}

// Title is how the section is written, without brackets.
func (s SectionSpec) Title() string {
	if s.Named {
		return s.Name + " " + cmp.Or(s.NameForm, "NAME")
	}
	return s.Name
}
