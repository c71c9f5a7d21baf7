package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"gatemilter/policy"
)

// maxLocal is the length of the longest local part, in octets (RFC 5321, section
// 4.5.3.1.1).
const maxLocal = 64

// parseRule reads the name of a section [sender ADDRESS] or [recipient ADDRESS]:
// user@example.com or @example.com. It returns the key of the rule in
// [policy.Outbound].
func parseRule(kind, s string) (string, error) {
	local, host, found := cutAddress(s)
	switch {
	case s == "":
		return "", fmt.Errorf("the section names no %s: write [%s user@example.com], or [%s @example.com] for all of a domain", kind, kind, kind)
	case strings.ContainsAny(s, `<>"`):
		return "", fmt.Errorf("%s is no %s: write the address alone, without <, > and quotes", quote(s), kind)
	case !found:
		return "", fmt.Errorf("%s is no %s: write an address, user@example.com, or @example.com for all of a domain", quote(s), kind)
	}
	domain, err := parseDomain(host)
	switch {
	case err != nil:
		return "", fmt.Errorf("%s is no %s, %s behind the @ is not a domain: %w", quote(s), kind, quote(host), err)
	case local == "*":
		return "", fmt.Errorf("%s has a wildcard: write [%s @%s] for all of the domain", quote(s), kind, domain)
	}
	if err := checkLocal(local, "correct it, or write a rule for the domain"); err != nil {
		return "", fmt.Errorf("%s is no %s: %w", quote(s), kind, err)
	}
	if at := strings.IndexAny(local, "={}$"); at >= 0 && kind == rcptSection {
		return "", fmt.Errorf("%s has %s in it, which Postfix's tables can't hold: write a rule for the domain", quote(s), quote(local[at:at+1]))
	}
	return policy.CanonicalAddress(local + "@" + domain), nil
}

// parseAddress reads the whole address of one person.
func parseAddress(s string) (string, error) {
	local, host, found := cutAddress(s)
	switch {
	case s == "":
		return "", errors.New("there is no address: write one, as in user@example.com")
	case strings.ContainsAny(s, `<>"`):
		return "", fmt.Errorf("%s is no address: write it alone, without <, > and quotes", quote(s))
	case !found || local == "" || local == "*":
		return "", fmt.Errorf("%s is no address: write it in full, as in user@example.com", quote(s))
	}
	domain, err := parseDomain(host)
	if err != nil {
		return "", fmt.Errorf("%s is no address, %s behind the @ is not a domain: %w", quote(s), quote(host), err)
	}
	if err := checkLocal(local, "correct it"); err != nil {
		return "", fmt.Errorf("%s is no address: %w", quote(s), err)
	}
	return policy.CanonicalAddress(local + "@" + domain), nil
}

func cutAddress(s string) (local, domain string, found bool) {
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return s, "", false
	}
	return s[:at], s[at+1:], true
}

// checkLocal takes local parts that are dot-strings (RFC 5321, section 4.1.2), or
// none. Those that would need quotes, or have other letters than ASCII's, can be
// written in several ways: a rule would not meet all of them.
func checkLocal(local, advice string) error {
	if len(local) > maxLocal {
		return fmt.Errorf("what stands before the @ has %d octets, more than the %d of a local part; correct it", len(local), maxLocal)
	}
	if local != "" && strings.Contains("."+local+".", "..") {
		return fmt.Errorf("a point is at the beginning or the end of what stands before the @, or two are together; %s", advice)
	}
	for _, r := range local {
		if !strings.ContainsRune(localCharacters, r) {
			return fmt.Errorf("%s can't be before the @ here; %s", quote(string(r)), advice)
		}
	}
	return nil
}

// localCharacters are those of a dot-string: atext (RFC 5322, section 3.2.3) and the point.
const localCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-/=?^_`{|}~."

// An outbound is what the files say about the ways of outgoing mail.
type outbound struct {
	routes []*route
	// fields are those of [outbound].
	fields
	senders, recipients, users []fields
	userGateways               []*userGateway
	// hints counts the names for which a similar one was looked for.
	hints int
	// byName finds routes.
	byName map[string]*policy.Route
}

// settings resolves the names of routes and users, and warns of routes that nobody uses.
func (o *outbound) settings() policy.Outbound {
	var s policy.Outbound
	o.byName = make(map[string]*policy.Route, len(o.routes))
	for _, r := range o.routes {
		s.Routes = append(s.Routes, &r.Route)
		o.byName[r.Name] = &r.Route
	}
	s.Gateway = o.find(o.fields, outGatewayKey)
	s.Senders = o.rules(o.senders)
	s.Recipients = o.rules(o.recipients)
	o.identities(&s)
	used := map[*policy.Route]bool{s.Gateway: true}
	for _, rules := range []map[string]*policy.Route{s.Senders, s.Recipients} {
		for _, r := range rules {
			used[r] = true
		}
	}
	for _, r := range o.routes {
		if !used[&r.Route] {
			r.warn(r.at(r.sec.line, "", "nothing uses this route: name it in [outbound] or in a section [sender ADDRESS] or [recipient ADDRESS], or remove it"))
		}
	}
	return s
}

// rules are those of sections [sender ADDRESS] or [recipient ADDRESS].
func (o *outbound) rules(sections []fields) map[string]*policy.Route {
	var rules map[string]*policy.Route
	seen := make(map[string]fields)
	for _, f := range sections {
		r := o.find(f, ruleRouteKey)
		key, err := parseRule(f.sec.kind, f.sec.name)
		if err != nil {
			continue // the section has its problem already
		}
		if first, twice := seen[key]; twice && !strings.EqualFold(first.sec.name, f.sec.name) {
			f.fail(f.at(f.sec.line, "", fmt.Sprintf("there is a section for this %s already, [%s] (%s:%d): remove one of them", f.sec.kind, first.sec.title(), first.sec.file, first.sec.line)))
		}
		seen[key] = f
		if rules == nil {
			rules = make(map[string]*policy.Route)
		}
		rules[key] = r
	}
	return rules
}

// find returns the route that a key names, or nil where there is none.
func (o *outbound) find(f fields, key string) *policy.Route {
	name := f.text(key)
	if name == "" {
		return nil
	}
	if r, ok := o.byName[name]; ok {
		return r
	}
	var names []string
	if o.hints++; o.hints <= maxHints {
		for _, r := range o.routes[:min(len(o.routes), maxCandidates)] {
			names = append(names, r.Name)
		}
	}
	hint := "write a section [route NAME] with this name, or the name of another one"
	if best := similar(name, names); best != "" {
		meant := o.routes[slices.Index(names, best)]
		hint = fmt.Sprintf("did you mean %s (%s:%d)?", quote(best), meant.sec.file, meant.sec.line)
	}
	f.problem(key, "there is no route %s: %s", quote(name), hintFor(name, hint))
	return nil
}
