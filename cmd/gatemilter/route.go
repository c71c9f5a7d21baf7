package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"gatemilter/policy"
	"gatemilter/policy/config"
)

var routeCommand = command{
	name:    "route",
	args:    "[--user LOGIN] [--rcpt ADDRESS] [--config FILE] [--json] SENDER",
	summary: "show which way outgoing mail of a sender takes, and why",
	help: `
Shows the way that the configuration chooses for outgoing mail whose author and envelope
sender is SENDER, an address, or '' for the null sender of a bounce: the user's own
server, or the route with its hosts, their shares of the mail and what is demanded of
TLS; and, as an example, what Postfix is told: each message tries the hosts of a route
in an order of its own, drawn by their shares. With --user it is mail of that user, who
is logged in, with --rcpt to that recipient. It needs no mail server, no running daemon
and, but for addresses that users have attached themselves, no root.

Exit status: 0, or 1 where the user may not write as SENDER, or it is not known, as
neither the database of users' addresses can be read nor its snapshot.

The rules, in the order in which they are tried
` + routeRules() + `
Examples
  gatemilter route alice@sales.example.com
  gatemilter route --user alice@example.com --rcpt bob@remote.example alice@partner.example`,
	setUp: func(flags *flag.FlagSet) runner {
		path := flags.String("config", defaultConfig, "configuration `FILE`")
		json := flags.Bool("json", false, "show the result as JSON, for scripts")
		user := flags.String("user", "", "`LOGIN` with which the author has authenticated")
		rcpt := flags.String("rcpt", "", "recipient `ADDRESS`")
		return func(ctx context.Context, args []string, io stdio) error {
			sender, err := senderArgument(args)
			if err != nil {
				return err
			}
			recipient := bare(*rcpt)
			if recipient != "" && policy.Domain(recipient) == "" {
				return usagef("--rcpt: %q is no address: write user@example.com", *rcpt)
			}
			cfg, err := load(*path, io)
			if err != nil {
				return err
			}
			p, his, err := withDatabase(ctx, cfg, cfg.Policy, *user, io)
			if err != nil {
				return err
			}
			if *user != "" && p.Directory().User(*user) == nil {
				fmt.Fprintf(io.err, "gatemilter: %s: such a login is left alone, but can't have another user's address\n", unknownUser(cfg, *path, *user))
			}
			o := outgoing{p.WayOf(*user, sender, recipient), sender, *user, recipient, cfg.Policy.Mode(), cfg.Server.IsSendmail()}
			o.tellAttached(cfg, his, io)
			if *json {
				err = o.writeJSON(io.out)
			} else {
				err = o.writeText(io.out)
			}
			if err == nil && o.refused() {
				err = errFinding
			}
			return err
		}
	},
}

// unknownUser says where a user could be, and is not.
func unknownUser(cfg *config.Config, path, user string) string {
	if cfg.Identities.Database == "" {
		return fmt.Sprintf("%s has no section [user %s]", path, user)
	}
	return fmt.Sprintf("%s has no section [user %s], and its database no address of his", path, user)
}

// tellAttached says why an address that the user has attached himself does not count.
func (o *outgoing) tellAttached(cfg *config.Config, his attachedOnes, io stdio) {
	r, why := his.find(o.sender)
	if u := cfg.Settings.Outbound.Users[r.Login]; why != "" && (u == nil || !u.Has(r.Address)) {
		fmt.Fprintf(io.err, "gatemilter: %s %s\n", r.Address, visible(why))
	}
}

func routeRules() string {
	var b strings.Builder
	for _, m := range policy.RouteMeanings {
		fmt.Fprintf(&b, "  %-19s %s\n", m.Code, m.Text)
	}
	return b.String()
}

// senderArgument reads the only argument: an address, or the null sender.
func senderArgument(args []string) (string, error) {
	if len(args) != 1 {
		return "", usagef("it takes one sender, but got %s; write '' for the null sender of a bounce", count(len(args), "argument"))
	}
	sender := bare(args[0])
	local, domain, _ := strings.Cut(sender, "@")
	switch {
	case sender == "":
	case domain == "" || local == "":
		return "", usagef("%q is no address: write user@example.com, or '' for the null sender of a bounce", args[0])
	case local[0] != '"' && strings.ContainsAny(sender, " ,<>"):
		return "", usagef("%q is not one address: write user@example.com", args[0])
	}
	return sender, nil
}

// outgoing is the way of a sender's mail.
type outgoing struct {
	policy.Way
	sender, user, recipient string
	mode                    policy.Mode
	sendmail                bool // is told in words of its own
}

func (o *outgoing) refused() bool { return o.Verdict.Action.Refuses() }

// nexthop is what Postfix is told, in the order of the configuration, which is one of
// those that may be drawn.
func (o *outgoing) nexthop() string {
	return strings.Join(o.Route.Nexthops(func(int) int { return 0 }), ",")
}

func (o *outgoing) writeText(w io.Writer) error {
	t := &text{tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)}
	if o.mode == policy.Observe {
		t.row("Mode", "observe: none of this happens yet")
	}
	t.row("Sender", "<"+o.sender+">")
	if o.user != "" {
		t.row("User", o.user)
	}
	if o.recipient != "" {
		t.row("Recipient", "<"+o.recipient+">")
	}
	switch {
	case o.refused():
		t.row("Way", "none: refused with "+o.Verdict.Reply.String())
	case o.Gateway != nil:
		t.row("Way", "the user's own server")
	case o.Route == nil:
		t.row("Route", "none: the mail server delivers directly")
	default:
		t.row("Route", o.Route.Name)
	}
	t.row("Rule", string(o.Why.Code)+": "+o.Why.Text)
	if o.Sender != o.sender && !o.refused() {
		t.row("Leaves as", "<"+o.Sender+">, its envelope sender")
	}
	switch {
	case o.Gateway != nil:
		o.writeGateway(t)
	case o.Route != nil:
		o.writeRoute(t)
	}
	if !o.sendmail && !o.refused() {
		t.title("What Postfix is told, for example")
		t.row("  " + o.told())
	}
	return t.Flush()
}

// told is what Postfix is told of the way.
func (o *outgoing) told() string {
	switch {
	case o.mode == policy.Observe:
		return "NOTFOUND: it delivers as without gatemilter (mode = observe)"
	case o.Gateway != nil:
		return "FILTER " + o.Gateway.Transport() + ":" + o.Gateway.Nexthop()
	case o.Route == nil:
		return "NOTFOUND"
	}
	return "OK " + policy.Transport + ":" + o.nexthop()
}

func (o *outgoing) writeGateway(t *text) {
	g := o.Gateway
	t.title("The server")
	t.row("  host", g.Host)
	t.row("  port", strconv.Itoa(int(g.Port)))
	t.row("  tls", g.TLS.String())
	t.row("  username", g.Username)
	t.row("  password", g.Password.String())
}

func (o *outgoing) writeRoute(t *text) {
	t.title("Hosts, each with its share of the mail")
	t.row("  table", "host", "port", "share", "nexthop")
	for _, table := range o.tables() {
		for _, h := range table.hosts {
			t.row("  "+table.name, h.Name, strconv.Itoa(int(h.Port)), strconv.Itoa(h.Load)+" %", o.Route.Nexthop(h))
		}
	}
	if o.Route.MXLookup {
		t.row("  (mx_lookup: these are domains, and mail goes to their MX hosts)")
	}
	tls := o.Route.TLS
	t.title("What is demanded of TLS")
	t.row("  require_tls", yesOrNo(tls.Required, "never in clear"))
	authorities := "the system's authorities"
	if tls.CAFile != "" {
		authorities = "the authorities in " + tls.CAFile
	}
	t.row("  require_ca", yesOrNo(tls.CA, "the certificate is signed by one of "+authorities))
	t.row("  verify_hostname", yesOrNo(tls.Hostname, "the certificate bears the host's name"))
}

func yesOrNo(yes bool, meaning string) string {
	if yes {
		return "yes: " + meaning
	}
	return "no"
}

// A hostTable is one of the two tables of a route.
type hostTable struct {
	name  string
	hosts []policy.Host
}

func (o *outgoing) tables() []hostTable {
	return []hostTable{{"primary", o.Route.Primary}, {"secondary", o.Route.Secondary}}
}

// The JSON form. Scripts rely on it: add to it, don't change it.
type outgoingJSON struct {
	Sender    string `json:"sender"`
	User      string `json:"user,omitempty"`
	Recipient string `json:"recipient,omitempty"`
	Mode      string `json:"mode"`
	Rule      string `json:"rule"`
	Why       string `json:"why"`
	// LeavesAs is the envelope sender, where it is changed, and Reply the refusal.
	LeavesAs string           `json:"leaves_as,omitempty"`
	Reply    string           `json:"reply,omitempty"`
	Route    *routeJSON       `json:"route,omitempty"`
	Gateway  *userGatewayJSON `json:"user_gateway,omitempty"`
}

type routeJSON struct {
	Name      string     `json:"name"`
	Transport string     `json:"transport"`
	Nexthop   string     `json:"nexthop"`
	MXLookup  bool       `json:"mx_lookup"`
	Hosts     []hostJSON `json:"hosts"`
	TLS       tlsJSON    `json:"tls"`
}

type userGatewayJSON struct {
	Transport string `json:"transport"`
	Nexthop   string `json:"nexthop"`
	Host      string `json:"host"`
	Port      uint16 `json:"port"`
	TLS       string `json:"tls"`
	Username  string `json:"username"`
}

type hostJSON struct {
	Table   string `json:"table"`
	Host    string `json:"host"`
	Port    uint16 `json:"port"`
	Load    int    `json:"load"`
	Nexthop string `json:"nexthop"`
}

type tlsJSON struct {
	Required bool   `json:"require_tls"`
	CA       bool   `json:"require_ca"`
	CAFile   string `json:"ca_file,omitempty"`
	Hostname bool   `json:"verify_hostname"`
}

func (o *outgoing) writeJSON(w io.Writer) error {
	doc := outgoingJSON{Sender: o.sender, User: o.user, Recipient: o.recipient, Mode: o.mode.String(),
		Rule: string(o.Why.Code), Why: o.Why.Text, Reply: o.Verdict.Reply.String()}
	if o.Sender != o.sender {
		doc.LeavesAs = o.Sender
	}
	if g := o.Gateway; g != nil {
		doc.Gateway = &userGatewayJSON{g.Transport(), g.Nexthop(), g.Host, g.Port, g.TLS.String(), g.Username}
	}
	if r := o.Route; r != nil {
		doc.Route = &routeJSON{Name: r.Name, Transport: policy.Transport, Nexthop: o.nexthop(), MXLookup: r.MXLookup,
			TLS: tlsJSON{Required: r.TLS.Required, CA: r.TLS.CA, CAFile: r.TLS.CAFile, Hostname: r.TLS.Hostname}}
		for _, table := range o.tables() {
			for _, h := range table.hosts {
				doc.Route.Hosts = append(doc.Route.Hosts, hostJSON{table.name, h.Name, h.Port, h.Load, r.Nexthop(h)})
			}
		}
	}
	return writeJSONDoc(doc, w)
}
