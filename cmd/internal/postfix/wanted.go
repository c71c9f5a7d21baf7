package postfix

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gatemilter/cmd/internal/daemon"
	"gatemilter/policy"
	"gatemilter/policy/config"
)

// Wanted is what a Postfix needs.
type Wanted struct {
	Elements []Element
	Services []Service
}

// An Element is one that a parameter of main.cf, a list, has to hold, and which is
// added in front; or, if it is Absent, one of ours that must not be there any more.
type Element struct {
	Parameter, Value string
	Absent           bool
	// Former knows elements of ours, as they are written, that another configuration or
	// version needed; it may be nil.
	Former func(element string) bool
}

// A Service is a line of master.cf: name and type as "NAME/TYPE", and the whole line.
type Service struct{ Name, Line string }

// systemRoots are Debian's trusted authorities. Like Go's crypto/x509, with which gatemilter
// judges hosts itself, we let the environment name others.
func systemRoots() string {
	return cmp.Or(os.Getenv("SSL_CERT_FILE"), "/etc/ssl/certs/ca-certificates.crt")
}

// headerChecks make the field that the milter adds, and deletes again, the way of the
// message. Postfix looks only at fields that milters add, so no client can write one.
const headerChecks = "regexp:{ {/^" + policy.RouteField + ":[[:space:]]*(" + policy.Transport + `-users?(-[0-9]+)?:\[[-0-9a-z.:]+\]:[0-9]+)$$/ FILTER $$1} }`

// maxArgument is how long an argument of a command may be, in octets (execve(2)); postconf
// takes a value as one.
const maxArgument = 128 << 10

// Wanted returns what this Postfix needs for a configuration.
func (p Postfix) Wanted(ctx context.Context, c *config.Config) (Wanted, error) {
	queue, err := p.parameter(ctx, "queue_directory")
	if err != nil {
		return Wanted{}, err
	}
	milter, err := address("milter", c.Server.Milter, queue)
	if err != nil {
		return Wanted{}, err
	}
	o := &c.Settings.Outbound
	tables, err := address("lookup", c.Server.Lookup, queue)
	if err != nil && c.Settings.AsksLookup() {
		return Wanted{}, err
	}
	if c.Settings.ChoosesMilters() && !contains(c.Server.GatewayMilters, milter) {
		return Wanted{}, fmt.Errorf("[server] gateway_milters is %q, but Postfix reaches gatemilter as %q; write gateway_milters = %s", c.Server.GatewayMilters, milter, milter)
	}
	users := o.HasUserGateways()
	if users && c.Server.IsSendmail() {
		return Wanted{}, errors.New("[server] mta_user is root, as which Sendmail delivers, but Postfix does not: write mta_user = postfix")
	}
	own, err := p.ownSenders(ctx, users, tables)
	if err != nil {
		return Wanted{}, err
	}
	w := Wanted{Elements: []Element{
		own,
		{Parameter: "milter_header_checks", Value: headerChecks, Absent: !users},
		{Parameter: "smtpd_milters", Value: config.FailSafe(milter), Former: func(e string) bool { return e == milter }},
		{Parameter: "smtpd_milter_maps", Value: "socketmap:" + tables + ":" + daemon.TableMilters, Absent: !c.Settings.ChoosesMilters()},
		{Parameter: "sender_dependent_default_transport_maps", Value: "socketmap:" + tables + ":" + daemon.TableRoute, Absent: len(o.Routes) == 0},
		{Parameter: "transport_maps", Value: recipientMap(o, tables), Absent: len(o.Recipients) == 0, Former: isRecipientMap},
	}}
	if n := len(recipientMap(o, tables)); n > maxArgument-1000 {
		return Wanted{}, fmt.Errorf("the table of all [recipient] sections has %d octets, more than postconf takes; write rules for domains instead of single addresses", n)
	}
	s, err := p.smtpClient(ctx)
	if err != nil {
		return Wanted{}, err
	}
	w.Services = s.services(o, tables)
	return w, nil
}

// ownSenders keeps users' addresses from what main.cf has to change senders, such as PostSRSd for
// forwarded mail, where it has that: at his own server, a user has only his own address.
func (p Postfix) ownSenders(ctx context.Context, users bool, tables string) (Element, error) {
	e := Element{Parameter: "sender_canonical_maps", Value: "socketmap:" + tables + ":" + daemon.TableOwn}
	list, err := p.parameter(ctx, e.Parameter)
	e.Absent = !users || e.in(list, true) == ""
	return e, err
}

// The form of a recipientMap. A table by socket alone would be asked for every recipient,
// also local ones, and hold all mail back while it can't answer. So one that Postfix has by
// itself comes first, which leads from those for whom there is a rule to its key.
const recipientMapStart, recipientMapEnd = "pipemap:{inline:{", ":" + daemon.TableRecipient + "}"

func isRecipientMap(element string) bool {
	return strings.HasPrefix(element, recipientMapStart) && strings.HasSuffix(element, recipientMapEnd)
}

func recipientMap(o *policy.Outbound, tables string) string {
	var b strings.Builder
	b.WriteString(recipientMapStart)
	for _, rule := range slices.Sorted(maps.Keys(o.Recipients)) {
		local, domain, _ := strings.Cut(rule, "@")
		names := []string{domain}
		if unicode := policy.UnicodeDomain(domain); unicode != domain {
			names = append(names, unicode)
		}
		for _, name := range names {
			if local != "" {
				name = local + "@" + name
			}
			b.WriteString(" {" + name + " = " + rule + "}")
		}
	}
	b.WriteString(" },socketmap:" + tables + recipientMapEnd)
	return b.String()
}

// wrongHostWaits lets mail wait for a host that DNS doesn't know, of which it says that it takes no
// mail, or that is this server, as for one that is down: the administrator has named it, so it
// is a slip of the pen, and the sender can't help it.
const wrongHostWaits = "{smtp_delivery_status_filter=regexp:{ {/^5(\\.4\\.4 (unable to look up host|Host or domain name not found|Name service error).*" +
	"|\\.4\\.6 mail for .* loops back to myself|\\.1\\.0 Domain .* does not accept mail .*)/ 4$$1} }}"

// An smtpClient is what services of ours take over from the Postfix around them.
type smtpClient struct {
	// chroot is as for the smtp client of other mail, so that a service finds what a
	// chroot has to have, such as resolv.conf.
	chroot string
}

func (p Postfix) smtpClient(ctx context.Context) (smtpClient, error) {
	chroot, err := run(ctx, append(p.postconf(), "-F", "-h", "smtp/unix/chroot"))
	return smtpClient{cmp.Or(strings.TrimSpace(chroot), "-")}, err
}

// services are all that the outgoing mail needs.
func (s smtpClient) services(o *policy.Outbound, tables string) []Service {
	var all []Service
	if len(o.Routes) > 0 {
		all = append(all, s.routes(tables))
	}
	if o.HasUserGateways() {
		for slot := range o.Slots {
			all = append(all, s.users(tables, slot, false), s.users(tables, slot, true))
		}
	}
	return all
}

// routes is the service that delivers along routes. A host that main.cf has a login for is
// shown that one, but never a login that is a sender's: he has it elsewhere.
func (s smtpClient) routes(tables string) Service {
	return s.service(policy.Transport, "socketmap:"+tables+":"+daemon.TableTLS, false,
		"smtp_tls_fingerprint_digest=sha256",
		"smtp_sender_dependent_authentication=no")
}

// users is the service that delivers to users' own servers. Connections are not kept for
// other messages, and each message asks for its login itself. What main.cf says about
// other logins must not keep ours from being tried, nor make mail bounce that should wait.
func (s smtpClient) users(tables string, slot int, implicit bool) Service {
	transport := policy.UserTransport(implicit, slot)
	return s.service(transport, "socketmap:"+tables+":"+daemon.UserTLSTable(transport), implicit,
		"smtp_sasl_auth_enable=yes",
		"smtp_sender_dependent_authentication=yes",
		"smtp_sasl_password_maps=socketmap:"+tables+":"+daemon.UserLoginTable(transport),
		"smtp_sasl_type=cyrus",
		"smtp_sasl_path=",
		"smtp_sasl_mechanism_filter=",
		"smtp_sasl_auth_soft_bounce=yes",
		"smtp_sasl_auth_cache_name=",
		"smtp_discard_ehlo_keywords=",
		"smtp_discard_ehlo_keyword_address_maps=",
		"smtp_sasl_security_options=noanonymous",
		"smtp_sasl_tls_security_options=noanonymous",
		"smtp_sasl_tls_verified_security_options=noanonymous",
		"smtp_connection_cache_on_demand=no",
		"smtp_connection_cache_destinations=",
		"smtp_generic_maps=")
}

// service is a line of master.cf. What main.cf has for other mail's relay must not
// count here: whether TLS is from the start, whom it trusts, and a fallback relay, which
// nobody has chosen for this mail. A certificate has to bear the name that we have given,
// not one to which the DNS leads. Whether a host offers TLS and a login is seen only in its
// own answer to EHLO. A greeting that refuses is a host that is out of order. And TLS that is
// kept for other messages is done by tlsproxy(8), which can't open our authorities' file.
func (s smtpClient) service(transport, tlsTable string, implicit bool, options ...string) Service {
	wrapper := "no"
	if implicit {
		wrapper = "yes"
	}
	options = append([]string{
		"syslog_name=postfix/" + transport,
		"smtp_fallback_relay=",
		"smtp_tls_wrappermode=" + wrapper,
		"smtp_tls_security_level=encrypt",
		"smtp_tls_policy_maps=" + tlsTable,
		"smtp_tls_CAfile=" + systemRoots(),
		"smtp_tls_CApath=",
		"smtp_tls_trust_anchor_file=",
		"smtp_tls_connection_reuse=no",
		"smtp_cname_overrides_servername=no",
		"smtp_always_send_ehlo=yes",
		"smtp_never_send_ehlo=no",
		"smtp_reply_filter=",
		"smtp_skip_5xx_greeting=yes",
		wrongHostWaits,
	}, options...)
	line := transport + " unix - - " + s.chroot + " - - smtp"
	for _, o := range options {
		line += " -o " + o
	}
	return Service{transport + "/unix", line}
}

// address is the first listener that Postfix can reach, as Postfix writes it: a socket in
// the queue directory, which is named relatively, so that it is found chrooted or not; or
// else one by TCP, where nobody can tell who asks.
func address(key string, listeners []config.Listener, queue string) (string, error) {
	for _, l := range listeners {
		if l.Network != "unix" {
			continue
		}
		if path, err := filepath.Rel(queue, l.Address); err == nil && filepath.IsLocal(path) {
			return "unix:" + path, nil
		}
	}
	if i := slices.IndexFunc(listeners, func(l config.Listener) bool { return l.Network == "tcp" }); i >= 0 {
		return listeners[i].String(), nil
	}
	return "", fmt.Errorf("no socket of [server] %s is in Postfix's queue directory %s, which is all that a chrooted Postfix can reach; write %s = unix:%s/gatemilter/%s.sock", key, queue, key, queue, key)
}
