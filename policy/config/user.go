package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"gatemilter/policy"
)

// maxLogin is the length of the longest login, in octets.
const maxLogin = 254

// checkLogin says what is wrong with a login of ours (SMTP AUTH), as a section names it.
func checkLogin(s string) error {
	switch {
	case s == "":
		return errors.New("the section names no user: write the name with which he logs in to send mail, as in [user alice@example.com]")
	case len(s) > maxLogin:
		return fmt.Errorf("%s is no login: it has %d octets, more than %d; correct it", quote(s), len(s), maxLogin)
	case strings.ContainsAny(s, `<>"`):
		return fmt.Errorf("%s is no login: write it alone, without <, > and quotes", quote(s))
	case !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) }):
		return fmt.Errorf("%s is no login: it has characters that can't be shown; correct it", quote(s))
	}
	return nil
}

// identities puts users, their addresses and their servers together.
func (o *outbound) identities(s *policy.Outbound) {
	s.Slots = o.slots()
	s.AllowUserGateways = o.yes(allowKey)
	s.UnknownSender = map[string]policy.SenderAction{"reject": policy.RejectSender, "rewrite": policy.RewriteSender, "accept": policy.AcceptSender}[o.choice("unknown_sender")]
	s.SenderHeader = o.yes("sender_header")
	s.Domains = o.ownDomains()
	for _, f := range o.users {
		u := f.user()
		if u == nil {
			continue // the section has its problem already
		}
		if s.Users == nil {
			s.Users = make(map[string]*policy.User)
		}
		s.Users[u.Login] = u
		o.settleDomain(f, u, s)
	}
	claims := make(map[string][]*userGateway)
	for _, g := range o.userGateways {
		if o.give(g, s.Users, claims[g.address]) {
			claims[g.address] = append(claims[g.address], g)
		}
	}
	o.assignSlots(claims, s.Slots)
	if len(o.userGateways) > 0 && !o.given(allowKey) {
		g := o.userGateways[0]
		g.warn(g.at(g.sec.line, "", "users' own servers are not used, as [outbound] allow_user_gateways = no is the default: write it there, yes or no"))
	}
}

// ownDomains reads our own domains. There are none where the users' accounts tell them.
func (o *outbound) ownDomains() map[string]bool {
	if !o.given(ownDomainsKey) {
		return nil
	}
	if strings.Contains(o.text(ownDomainsKey), allDomains) {
		o.problem(ownDomainsKey, "%s has a wildcard: write each domain in full", quote(o.text(ownDomainsKey)))
		return nil
	}
	own := make(map[string]bool)
	for _, domain := range o.domains(ownDomainsKey) {
		own[domain] = true
	}
	return own
}

// settleDomain takes the domain of an account for one of our own, unless these are
// listed.
func (o *outbound) settleDomain(f fields, u *policy.User, s *policy.Outbound) {
	domain := policy.Domain(u.Account)
	switch {
	case o.given(ownDomainsKey) && !s.Domains[domain]:
		f.doubt(addressesKey, "the account's address %s is not in [outbound] domains (line %d): add its domain there, or list another address first", quote(u.Account), o.line(ownDomainsKey))
	case !o.given(ownDomainsKey):
		if s.Domains == nil {
			s.Domains = make(map[string]bool)
		}
		s.Domains[domain] = true
	}
}

// user reads a user, or returns nil where that has a problem.
func (f fields) user() *policy.User {
	if checkLogin(f.sec.name) != nil {
		return nil
	}
	u := &policy.User{Login: policy.CanonicalLogin(f.sec.name)}
	addresses := f.list(addressesKey)
	if !f.given(addressesKey) {
		if _, err := parseAddress(f.sec.name); err != nil {
			f.fail(f.at(f.sec.line, addressesKey, "the login is no address, so the key is needed: write addresses = … into this section, that of the account first, for example alice@example.com"))
			return nil
		}
		addresses = []string{f.sec.name}
	}
	for _, item := range addresses {
		address, err := parseAddress(item)
		switch {
		case err != nil:
			f.problem(addressesKey, "%s", err)
		case u.Has(address):
			f.doubt(addressesKey, "%s is listed twice: one of them can go", quote(item))
		default:
			u.Identities = append(u.Identities, policy.Identity{Address: address})
		}
	}
	if len(u.Identities) == 0 {
		return nil
	}
	u.Account = u.Identities[0].Address
	if login, err := parseAddress(f.sec.name); err == nil && !u.Has(login) {
		f.doubt(addressesKey, "the login %s is an address that the user may not have: list it too, if it is his", quote(f.sec.name))
	}
	return u
}

// give adds a user's own server to him, unless that has a problem. Others are those that
// have the same address.
func (o *outbound) give(g *userGateway, users map[string]*policy.User, others []*userGateway) bool {
	if checkLogin(g.sec.name) != nil || g.address == "" {
		return false // the section has its problem already
	}
	u, ok := users[policy.CanonicalLogin(g.sec.name)]
	if !ok {
		g.fail(g.at(g.sec.line, "", fmt.Sprintf("there is no section [user %s]: %s", g.sec.name, o.userHint(g.sec.name))))
		return false
	}
	i := slices.IndexFunc(u.Identities, func(i policy.Identity) bool { return i.Address == g.address })
	if i < 0 {
		i = len(u.Identities)
		u.Identities = append(u.Identities, policy.Identity{Address: g.address})
	}
	if u.Identities[i].Gateway == nil {
		u.Identities[i].Gateway = &g.UserGateway
		return true
	}
	first := others[slices.IndexFunc(others, func(other *userGateway) bool { return &other.UserGateway == u.Identities[i].Gateway })]
	if !strings.EqualFold(first.sec.fullName(), g.sec.fullName()) { // which is a problem by itself
		g.fail(g.at(g.sec.line, "", fmt.Sprintf("the user has a server for %s already (%s:%d): remove one of the sections", quote(g.address), first.sec.file, first.sec.line)))
	}
	return false
}

// userHint says what may have been meant by a login of which there is no section. (To
// compare it with very many would take too long.)
func (o *outbound) userHint(login string) string {
	var logins []string
	for _, f := range o.users[:min(len(o.users), maxCandidates)] {
		logins = append(logins, f.sec.name)
	}
	if best := similar(login, logins); best != "" {
		return fmt.Sprintf("did you mean %s?", best)
	}
	return "write one, with the addresses as which this user may write"
}

// maxCandidates is how many names are looked through for a similar one.
const maxCandidates = 1000

// assignSlots numbers those who have the same address, in the order of the files: so a
// new one changes nothing for the others.
func (o *outbound) assignSlots(claims map[string][]*userGateway, slots int) {
	for _, g := range o.userGateways {
		group := claims[g.address]
		if len(group) == 0 || group[0] != g || slots == 0 {
			continue
		}
		for slot, other := range group {
			other.Slot = slot
		}
		if last := len(group) - 1; len(group) > slots {
			advice := fmt.Sprintf("write %s = %d in [outbound] and run mta-setup", slotsKey, len(group))
			if len(group) > policy.MaxSlots {
				advice = fmt.Sprintf("at most %d users can have one", policy.MaxSlots)
			}
			group[last].fail(group[last].at(group[last].sec.line, "", fmt.Sprintf("%d users have servers of their own for %s, the first at %s:%d, but there are transports for %d: %s",
				len(group), quote(g.address), g.sec.file, g.sec.line, slots, advice)))
		}
	}
}

// slots reads the number of slots; a bad one reads as 0.
func (o *outbound) slots() int {
	text := o.text(slotsKey)
	n, err := strconv.ParseUint(text, 10, 8)
	if err != nil || n < 1 || n > policy.MaxSlots {
		o.problem(slotsKey, "%s is not a number between 1 and %d: %s", quote(text), policy.MaxSlots, hintFor(text, "write one in digits"))
		return 0
	}
	return int(n)
}
