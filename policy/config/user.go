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

// maxAddresses is how many addresses one user may have.
const maxAddresses = 1000

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
	seen := make(map[string]fields)
	for _, f := range o.users {
		u := f.user()
		if u == nil {
			continue // the section has its problem already
		}
		if first, twice := seen[u.Login]; twice {
			if !strings.EqualFold(first.sec.name, f.sec.name) { // which is a problem by itself
				f.fail(f.at(f.sec.line, "", fmt.Sprintf("there is a section for this login already, [%s] (%s:%d): remove one of them", first.sec.title(), first.sec.file, first.sec.line)))
			}
			continue
		}
		seen[u.Login] = f
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
	o.checkSlots(claims, s.Slots)
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
	if len(addresses) > maxAddresses {
		f.problem(addressesKey, "there are %d addresses, more than %d: name fewer for one user", len(addresses), maxAddresses)
		return nil
	}
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
	login := policy.CanonicalLogin(g.sec.name)
	u, ok := users[login]
	if !ok && slices.ContainsFunc(o.users, func(f fields) bool { return policy.CanonicalLogin(f.sec.name) == login }) {
		return false // that section has its problem already
	}
	if !ok {
		g.fail(g.at(g.sec.line, "", fmt.Sprintf("there is no section [user %s]: %s", g.sec.name, o.userHint(g.sec.name))))
		return false
	}
	i := slices.IndexFunc(u.Identities, func(i policy.Identity) bool { return i.Address == g.address })
	if i < 0 && len(u.Identities) >= 2*maxAddresses {
		g.fail(g.at(g.sec.line, "", fmt.Sprintf("the user has more than %d addresses: name fewer for one user", 2*maxAddresses)))
		return false
	}
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
	if o.hints++; o.hints <= maxHints {
		for _, f := range o.users[:min(len(o.users), maxCandidates)] {
			logins = append(logins, f.sec.name)
		}
	}
	if best := similar(login, logins); best != "" {
		return fmt.Sprintf("did you mean %s?", best)
	}
	return "write one, with the addresses as which this user may write"
}

// maxCandidates is how many names are looked through for a similar one, and maxHints for
// how many that is done.
const (
	maxCandidates = 1000
	maxHints      = 20
)

// checkSlots looks whether those who have the same address have slots of their own.
func (o *outbound) checkSlots(claims map[string][]*userGateway, slots int) {
	for _, g := range o.userGateways {
		switch {
		case slots == 0 || g.Slot < 0 || !slices.Contains(claims[g.address], g):
			// It has its problem already.
		case g.Slot >= slots:
			g.problem(slotKey, "there are transports for %d users with the same address, whose slots are 0 to %d: write %s = %d in [outbound] and run mta-setup, or another slot", slots, slots-1, slotsKey, g.Slot+1)
		default:
			for _, other := range claims[g.address] {
				if other == g {
					break
				}
				if other.Slot == g.Slot {
					g.fail(g.at(g.line(slotKey), slotKey, fmt.Sprintf("[%s] (%s:%d) has a server for this address too, in the same slot: write slot = %d here, and keep it",
						other.sec.title(), other.sec.file, other.sec.line, freeSlot(claims[g.address]))))
				}
			}
		}
	}
}

// freeSlot returns the least slot that none of them has.
func freeSlot(group []*userGateway) int {
	slot := 0
	for slices.ContainsFunc(group, func(g *userGateway) bool { return g.Slot == slot }) {
		slot++
	}
	return slot
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
