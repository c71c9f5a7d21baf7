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
)

var routeCommand = command{
	name:    "route",
	args:    "[--config FILE] [--json] SENDER",
	summary: "show which way outgoing mail of a sender takes, and why",
	help: `
Shows the route that the configuration chooses for outgoing mail with the envelope
sender SENDER, an address, or '' for the null sender of a bounce: its hosts with their
shares of the mail, what is demanded of TLS, and, as an example, what Postfix is told:
each message tries the hosts in an order of its own, drawn by their shares. It needs no
mail server, no running daemon and no root.

The rules, in the order in which they are tried
` + routeRules() + `
Example
  gatemilter route alice@sales.example.com`,
	setUp: func(flags *flag.FlagSet) runner {
		path := flags.String("config", defaultConfig, "configuration `FILE`")
		json := flags.Bool("json", false, "show the result as JSON, for scripts")
		return func(_ context.Context, args []string, io stdio) error {
			sender, err := senderArgument(args)
			if err != nil {
				return err
			}
			cfg, err := load(*path, io)
			if err != nil {
				return err
			}
			way := outgoing{sender: sender, mode: cfg.Policy.Mode()}
			way.route, way.why = cfg.Policy.RouteFor(sender)
			if *json {
				return way.writeJSON(io.out)
			}
			return way.writeText(io.out)
		}
	},
}

func routeRules() string {
	var b strings.Builder
	for _, m := range policy.RouteMeanings {
		fmt.Fprintf(&b, "  %-18s %s\n", m.Code, m.Text)
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
	sender string
	mode   policy.Mode
	// route is nil for direct delivery.
	route *policy.Route
	why   policy.Reason
}

// nexthop is what Postfix is told, in the order of the configuration, which is one of
// those that may be drawn.
func (o *outgoing) nexthop() string {
	return strings.Join(o.route.Nexthops(func(int) int { return 0 }), ",")
}

func (o *outgoing) writeText(w io.Writer) error {
	t := &text{tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)}
	t.row("Sender", "<"+o.sender+">")
	if o.route == nil {
		t.row("Route", "none: the mail server delivers directly")
	} else {
		t.row("Route", o.route.Name)
	}
	t.row("Rule", string(o.why.Code)+": "+o.why.Text)
	if o.route != nil {
		o.writeRoute(t)
	}
	t.title("What Postfix is told, for example")
	switch {
	case o.mode == policy.Observe:
		t.row("  NOTFOUND: it delivers as without gatemilter (mode = observe)")
	case o.route == nil:
		t.row("  NOTFOUND")
	default:
		t.row("  OK " + policy.Transport + ":" + o.nexthop())
	}
	return t.Flush()
}

func (o *outgoing) writeRoute(t *text) {
	t.title("Hosts, each with its share of the mail")
	t.row("  table", "host", "port", "share", "nexthop")
	for _, table := range o.tables() {
		for _, h := range table.hosts {
			t.row("  "+table.name, h.Name, strconv.Itoa(int(h.Port)), strconv.Itoa(h.Load)+" %", o.route.Nexthop(h))
		}
	}
	if o.route.MXLookup {
		t.row("  (mx_lookup: these are domains, and mail goes to their MX hosts)")
	}
	tls := o.route.TLS
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
	return []hostTable{{"primary", o.route.Primary}, {"secondary", o.route.Secondary}}
}

// The JSON form. Scripts rely on it: add to it, don't change it.
type outgoingJSON struct {
	Sender string     `json:"sender"`
	Mode   string     `json:"mode"`
	Rule   string     `json:"rule"`
	Why    string     `json:"why"`
	Route  *routeJSON `json:"route,omitempty"`
}

type routeJSON struct {
	Name      string     `json:"name"`
	Transport string     `json:"transport"`
	Nexthop   string     `json:"nexthop"`
	MXLookup  bool       `json:"mx_lookup"`
	Hosts     []hostJSON `json:"hosts"`
	TLS       tlsJSON    `json:"tls"`
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
	doc := outgoingJSON{Sender: o.sender, Mode: o.mode.String(), Rule: string(o.why.Code), Why: o.why.Text}
	if r := o.route; r != nil {
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
