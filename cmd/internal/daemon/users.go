package daemon

import (
	"context"
	"fmt"
	"iter"
	"os/user"
	"strconv"
	"strings"
	"sync"

	"gatemilter/milter/lookup"
	"gatemilter/policy"
	"gatemilter/policy/config"
)

// Users' own servers: for each transport that delivers to some of them, Postfix asks
// two tables.
const (
	// A TLS table leads from a nexthop to its TLS policy (smtp_tls_policy_maps of the
	// transport). As that of routes, it is the permission to use the nexthop; there is none
	// for one that offers no login.
	userTLS = "tls"
	// A login table leads from an envelope sender to user name and password
	// (smtp_sasl_password_maps of the transport, keyed by sender).
	userLogin = "login"
)

// UserTLSTable and UserLoginTable name the tables of a transport.
func UserTLSTable(transport string) string   { return userTable(transport, userTLS) }
func UserLoginTable(transport string) string { return userTable(transport, userLogin) }

func userTable(transport, kind string) string {
	return strings.TrimPrefix(transport, policy.Transport+"-") + "-" + kind
}

// userServers are the servers of users' own that may be used.
type userServers struct {
	// users are all whose servers may be used; nil: nobody's.
	users *policy.Directory
	// hosts are those that the configuration names, by transport and nexthop: it sees to it that
	// two servers don't differ in their demands on one.
	hosts map[serverKey]*userHost
	// open are those that are only in the database; it may be nil.
	open *openHosts
	// mta is the number of the user that may ask for logins. It counts only where there
	// may be servers.
	mta uint32
}

// A serverKey is a transport and a nexthop.
type serverKey struct{ transport, name string }

func keyOf(g *policy.UserGateway) serverKey { return serverKey{g.Transport(), g.Nexthop()} }

// newUserServers returns those of a configuration.
func newUserServers(c *config.Config) (userServers, error) {
	u := userServers{hosts: make(map[serverKey]*userHost)}
	c.Settings.Outbound.UserGateways(func(_, _ string, g *policy.UserGateway) {
		u.hosts[keyOf(g)] = newUserHost(g)
	})
	if !c.Settings.Outbound.HasUserGateways() {
		return u, nil
	}
	u.users = c.Policy.Directory()
	id, err := userID(c.Server.MTAUser)
	u.mta = id
	return u, err
}

// userID returns the number of a user, which may be given itself.
func userID(name string) (uint32, error) {
	u, err := user.Lookup(name)
	if err == nil {
		name = u.Uid
	}
	id, notNumber := strconv.ParseUint(name, 10, 32)
	if notNumber != nil {
		return 0, fmt.Errorf("there is no user %q, who has to be told the logins of users' own servers; install the mail server, or correct mta_user", name)
	}
	return uint32(id), nil
}

// addUserTables adds the tables of all transports that there can be: which of them are
// used may change with every reload.
func (d *daemon) addUserTables(tables map[string]lookup.Table) {
	for slot := range policy.MaxSlots {
		for _, implicit := range []bool{false, true} {
			transport := policy.UserTransport(implicit, slot)
			tables[UserTLSTable(transport)] = lookup.Table{
				Lookup: func(ctx context.Context, p lookup.Peer, nexthop string) lookup.Answer {
					return d.userTLS(ctx, p, serverKey{transport, nexthop})
				},
				Limit:  probeLimit,
				Admits: d.isMTA, // who asks for it is taken for the one who delivers
			}
			tables[UserLoginTable(transport)] = lookup.Table{
				Lookup: func(_ context.Context, p lookup.Peer, sender string) lookup.Answer {
					return d.userLogin(p, transport, sender)
				},
				Admits: d.isMTA,
			}
		}
	}
}

// isMTA says whether a user is the mail server's, as long as he may have anything to ask for.
func (d *daemon) isMTA(uid uint32) bool {
	u := &d.current.Load().users
	return u.users != nil && uid == u.mta
}

// userTLS answers with what must hold of the connection to a user's own server. What the
// asking process is about to do is noted before the server is looked at: afterwards the
// process may be about to do something else.
func (d *daemon) userTLS(ctx context.Context, p lookup.Peer, key serverKey) lookup.Answer {
	host, probe := d.current.Load().users.host(key, d.probe)
	if host == nil {
		d.attempts.begin(p, attempt{key: key})
		return lookup.Temp("this nexthop is no user's server any more")
	}
	d.attempts.begin(p, attempt{key: key, demand: host.tls})
	return host.permit(ctx, probe, func(err error) { d.log.noLogin(key.name, err) })
}

// host returns a host of users' servers, and what looks at it: probe, where the administrator has
// named it. It is nil where no server is.
func (u *userServers) host(key serverKey, probe prober) (*userHost, prober) {
	if host := u.hosts[key]; host != nil {
		return host, probe
	}
	if host := u.open.of(key); host != nil {
		return host, u.open.probe
	}
	return nil, nil
}

// userLogin answers with user name and password of the server that belongs to a sender,
// if that is the one to which the asking process has connected. (A message may have been
// queued before the user changed his server.) It never says "not found": Postfix would
// try without login, and return the mail.
func (d *daemon) userLogin(p lookup.Peer, transport, sender string) lookup.Answer {
	g := d.current.Load().users.server(transport, sender)
	last, ok := d.attempts.of(p, transport)
	if g == nil {
		d.log.loginWithheld(sender, last.key.name, senderUnknown)
		return lookup.Temp("no user's server is known for this sender")
	}
	why := ""
	switch {
	case p.PID == 0:
		why = "the asking process can't be told from others: gatemilter and the mail server have to share a PID namespace"
	case !ok:
		why = "it is not known which host the mail server has connected to" // after a restart of ours
	case last.key.name != g.Nexthop():
		why = "the sender's server is another one now, " + g.Nexthop()
	case last.demand != g.TLS:
		why = "the sender's server is to be asked with other TLS now: " + g.TLS.String()
	case g.Password.Reveal() == "":
		d.log.passwordUnknown(sender, g.Nexthop())
		return lookup.Temp(passwordUnknown)
	default:
		return lookup.OK(g.Username + ":" + g.Password.Reveal())
	}
	d.log.loginWithheld(sender, last.key.name, why)
	return lookup.Temp(why)
}

// passwordUnknown is why mail waits for a server of which the login can't be told.
const passwordUnknown = "the password of the sender's server can't be decrypted"

// senderUnknown is why mail waits whose sender is no address with a user's server, though
// it was one when the message came.
const senderUnknown = "no user's server is known for this sender: the address has been removed, or the mail server has changed the sender (canonical_maps, masquerade_domains, another milter)"

// server returns the server for a sender that a transport delivers to. There is at most one.
func (u *userServers) server(transport, sender string) *policy.UserGateway {
	for g := range u.serversFor(sender) {
		if g.Transport() == transport {
			return g
		}
	}
	return nil
}

// serversFor are the servers for a sender: several users may have one for the same address.
func (u *userServers) serversFor(sender string) iter.Seq[*policy.UserGateway] {
	return func(yield func(*policy.UserGateway) bool) {
		if u.users == nil {
			return
		}
		address := policy.CanonicalAddress(sender)
		for _, user := range u.users.Claimants(address) {
			for i := range user.Identities {
				if i := &user.Identities[i]; i.Address == address && !i.Disabled && i.Gateway != nil && !yield(i.Gateway) {
					return
				}
			}
		}
	}
}

// own answers with the sender itself, where he is an address with a user's server, so that
// no other table of the mail server makes another one of it.
func (g *generation) own(sender string) lookup.Answer {
	if g.rules.Policy.Mode() != policy.Observe {
		for range g.users.serversFor(sender) {
			return lookup.OK(sender)
		}
	}
	return lookup.NotFound()
}

// attempts remembers to which nexthop each process of the mail server is about to
// deliver, and with which TLS. Postfix asks for a login by the sender alone, but just
// before, for the TLS policy of the nexthop; and an smtp client process delivers one
// message at a time.
type attempts struct {
	mu sync.Mutex
	// last holds processes by the last bits of their number: one that another has driven
	// out is shown no login, and tries again later.
	last [1024]attempt
}

type attempt struct {
	pid    int32
	key    serverKey
	demand policy.UserTLS
}

func (a *attempts) begin(p lookup.Peer, to attempt) {
	if p.Err != nil || p.PID <= 0 {
		return
	}
	to.pid = p.PID
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last[int(p.PID)%len(a.last)] = to
}

// of returns what a process is about to do, if that is a delivery by this transport.
func (a *attempts) of(p lookup.Peer, transport string) (attempt, bool) {
	if p.Err != nil || p.PID <= 0 {
		return attempt{}, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	last := a.last[int(p.PID)%len(a.last)]
	if last.pid != p.PID || last.key.transport != transport {
		return attempt{}, false
	}
	return last, true
}
