package policy

import (
	"slices"
	"strconv"
)

// A User is an account that sends mail through us, known by its login (SMTP AUTH, RFC
// 4954), and the addresses as which it may write.
type User struct {
	// Login is the name by which the user authenticates, as [CanonicalLogin] writes
	// it.
	Login string
	// Account is the address of the account itself: what the domain's servers send in
	// the name of another address bears it. It is one of Identities.
	Account string
	// Identities are all addresses of the user, each once.
	Identities []Identity
	// Open says that only the database knows the user: as other addresses than his own he is
	// treated like a login that nobody knows.
	Open bool
}

// An Identity is an address as which a user may write.
type Identity struct {
	// Address is as [CanonicalAddress] writes it.
	Address string
	// Gateway is the user's own server for mail from this address, or nil.
	Gateway *UserGateway
	// Disabled says that the administrator forbids the user to write as it. It is his all
	// the same, and nobody else may write as it either.
	Disabled bool
}

// A UserGateway is a user's own outbound gateway: the mail server to which an address
// belongs, and the user's account there (submission, RFC 6409).
type UserGateway struct {
	// Host is a host name of lower-case A-labels, or an IP address.
	Host string
	// Port suits TLS: see [UserTLS.TakesPort].
	Port uint16
	TLS  UserTLS
	// Username has 1 to 254 octets, no colon and no control character.
	Username string
	Password Secret
	// Slot tells apart the users who have the same address, 0 to MaxSlots-1. It is the
	// administrator's choice: mail that waits must not change hands when users come
	// and go.
	Slot int
}

// MaxSlots is how many users may have the same address with servers of their own.
const MaxSlots = 16

// UserTLS is how the connection to a user's server is protected.
type UserTLS uint8

// STARTTLS (RFC 3207) and ImplicitTLS (from the start, RFC 8314) both demand a
// certificate by a trusted authority that bears the host's name; NoTLS demands nothing.
const (
	STARTTLS UserTLS = iota
	ImplicitTLS
	NoTLS
)

var userTLSNames = [...]string{STARTTLS: "starttls", ImplicitTLS: "implicit", NoTLS: "none"}

func (t UserTLS) String() string { return userTLSNames[t] }

// DefaultPort is that of submission.
func (t UserTLS) DefaultPort() uint16 {
	if t == ImplicitTLS {
		return PortSubmissions
	}
	return PortSubmission
}

// TakesPort says whether a server may have the port: 465 is that of TLS from the start,
// 25 and 587 are those without, and from 1024 on any goes.
func (t UserTLS) TakesPort(port uint16) bool {
	if t == ImplicitTLS {
		return port == PortSubmissions || port >= 1024
	}
	return IsRoutePort(port)
}

// Transport names the smtp client in Postfix's master.cf that delivers to the user's
// server.
func (g *UserGateway) Transport() string { return UserTransport(g.TLS == ImplicitTLS, g.Slot) }

// UserTransport names the smtp client for users' servers of a slot. Those with TLS from
// the start are other ones (smtp_tls_wrappermode, postconf(5)).
func UserTransport(implicit bool, slot int) string {
	name := Transport + "-user"
	if implicit {
		name += "s"
	}
	if slot > 0 {
		name += "-" + strconv.Itoa(slot)
	}
	return name
}

// Nexthop returns the server as Postfix takes it.
func (g *UserGateway) Nexthop() string { return nexthop(g.Host, g.Port) }

// CanonicalLogin returns the form in which logins are compared: no common server tells
// two of them apart by case.
func CanonicalLogin(login string) string { return CanonicalAddress(login) }

// identity returns a user's identity for an address, or nil: the one with that address,
// or with the address without its extension, unless somebody has the one with it. One that
// is disabled is none.
func (p *Policy) identity(u *User, address string) *Identity {
	canonical := CanonicalAddress(address)
	i := u.find(canonical)
	if i != nil || len(p.users.Claimants(canonical)) > 0 {
		return i
	}
	return u.find(WithoutExtension(canonical))
}

// Has says whether an address, in canonical form, is one of the user's, disabled or not.
func (u *User) Has(canonical string) bool {
	return slices.ContainsFunc(u.Identities, func(i Identity) bool { return i.Address == canonical })
}

// find returns the identity with an address, unless it is disabled, or nil.
func (u *User) find(canonical string) *Identity {
	i := slices.IndexFunc(u.Identities, func(i Identity) bool { return i.Address == canonical && !i.Disabled })
	if i < 0 {
		return nil
	}
	return &u.Identities[i]
}

// WithoutExtension returns an address without the +extension of its local part.
func WithoutExtension(address string) string {
	local, domain, ok := cutAddress(address)
	if !ok {
		return withoutExtension(local)
	}
	return withoutExtension(local) + "@" + domain
}
