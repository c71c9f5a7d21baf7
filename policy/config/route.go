package config

import (
	"strconv"
	"strings"

	"gatemilter/policy"
)

// Keys about outgoing mail that are read in several places.
const (
	hostKey         = "host"
	primaryKey      = "primary"
	secondaryKey    = "secondary"
	caFileKey       = "ca_file"
	outGatewayKey   = "gateway"
	ruleRouteKey    = "route"
	allowKey        = "allow_user_gateways"
	slotsKey        = "user_gateway_slots"
	ownDomainsKey   = "domains"
	addressesKey    = "addresses"
	serverKey       = "server"
	passwordKey     = "password"
	slotKey         = "slot"
	passwordFileKey = "password_file"
)

// A route is a policy.Route and the section that it comes from.
type route struct {
	policy.Route
	fields
}

// hostTables are the keys of a route under which hosts stand.
var hostTables = []string{hostKey, primaryKey, secondaryKey}

// table returns the hosts that stand under a key, which are checked.
func (r *route) table(key string) []policy.Host {
	switch {
	case key == secondaryKey:
		return r.Secondary
	case r.given(key):
		return r.Primary
	}
	return nil
}

func (f fields) route() *route {
	r := &route{fields: f, Route: policy.Route{
		Name:     f.sec.name,
		MXLookup: f.yes("mx_lookup"),
		TLS: policy.TLSDemand{
			Required: f.demand("require_tls"),
			CA:       f.demand("require_ca"),
			CAFile:   f.caFile(),
			Hostname: f.demand("verify_hostname"),
		},
	}}
	f.checkNeeds()
	switch {
	case f.given(hostKey) && f.given(primaryKey):
		f.problem(hostKey, "there is primary too (line %d): write the host into that table, or remove one of them", f.line(primaryKey))
	case f.given(hostKey):
		r.Primary = f.oneHost(hostKey)
	case f.given(primaryKey):
		r.Primary = f.hosts(primaryKey)
	case !f.given(secondaryKey):
		f.problem(hostKey, "the route leads nowhere: write host = … into this section, for example mail.example.com, or primary = … for several hosts")
	}
	if f.given(secondaryKey) {
		r.Secondary = f.hosts(secondaryKey)
	}
	r.checkLength()
	r.checkHosts()
	r.checkMX()
	return r
}

// checkMX refuses demands that only a probe of the host can judge (see
// [policy.TLSDemand.Probed]): which of the MX hosts takes the mail is Postfix's choice.
func (r *route) checkMX() {
	switch d := r.TLS; {
	case !r.MXLookup || !d.Probed():
	case d.CAFile != "":
		r.problem("ca_file", "with mx_lookup = yes (line %d) only the system's authorities can be trusted: name the hosts themselves and set mx_lookup = no, or remove this line", r.line("mx_lookup"))
	default:
		r.problem("mx_lookup", "MX hosts can be judged by require_ca and verify_hostname together, or by neither: set both alike, or name the hosts themselves and set mx_lookup = no")
	}
}

// demand reads a boolean that is no where the key that it needs is.
func (f fields) demand(key string) bool {
	spec, _ := f.spec.key(key)
	_, ineffective := f.missing(spec)
	return f.yes(key) && !ineffective
}

// wholeLoad is what the loads of a table add up to.
const wholeLoad = 100

// oneHost reads the only host of a route.
func (f fields) oneHost(key string) []policy.Host {
	text := f.text(key)
	if strings.ContainsAny(text, ", \t") && hintFor(text, "") == "" {
		f.problem(key, "%s is more than one host: write HOST or HOST:PORT here; several hosts, or a load, go into primary = HOST:PORT LOAD, …", quote(text))
		return nil
	}
	h, err := parseHost(text)
	if err != nil {
		f.problem(key, "%s", err)
		return nil
	}
	h.Load = wholeLoad
	return []policy.Host{h}
}

// hosts reads a table of hosts with their loads.
func (f fields) hosts(key string) []policy.Host {
	var hosts []policy.Host
	good, sum := true, 0
	for _, item := range f.list(key) {
		h, err := parseTableHost(item)
		if err != nil {
			f.problem(key, "%s", err)
			good = false
			continue
		}
		if lists(hosts, h) {
			f.problem(key, "%s is listed twice: write it once, with both loads together", quote(showHost(h)))
		}
		hosts = append(hosts, h)
		sum += h.Load
	}
	if good && sum != wholeLoad {
		f.problem(key, "the loads add up to %d, not to %d: correct them, so that each is the host's share of the mail in percent", sum, wholeLoad)
	}
	return hosts
}

// lists says whether a table has the host, with whatever load.
func lists(hosts []policy.Host, h policy.Host) bool {
	for _, other := range hosts {
		if other.Name == h.Name && other.Port == h.Port {
			return true
		}
	}
	return false
}

// showHost writes a host as in the configuration.
func showHost(h policy.Host) string {
	name := h.Name
	if strings.Contains(name, ":") {
		name = "[" + name + "]"
	}
	return name + ":" + strconv.Itoa(int(h.Port))
}

// checkLength refuses more hosts than the mail server takes.
func (r *route) checkLength() {
	// Their order makes no difference.
	first := func(int) int { return 0 }
	if n := len(strings.Join(r.Nexthops(first), ",")); n > policy.MaxNexthops {
		r.problem(primaryKey, "the hosts of the route have %d octets together: the mail server takes at most %d, so list fewer of them", n, policy.MaxNexthops)
	}
}

// checkHosts looks at each host together with the rest of its route.
func (r *route) checkHosts() {
	for _, key := range hostTables {
		for _, h := range r.table(key) {
			switch {
			case isAddress(h.Name) && r.MXLookup:
				r.problem(key, "%s is an address, which has no MX hosts: write a domain, or mx_lookup = no (line %d)", quote(showHost(h)), r.line("mx_lookup"))
			case isAddress(h.Name) && r.TLS.Hostname:
				r.doubt(key, "%s is an address: mail goes only if the certificate bears the address itself, so write the host's name, or set verify_hostname = no", quote(showHost(h)))
			case !isAddress(h.Name) && !strings.Contains(h.Name, ".") && !isLoopback(h.Name):
				r.doubt(key, "%s has no point in its name: it is looked up as it is, without a domain, so write the full name", quote(showHost(h)))
			}
			if key == secondaryKey && lists(r.Primary, h) {
				r.doubt(key, "%s is a primary host too: when these don't take a message, it is only asked again", quote(showHost(h)))
			}
		}
	}
	if r.TLS.Hostname && !r.TLS.CA && r.given("verify_hostname") {
		r.doubt("verify_hostname", "this proves nothing with require_ca = no (line %d): everybody can make a certificate with that name, so set require_ca = yes", r.line("require_ca"))
	}
}
