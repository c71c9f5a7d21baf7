package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"net/netip"
	"strings"

	"gatemilter/cmd/internal/daemon"
	"gatemilter/policy"
	"gatemilter/policy/config"
)

var explainCommand = command{
	name:    "explain",
	args:    "--client-ip IP [FLAGS] MESSAGE|-",
	summary: "run the whole policy on a message file and show each step",
	help: `
Shows what the daemon would do with a message and why: the hops and which one is
the source, the rules that spoke, the verdict, and the changes. It needs no mail
server, no running daemon and, but for addresses that users have attached themselves,
no root. MESSAGE is a file with the message as the
mail server received it, without the Received field of our own server; - reads
standard input.

Example
  gatemilter explain --client-ip 192.0.2.2 --tls 1.3 --rcpt-to user@example.com message.eml`,
	setUp: func(flags *flag.FlagSet) runner {
		var e explanation
		path := flags.String("config", defaultConfig, "configuration `FILE`")
		json := flags.Bool("json", false, "show the result as JSON, for scripts")
		flags.StringVar(&e.ip, "client-ip", "", "address of the connecting client, an `IP`")
		flags.StringVar(&e.message.Client.Name, "client-name", "", "verified reverse `NAME` of the client")
		flags.StringVar(&e.message.Client.HELO, "helo", "", "`NAME` that the client gave in HELO")
		flags.StringVar(&e.tls, "tls", "", "TLS `VERSION` of the connection, such as 1.3; without it, in clear")
		flags.StringVar(&e.message.Client.Certificate, "tls-certificate", "", "`NAME` in the client's verified certificate")
		flags.StringVar(&e.message.Login, "user", "", "`LOGIN` with which the client authenticated")
		flags.StringVar(&e.message.Sender, "mail-from", "", "envelope sender `ADDRESS`")
		flags.Func("rcpt-to", "envelope recipient `ADDRESS`; may be given several times", func(s string) error {
			address := bare(s)
			if strings.ContainsAny(address, " ,") || !strings.EqualFold(address, "postmaster") && policy.Domain(address) == "" {
				return errors.New("write one address, such as user@example.com, and --rcpt-to again for each further one")
			}
			e.message.Recipients = append(e.message.Recipients, address)
			return nil
		})
		return func(ctx context.Context, args []string, io stdio) error {
			if err := e.read(args, io); err != nil {
				return err
			}
			cfg, err := load(*path, io)
			if err != nil {
				return err
			}
			rules, err := daemon.NewRules(cfg)
			if err != nil {
				return err
			}
			e.mode = cfg.Policy.Mode()
			p, _, err := withDatabase(ctx, cfg, rules.Policy, e.message.Login, io)
			if err != nil {
				return err
			}
			e.verdict = p.Evaluate(ctx, &e.message, rules.Checker)
			e.ways = waysOf(cfg, &e.message, &e.verdict)
			if *json {
				return e.writeJSON(io.out)
			}
			return e.writeText(io.out)
		}
	},
}

// An explanation is a message and what the policy says of it.
type explanation struct {
	ip, tls string // as given
	message policy.Message
	mode    policy.Mode
	verdict policy.Verdict
	ways    []*way
}

// A way is where mail for a recipient goes, unless he has his mailbox on this server.
type way struct {
	recipient string // "" is all of them
	gateway   *policy.UserGateway
	route     *policy.Route // nil: the mail server delivers by itself
	why       policy.Reason
}

// waysOf are the ways of a message that is taken, as far as rules of the configuration
// choose them.
func waysOf(cfg *config.Config, m *policy.Message, v *policy.Verdict) (ways []*way) {
	switch {
	case v.Action.Refuses() || v.Action == policy.Discard || !cfg.Settings.Outbound.AsksLookup():
		return nil
	case v.UserGateway != nil:
		return []*way{{gateway: v.UserGateway, why: policy.Reason{Code: policy.ByUserGateway}}}
	}
	sender := cmp.Or(v.Sender, m.Sender)
	for _, r := range m.Recipients {
		route, why := cfg.Policy.RouteTo(r)
		if route == nil && v.Direction != policy.Inbound {
			route, why = cfg.Policy.RouteFor(sender)
		}
		if why.Code != "" {
			ways = append(ways, &way{recipient: r, route: route, why: why})
		}
	}
	return ways
}

// isBySender says whether the way is only for recipients elsewhere.
func (w *way) isBySender() bool {
	return w.gateway == nil && !strings.HasPrefix(string(w.why.Code), "recipient-")
}

// transport and nexthop are what Postfix is told of a way: of a route's hosts, in one of the
// orders that may be drawn.
func (w *way) transport() string {
	switch {
	case w.gateway != nil:
		return w.gateway.Transport()
	case w.route != nil:
		return policy.Transport
	}
	return ""
}

func (w *way) nexthop() string {
	switch {
	case w.gateway != nil:
		return w.gateway.Nexthop()
	case w.route != nil:
		return strings.Join(w.route.Nexthops(func(int) int { return 0 }), ",")
	}
	return ""
}

// name is that of the route.
func (w *way) name() string {
	switch {
	case w.gateway != nil:
		return "the user's own server"
	case w.route != nil:
		return w.route.Name
	}
	return ""
}

// read completes the message from the arguments.
func (e *explanation) read(args []string, io stdio) error {
	if len(args) != 1 {
		return usagef("it takes one message file, but got %s", count(len(args), "argument"))
	}
	if e.ip == "" {
		return usagef("--client-ip is missing: whether the client is a gateway decides all the rest")
	}
	ip, err := netip.ParseAddr(e.ip)
	if err != nil {
		return usagef("--client-ip: %q is no IP address", e.ip)
	}
	e.message.Client.IP = ip.Unmap().WithZone("")
	if e.tls != "" && e.tls != "none" {
		if e.message.Client.TLS, err = policy.ParseTLSVersion(e.tls); err != nil {
			return usagef("--tls: %v, or none", err)
		}
	}
	e.message.Sender = bare(e.message.Sender)
	e.message.Header, e.message.Body, err = readMessage(args[0], io.in)
	return err
}

// bare removes angle brackets around an address.
func bare(address string) string {
	if strings.HasPrefix(address, "<") && strings.HasSuffix(address, ">") {
		return address[1 : len(address)-1]
	}
	return address
}
