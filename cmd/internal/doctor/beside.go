package doctor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"gatemilter/cmd/internal/postfix"
	"gatemilter/policy"
)

// Settings of Postfix that administrators have for other reasons, and by which ours have no
// effect.
const (
	proxyFilter      = "smtpd_proxy_filter"
	transportMaps    = "transport_maps"
	milterMaps       = "smtpd_milter_maps"
	headerChecks     = "smtp_header_checks"
	canonicalMaps    = "canonical_maps"
	canonicalClasses = "canonical_classes"
	masqueraded      = "masquerade_domains"
	masqueradeWhat   = "masquerade_classes"
	envelopeSender   = "envelope_sender"
)

// beside looks at what stands beside our settings.
func (x *examination) beside(ctx context.Context, wanted postfix.Wanted) []Check {
	checks := append(x.proxyFilters(), x.overrides(wanted)...)
	checks = append(checks, x.milterMaps(wanted)...)
	checks = append(checks, x.transports(ctx, wanted)...)
	return append(checks, x.rewriting(ctx)...)
}

// proxyFilters finds servers that pass each message on to a filter before they queue it: a
// milter there sees the envelope alone, and can change nothing (MILTER_README).
func (x *examination) proxyFilters() []Check {
	const found = "is %s: no milter sees the message there, so neither the header is looked at, nor does users' mail leave by their own servers"
	const fix = "let the filter see mail after the queue (content_filter) or be a milter, and run "
	main := x.mta.Main[proxyFilter]
	var checks []Check
	if main != "" {
		checks = append(checks, fail(onPostfix, proxyFilter, fmt.Sprintf(found, main), fix+x.Postfix.Unset(proxyFilter)))
	}
	for _, s := range x.mta.Servers {
		if own := s.Options[proxyFilter]; own != "" {
			checks = append(checks, fail(onPostfix, s.Name+" "+proxyFilter, fmt.Sprintf(found, own),
				fix+x.Postfix.UnsetOption(postfix.Override{Service: s.Name, Parameter: proxyFilter})))
		}
	}
	return checks
}

// overrides finds services with lists of their own that lack what we have in main.cf. That
// milters differ by server has reasons, and is looked at elsewhere.
func (x *examination) overrides(wanted postfix.Wanted) []Check {
	var checks []Check
	for _, e := range wanted.Elements {
		for _, o := range x.mta.Overrides {
			if e.Absent || e.Parameter == milters || o.Parameter != e.Parameter || slices.Contains(postfix.Tables(o.Value), expanded(e.Value)) {
				continue
			}
			checks = append(checks, fail(onPostfix, o.Service+" "+o.Parameter, fmt.Sprintf("is %q of its own, without what gatemilter has in main.cf: mail takes other ways than configured", o.Value),
				x.Postfix.UnsetOption(o)))
		}
	}
	return checks
}

// expanded is a value as postconf shows it with names expanded.
func expanded(value string) string { return strings.ReplaceAll(value, "$$", "$") }

// milterMaps finds tables of others that choose milters by client.
func (x *examination) milterMaps(wanted postfix.Wanted) []Check {
	others := x.others(wanted, milterMaps)
	if len(others) == 0 {
		return nil
	}
	return []Check{warn(onPostfix, milterMaps, fmt.Sprintf("has %s: no rule applies to mail of clients for which it names milters without gatemilter, or none", strings.Join(others, ", ")),
		"see that it names no client whose mail has to pass gatemilter, such as users who log in")}
}

// others are the tables in a list of main.cf that are not ours.
func (x *examination) others(wanted postfix.Wanted, parameter string) []string {
	return slices.DeleteFunc(postfix.Tables(x.mta.Main[parameter]), func(table string) bool {
		return slices.ContainsFunc(wanted.Elements, func(e postfix.Element) bool {
			return e.Parameter == parameter && (table == expanded(e.Value) || e.Former != nil && e.Former(table))
		})
	})
}

// transports finds tables that take all mail: transport_maps go before routes by sender.
func (x *examination) transports(ctx context.Context, wanted postfix.Wanted) []Check {
	if len(x.config.Settings.Outbound.Routes) == 0 {
		return nil
	}
	const all = "*"
	var checks []Check
	for _, table := range x.others(wanted, transportMaps) {
		found, err := x.Postfix.Query(ctx, table, all)
		if err != nil {
			checks = append(checks, cantAsk(transportMaps, table, err))
		} else if way := found[all]; way != "" {
			checks = append(checks, fail(onPostfix, transportMaps, fmt.Sprintf("%s sends all mail by %s, so that no route by sender and no outbound gateway has an effect", table, way),
				"remove the line with * from it: [outbound] gateway in "+x.Config+" says where all mail goes"))
		}
	}
	return checks
}

func cantAsk(parameter, table string, err error) Check {
	return warn(onPostfix, parameter, fmt.Sprintf("%s can't be asked: %v", table, err), "correct the table")
}

// rewriting finds what changes senders that are users' addresses with servers of their own:
// nobody has a login for what comes of it, so the mail would wait.
func (x *examination) rewriting(ctx context.Context) []Check {
	addresses := make(map[string]bool)
	x.config.Settings.Outbound.UserGateways(func(_, address string, _ *policy.UserGateway) { addresses[address] = true })
	if len(addresses) == 0 {
		return nil
	}
	all := slices.Sorted(maps.Keys(addresses))
	checks := append(x.masquerading(all), x.clientChecks(ctx, all)...)
	if !strings.Contains(x.mta.Main[canonicalClasses], envelopeSender) {
		return checks
	}
	for _, table := range postfix.Tables(x.mta.Main[canonicalMaps]) {
		found, err := x.Postfix.Query(ctx, table, withDomains(all)...)
		if err != nil {
			checks = append(checks, cantAsk(canonicalMaps, table, err))
			continue
		}
		for _, key := range slices.Sorted(maps.Keys(found)) {
			if found[key] != key {
				checks = append(checks, x.rewritten(canonicalMaps, fmt.Sprintf("%s makes %s of %s", table, found[key], key)))
			}
		}
	}
	return checks
}

// clientChecks finds what replaces From on the way out: it is meant for other mail, but our transports
// keep it, as it often removes what should not be seen outside.
func (x *examination) clientChecks(ctx context.Context, addresses []string) []Check {
	var lines []string
	for _, a := range addresses {
		lines = append(lines, "From: "+a)
	}
	var checks []Check
	for _, table := range postfix.Tables(x.mta.Main[headerChecks]) {
		found, err := x.Postfix.Query(ctx, table, lines...)
		if err != nil {
			checks = append(checks, cantAsk(headerChecks, table, err))
			continue
		}
		for _, line := range slices.Sorted(maps.Keys(found)) {
			if action := found[line]; strings.HasPrefix(strings.ToUpper(action), "REPLACE") || strings.EqualFold(action, "IGNORE") {
				checks = append(checks, fail(onPostfix, headerChecks, fmt.Sprintf("%s makes %s of %q, also at the user's own server", table, action, line),
					"replace addresses in smtp_generic_maps instead, which users' own servers are kept out of"))
			}
		}
	}
	return checks
}

func (x *examination) rewritten(parameter, found string) Check {
	return fail(onPostfix, parameter, found+", so a user's mail as that address waits, instead of leaving by his own server",
		"leave that address out of "+parameter+", or let it change other addresses in recipient_canonical_maps and sender_canonical_maps, which gatemilter keeps from users' addresses")
}

// withDomains are the keys with which Postfix asks for addresses in other domains.
func withDomains(addresses []string) []string {
	keys := slices.Clone(addresses)
	for _, a := range addresses {
		if at := "@" + policy.Domain(a); !slices.Contains(keys, at) {
			keys = append(keys, at)
		}
	}
	return keys
}

// masquerading finds addresses that lose part of their domain.
func (x *examination) masquerading(addresses []string) []Check {
	if !strings.Contains(x.mta.Main[masqueradeWhat], envelopeSender) {
		return nil
	}
	var checks []Check
	for _, a := range addresses {
		for _, parent := range postfix.Tables(x.mta.Main[masqueraded]) {
			// The first one that the domain is in counts, and "!" leaves it as it is.
			name, keep := strings.CutPrefix(strings.ToLower(parent), "!")
			domain := policy.Domain(a)
			if domain != name && !strings.HasSuffix(domain, "."+name) {
				continue
			}
			if !keep && domain != name {
				checks = append(checks, fail(onPostfix, masqueraded, fmt.Sprintf("%s hides the domain of %s, so a user's mail as that address waits, instead of leaving by his own server", parent, a),
					x.Postfix.Set(masqueraded, "!"+domain+", "+x.mta.Main[masqueraded])))
			}
			break
		}
	}
	return checks
}
