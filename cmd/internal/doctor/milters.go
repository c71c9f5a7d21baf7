package doctor

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"

	"gatemilter/cmd/internal/postfix"
	"gatemilter/policy/config"
)

// The settings of Postfix that decide whether a message passes gatemilter (MILTER_README).
const (
	milters       = "smtpd_milters"
	defaultAction = "milter_default_action"
	itsAction     = "default_action" // of one milter, in braces
	protocolLevel = "milter_protocol"
	overrides     = "receive_override_options"
	noMilters     = "no_milters"
	saslLogins    = "smtpd_sasl_auth_enable"
)

// milters looks at the place of ours, by its address, in the lists of milters.
func (x *examination) milters(ours string) []Check {
	var checks []Check
	list := postfix.Milters(x.mta.Main[milters])
	for i, m := range list {
		if m.Address != ours {
			continue
		}
		c := ok(onPostfix, milters, ours+" comes first")
		if i > 0 {
			c = warn(onPostfix, milters, "gatemilter comes behind "+list[0].Address+", which sees forged fields before they are removed",
				x.Postfix.Set(milters, postfix.InFront(x.mta.Milters, ours)))
		}
		checks = append(append(checks, c), x.inBraces(m)...)
		break
	}
	if strings.Contains(x.mta.Main[overrides], noMilters) {
		checks = append(checks, fail(onPostfix, overrides, "has "+noMilters+", so no milter is used at all", x.Postfix.Unset(overrides)))
	}
	checks = append(checks, x.protocol()...)
	for _, s := range x.mta.Servers {
		checks = append(checks, x.server(s, ours)...)
	}
	return checks
}

// inBraces looks at what the element has of its own.
func (x *examination) inBraces(m postfix.Milter) []Check {
	var checks []Check
	without := func(option string) string {
		return x.Postfix.Set(milters, postfix.WithoutOption(x.mta.Milters, m.Address, option))
	}
	if action, own := m.Options[itsAction]; own {
		fix := x.Postfix.Set(milters, postfix.WithOption(x.mta.Milters, m.Address, itsAction, tempfail))
		if checks = append(checks, judgeAction(m.Address+" "+itsAction, action, fix)...); len(checks) == 0 {
			checks = append(checks, ok(onPostfix, itsAction, "is "+action+": while gatemilter is down, senders come again later"))
		}
	}
	if level, ok := m.Options["protocol"]; ok {
		checks = append(checks, judgeProtocol(m.Address+" protocol", level, without("protocol"))...)
	}
	return checks
}

// server looks at an SMTP server that has milters of its own, as one for submission often
// has.
func (x *examination) server(s postfix.Server, ours string) []Check {
	var checks []Check
	if list, own := s.Options[milters]; own && !contains(list, ours) {
		checks = append(checks, x.bypassed(s, fmt.Sprintf("has %s = %s of its own, without gatemilter", milters, list),
			x.Postfix.SetOption(s, milters, strings.TrimSuffix(config.FailSafe(ours)+", "+list, ", "))))
	}
	if list := s.Options[overrides]; strings.Contains(list, noMilters) {
		checks = append(checks, x.bypassed(s, fmt.Sprintf("has %s = %s", overrides, list),
			x.Postfix.SetOption(s, overrides, without(list, noMilters))))
	}
	list, own := s.Options[milters]
	if !own {
		list = x.mta.Main[milters]
	}
	if contains(list, ours) && !pinned(list, ours) {
		action := cmp.Or(s.Options[defaultAction], x.mta.Main[defaultAction])
		checks = append(checks, judgeAction(s.Name+" "+defaultAction, action, x.Postfix.SetOption(s, defaultAction, tempfail))...)
	}
	return checks
}

// bypassed judges a server whose mail gatemilter does not see: a filter of this host may hand mail back there,
// but no rule about users holds where they log in.
func (x *examination) bypassed(s postfix.Server, found, fix string) Check {
	o := &x.config.Settings.Outbound
	if !x.logsIn(s) || len(o.Users) == 0 && !o.SelfService {
		return warn(onPostfix, s.Name, found+": no rule applies to mail that comes there (which is right where a filter of this host hands mail back)", fix)
	}
	found += ": users log in here, and gatemilter does not see their mail: "
	if o.HasUserGateways() {
		found += "it leaves by the routes, never by their own servers, and "
	}
	return fail(onPostfix, s.Name, found+"unknown_sender does not apply", fix)
}

// logsIn says whether users log in to a server. One for this host alone that takes logins only because all do is
// one for filters.
func (x *examination) logsIn(s postfix.Server) bool {
	own, given := s.Options[saslLogins]
	if !given {
		own = x.mta.Main[saslLogins]
	}
	return strings.EqualFold(own, "yes") && (given || !isLocal(s.Name))
}

// isLocal says whether only this host can connect to a service.
func isLocal(service string) bool {
	host, _, err := net.SplitHostPort(strings.TrimSuffix(service, "/inet"))
	ip, noIP := netip.ParseAddr(host)
	return err == nil && (host == "localhost" || noIP == nil && ip.IsLoopback())
}

// pinned says whether that milter has an action of its own, so that no other setting counts.
func pinned(list, address string) bool {
	for _, m := range postfix.Milters(list) {
		if m.Address == address {
			return m.Options[itsAction] != ""
		}
	}
	return false
}

func contains(list, address string) bool {
	for _, m := range postfix.Milters(list) {
		if m.Address == address {
			return true
		}
	}
	return false
}

// without is a list of words without one.
func without(list, word string) string {
	var rest []string
	for _, w := range strings.FieldsFunc(list, func(r rune) bool { return strings.ContainsRune(", \t\n", r) }) {
		if w != word {
			rest = append(rest, w)
		}
	}
	return strings.Join(rest, ",")
}

// tempfail is what Postfix has to do while gatemilter is down.
const tempfail = "tempfail"

// defaultAction looks at what becomes of mail while gatemilter is down.
func (x *examination) defaultAction(ours string) []Check {
	action := x.mta.Main[defaultAction]
	if pinned(x.mta.Main[milters], ours) {
		return nil // it is looked at with the milter
	}
	if action == tempfail {
		return []Check{ok(onPostfix, defaultAction, "is tempfail: while gatemilter is down, senders come again later")}
	}
	return judgeAction(defaultAction, action, x.Postfix.Set(defaultAction, tempfail))
}

// judgeAction says what an action does with mail while gatemilter is down.
func judgeAction(what, action, fix string) []Check {
	switch action {
	case tempfail, "shutdown":
		return nil
	case "accept":
		return []Check{fail(onPostfix, what, "is accept: while gatemilter is down, all mail is let in", fix)}
	case "reject":
		return []Check{fail(onPostfix, what, "is reject: while gatemilter is down, all mail is refused for good", fix)}
	}
	return []Check{fail(onPostfix, what, fmt.Sprintf("is %q: while gatemilter is down, mail is not deferred", action), fix)}
}

// The versions of the milter protocol: what is needed at all, and from which on the milter
// can name the macros that it needs.
const oldestProtocol, latestProtocol = 2, 6

func (x *examination) protocol() []Check {
	level := x.mta.Main[protocolLevel]
	checks := judgeProtocol(protocolLevel, level, x.Postfix.Set(protocolLevel, strconv.Itoa(latestProtocol)))
	if checks == nil {
		checks = []Check{ok(onPostfix, protocolLevel, "is "+level)}
	}
	return checks
}

// judgeProtocol reads the first word: keywords may follow.
func judgeProtocol(what, level, fix string) []Check {
	number, _, _ := strings.Cut(level, " ")
	switch n, err := strconv.Atoi(strings.TrimSuffix(number, ",")); {
	case err != nil || n < oldestProtocol:
		return []Check{fail(onPostfix, what, fmt.Sprintf("is %q, which can't change messages", level), fix)}
	case n < latestProtocol:
		return []Check{warn(onPostfix, what, fmt.Sprintf("is %s: gatemilter can't ask for the macros that it needs", level), fix)}
	}
	return nil
}

// glob returns the first file that matches a pattern, or "".
func glob(patterns []string) string {
	for _, p := range patterns {
		if found, err := filepath.Glob(p); err == nil && found != nil {
			return found[0]
		}
	}
	return ""
}
