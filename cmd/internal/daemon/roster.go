package daemon

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"gatemilter/policy"
	"gatemilter/policy/config"
	"gatemilter/policy/identity"
)

// A roster puts together who our users are: those of the configuration, and what is in the
// database of identities. It changes user by user, whatever their number.
//
// Not all that is in the database can be used at the same time. The mail server tells servers
// for the same address apart by their transports only, so of two identities with the same
// address and transport one is left out: that of the database, or else the later one. So is one
// whose slot has no transport, or whose host is used without TLS by the configuration. What is
// left out is as if the administrator had disabled it, until what is in its way is gone.
type roster struct {
	config *config.Config
	// guard is guardedProbe if it is nil.
	guard func(allowed []netip.Prefix) prober
	// clear are the nexthops that the configuration uses without TLS.
	clear map[string]bool
	// records are those of the database, by login; nil until they are known.
	records map[string][]identity.Record
	// users are all of them, in force.
	users *policy.Directory
	// hosts are those of servers in the database.
	hosts *openHosts
	// left says why an identity is left out, and news are those that have come to it.
	left map[identityName]string
	news []leftOut
	// counts are those of records.
	counts identityCounts
}

// An identityName is a login and an address.
type identityName struct{ login, address string }

// A leftOut is an identity that can't be used, and why.
type leftOut struct {
	identityName
	why string
}

type identityCounts struct{ active, pending, disabled int }

// UsersOf returns the users of a configuration and of its database of identities, whose records
// are by login. LeftOut says why an identity of the database can't be used beside the others, or
// "".
func UsersOf(c *config.Config, records map[string][]identity.Record) (users *policy.Directory, leftOut func(login, address string) string) {
	var r roster
	r.load(records)
	r.configure(c)
	return r.users, func(login, address string) string { return r.left[identityName{login, address}] }
}

// load takes all records anew; configure has to follow.
func (r *roster) load(records map[string][]identity.Record) {
	r.records, r.counts = records, identityCounts{}
	for _, list := range records {
		r.counts.add(list, 1)
	}
}

func (n *identityCounts) add(records []identity.Record, sign int) {
	for i := range records {
		switch r := &records[i]; {
		case r.Disabled:
			n.disabled += sign
		case r.State == identity.Active:
			n.active += sign
		default:
			n.pending += sign
		}
	}
}

// configure makes the users anew, of all records and a configuration, which may be another one
// than before.
func (r *roster) configure(c *config.Config) {
	r.config, r.clear = c, make(map[string]bool)
	c.Settings.Outbound.UserGateways(func(_, _ string, g *policy.UserGateway) {
		if g.TLS == policy.NoTLS {
			r.clear[g.Nexthop()] = true
		}
	})
	before := r.hosts
	r.users, r.hosts, r.left = nil, nil, nil
	if r.records == nil || !c.Settings.Outbound.SelfService {
		return
	}
	r.left = make(map[identityName]string)
	r.users = policy.NewDirectory(func(yield func(*policy.User) bool) {
		for login, u := range c.Settings.Outbound.Users {
			if len(r.records[login]) == 0 && !yield(u) {
				return
			}
		}
		for login := range r.records {
			if u := r.merge(login); u != nil && !yield(u) {
				return
			}
		}
	})
	r.users = r.users.With(r.judge(maps.Keys(r.records))...)
	guard := r.guard
	if guard == nil {
		guard = guardedProbe
	}
	r.hosts = newOpenHosts(guard(c.Portal.AllowedNetworks), c.Portal.AllowedNetworks, before)
	for login := range r.records {
		r.hosts.add(r.servers(r.users.User(login)))
	}
	r.hosts.prune()
}

// merge returns the user in force as if there were no others, or nil.
func (r *roster) merge(login string) *policy.User {
	return identity.Merge(r.config.Settings.Outbound.Users[login], r.records[login])
}

// change takes up new records of some users, and returns what is to be called once the new
// users are in force. Before all were loaded, there is nothing to change.
func (r *roster) change(users map[string][]identity.Record) (done func()) {
	if r.users == nil {
		return func() {}
	}
	affected := make(map[string]bool)
	before := make(map[string]*policy.User)
	changed := make([]*policy.User, 0, len(users))
	var gone []string
	for login, records := range users {
		before[login] = r.users.User(login)
		collect(affected, r.records[login])
		collect(affected, records)
		r.counts.add(r.records[login], -1)
		r.counts.add(records, 1)
		for _, record := range r.records[login] {
			if !slices.ContainsFunc(records, func(now identity.Record) bool {
				return now.Address == record.Address && now.State == identity.Active && now.Gateway != nil
			}) {
				delete(r.left, identityName{login, record.Address}) // judge doesn't see it
			}
		}
		if r.records[login] = records; len(records) == 0 {
			delete(r.records, login)
		}
		if u := r.merge(login); u != nil {
			changed = append(changed, u)
		} else {
			gone = append(gone, login)
		}
	}
	r.users = r.users.Without(gone...).With(changed...)
	// Those who have one of the addresses too may be in force now, or not any more.
	for address := range affected {
		for _, u := range r.users.Claimants(address) {
			if _, known := before[u.Login]; !known {
				before[u.Login] = u
			}
		}
	}
	r.users = r.users.With(r.judge(maps.Keys(before))...)
	var dropped []serverKey
	for login, u := range before {
		r.hosts.add(r.servers(r.users.User(login)))
		dropped = append(dropped, r.servers(u)...)
	}
	hosts := r.hosts
	return func() { hosts.drop(dropped) }
}

// collect adds the addresses for which there are servers.
func collect(addresses map[string]bool, records []identity.Record) {
	for i := range records {
		if records[i].Gateway != nil {
			addresses[records[i].Address] = true
		}
	}
}

// judge decides for users which of their identities are left out, and returns those users who are
// others by that than they are.
func (r *roster) judge(logins func(func(string) bool)) (others []*policy.User) {
	first := make(map[string]map[string]claim) // by address and transport
	for login := range logins {
		u := r.users.User(login)
		if u == nil {
			continue
		}
		judged := u
		for n := range u.Identities {
			record := r.record(login, u.Identities[n].Address)
			if record == nil || record.Gateway == nil {
				continue
			}
			name := identityName{login, record.Address}
			why := r.obstacle(record, first)
			if why == "" {
				delete(r.left, name)
			} else if r.left[name] != why {
				r.left[name] = why
				r.news = append(r.news, leftOut{name, why})
			}
			if out := record.Disabled || why != ""; out != u.Identities[n].Disabled {
				if judged == u {
					judged = &policy.User{Login: u.Login, Account: u.Account, Open: u.Open, Identities: slices.Clone(u.Identities)}
				}
				judged.Identities[n].Disabled = out
			}
		}
		if judged != u {
			others = append(others, judged)
		}
	}
	return others
}

// record returns the record that is behind a user's identity, or nil where the configuration is.
func (r *roster) record(login, address string) *identity.Record {
	if u := r.config.Settings.Outbound.Users[login]; u != nil && u.Has(address) {
		return nil
	}
	records := r.records[login]
	i := slices.IndexFunc(records, func(record identity.Record) bool {
		return record.Address == address && record.State == identity.Active
	})
	if i < 0 {
		return nil // the account's
	}
	return &records[i]
}

// obstacle says why an identity can't be used, or returns "".
func (r *roster) obstacle(record *identity.Record, first map[string]map[string]claim) string {
	if record.Disabled || !r.config.Settings.Outbound.AllowUserGateways {
		return ""
	}
	if why := r.unfit(record.Gateway); why != "" {
		return why
	}
	if len(r.users.Claimants(record.Address)) == 1 {
		return ""
	}
	claims, known := first[record.Address]
	if !known {
		claims = r.firstClaims(record.Address)
		first[record.Address] = claims
	}
	switch winner := claims[record.Gateway.Transport()]; {
	case winner.login == record.Login:
		return ""
	case winner.configured:
		return fmt.Sprintf("[user-gateway %s %s] has a server for the address too, in the same slot, %d: give one of them another slot", winner.login, record.Address, record.Gateway.Slot)
	default:
		return fmt.Sprintf("%s has a server for the address too, in the same slot, %d, and had it before: raise user_gateway_slots, remove this identity and add it again", winner.login, record.Gateway.Slot)
	}
}

// unfit says why a server of the database can't be used beside the configuration.
func (r *roster) unfit(g *policy.UserGateway) string {
	switch slots := r.config.Settings.Outbound.Slots; {
	case g.Slot >= slots:
		return fmt.Sprintf("it has the slot %d, and there are transports for %d users with the same address: write user_gateway_slots = %d and run mta-setup", g.Slot, slots, g.Slot+1)
	case r.clear[g.Nexthop()]:
		return fmt.Sprintf("%s is used by a section [user-gateway] with tls = none, and the mail server knows one demand for each host", g.Nexthop())
	}
	return ""
}

// A claim is somebody's to an address by one transport.
type claim struct {
	login      string
	configured bool
	since      time.Time
}

// before says whether a claim goes before another.
func (c claim) before(other claim) bool {
	if c.configured != other.configured {
		return c.configured
	}
	return cmp.Or(c.since.Compare(other.since), strings.Compare(c.login, other.login)) < 0
}

// firstClaims returns whose server it is that each transport reaches for an address.
func (r *roster) firstClaims(address string) map[string]claim {
	first := make(map[string]claim)
	for _, u := range r.users.Claimants(address) {
		transport, c, ok := r.claim(u, address)
		if other, taken := first[transport]; ok && (!taken || c.before(other)) {
			first[transport] = c
		}
	}
	return first
}

// claim returns a user's claim to an address of his, and the transport for which it is.
func (r *roster) claim(u *policy.User, address string) (transport string, c claim, ok bool) {
	if record := r.record(u.Login, address); record != nil {
		if record.Gateway == nil || record.Disabled || r.unfit(record.Gateway) != "" {
			return "", c, false
		}
		return record.Gateway.Transport(), claim{login: u.Login, since: record.Created}, true
	}
	for _, i := range u.Identities {
		if i.Address == address && i.Gateway != nil {
			return i.Gateway.Transport(), claim{login: u.Login, configured: true}, true
		}
	}
	return "", c, false
}

// servers are those of a user that are in the database and may be used.
func (r *roster) servers(u *policy.User) (keys []serverKey) {
	if u == nil || !r.config.Settings.Outbound.AllowUserGateways {
		return nil
	}
	configured := r.config.Settings.Outbound.Users[u.Login]
	for _, i := range u.Identities {
		if i.Gateway != nil && !i.Disabled && (configured == nil || !configured.Has(i.Address)) {
			keys = append(keys, keyOf(i.Gateway))
		}
	}
	return keys
}
