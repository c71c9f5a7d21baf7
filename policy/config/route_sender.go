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

// parseSender reads the name of a section [sender ADDRESS]: user@example.com or
// @example.com. It returns the key of the rule in [policy.Outbound].
func parseSender(s string) (string, error) {
	at := strings.LastIndexByte(s, '@')
	switch {
	case s == "":
		return "", errors.New("the section names no sender: write [sender user@example.com], or [sender @example.com] for all of a domain")
	case strings.ContainsAny(s, `<>"`):
		return "", fmt.Errorf("%s is no sender: write the address alone, without <, > and quotes", quote(s))
	case at < 0:
		return "", fmt.Errorf("%s is no sender: write an address, user@example.com, or @example.com for all of a domain", quote(s))
	}
	local, host := s[:at], s[at+1:]
	domain, err := parseDomain(host)
	switch {
	case err != nil:
		return "", fmt.Errorf("%s is no sender, %s behind the @ is not a domain: %w", quote(s), quote(host), err)
	case local == "*":
		return "", fmt.Errorf("%s has a wildcard: write [sender @%s] for all of the domain", quote(s), domain)
	}
	if err := checkLocal(local); err != nil {
		return "", fmt.Errorf("%s is no sender: %w", quote(s), err)
	}
	return policy.CanonicalAddress(local + "@" + domain), nil
}

// checkLocal takes local parts that are dot-strings (RFC 5321, section 4.1.2), or
// none. Those that would need quotes, or have other letters than ASCII's, can be
// written in several ways: a rule would not meet all of them.
func checkLocal(local string) error {
	if len(local) > maxLocal {
		return fmt.Errorf("what stands before the @ has %d octets, more than the %d of a local part; correct it", len(local), maxLocal)
	}
	if local != "" && strings.Contains("."+local+".", "..") {
		return errors.New("a point is at the beginning or the end of what stands before the @, or two are together; correct it, or write a rule for the domain")
	}
	for _, r := range local {
		if !strings.ContainsRune(localCharacters, r) {
			return fmt.Errorf("%s can't be before the @ here; correct it, or write a rule for the domain", quote(string(r)))
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
	senders []fields
}

// settings resolves the names of routes, and warns of those that nobody uses.
func (o *outbound) settings() policy.Outbound {
	var s policy.Outbound
	for _, r := range o.routes {
		s.Routes = append(s.Routes, &r.Route)
	}
	used := make(map[*policy.Route]bool)
	s.Gateway = o.find(o.fields, outGatewayKey)
	used[s.Gateway] = true
	seen := make(map[string]fields)
	for _, f := range o.senders {
		r := o.find(f, senderRouteKey)
		used[r] = true
		sender, err := parseSender(f.sec.name)
		if err != nil {
			continue // the section has its problem already
		}
		if first, twice := seen[sender]; twice && !strings.EqualFold(first.sec.name, f.sec.name) {
			f.fail(f.at(f.sec.line, "", fmt.Sprintf("there is a section for this sender already, [%s] (%s:%d): remove one of them", first.sec.title(), first.sec.file, first.sec.line)))
		}
		seen[sender] = f
		if s.Senders == nil {
			s.Senders = make(map[string]*policy.Route)
		}
		s.Senders[sender] = r
	}
	for _, r := range o.routes {
		if !used[&r.Route] {
			r.warn(r.at(r.sec.line, "", "nothing uses this route: name it in [outbound] or in a section [sender ADDRESS], or remove it"))
		}
	}
	return s
}

// find returns the route that a key names, or nil where there is none.
func (o *outbound) find(f fields, key string) *policy.Route {
	name := f.text(key)
	if name == "" {
		return nil
	}
	var names []string
	for _, r := range o.routes {
		if r.Name == name {
			return &r.Route
		}
		names = append(names, r.Name)
	}
	hint := "write a section [route NAME] with this name, or the name of another one"
	if best := similar(name, names); best != "" {
		meant := o.routes[slices.Index(names, best)]
		hint = fmt.Sprintf("did you mean %s (%s:%d)?", quote(best), meant.sec.file, meant.sec.line)
	}
	f.problem(key, "there is no route %s: %s", quote(name), hintFor(name, hint))
	return nil
}
