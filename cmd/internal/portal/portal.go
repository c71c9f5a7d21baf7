package portal

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"gatemilter/milter/tlsprobe"
	"gatemilter/policy"
	"gatemilter/policy/config"
	"gatemilter/policy/identity"
)

// Options are what a portal is made of.
type Options struct {
	Config config.Portal
	Store  Store
	// Facts are those of the configuration in force.
	Facts func() Facts
	// Report is told of connections that went wrong, and of what only the administrator can
	// put right; Log of what users do. Both may be nil.
	Report func(error)
	Log    func(Event)
	// Prober is what all servers are probed with. Its Dial is asked for users' servers only
	// where these are on the public Internet, or in allowed networks.
	Prober tlsprobe.Prober
	// SNI says that the mail server asks users' servers for their name in the handshake.
	SNI bool
	// Roots are the authorities that certificates of users' servers have to chain to; nil: the
	// system's, which delivery trusts too.
	Roots *x509.CertPool
	// LookupSRV finds the servers that a domain names for its users (RFC 6186); nil: the
	// system's resolver does.
	LookupSRV func(ctx context.Context, service, proto, name string) ([]*net.SRV, error)
}

// A Store keeps the addresses: see [identity.Store], which is one.
type Store interface {
	List(ctx context.Context, login string) ([]identity.Record, error)
	Get(ctx context.Context, login, address string) (identity.Record, error)
	Add(ctx context.Context, by string, r identity.Record) error
	Change(ctx context.Context, by string, old, r identity.Record) error
	Withdraw(ctx context.Context, by, login, address string) error
	NewCode(ctx context.Context, by, login, address string) (code string, err error)
	Confirm(ctx context.Context, by, login, address, code string) (identity.Record, error)
}

// Facts are what the portal has to know of the configuration in force.
type Facts struct {
	AllowUserGateways bool
	// Domains are our own, by [policy.CanonicalDomain].
	Domains map[string]bool
	// Configured is what the administrator has written down about a user, or nil.
	Configured func(login string) *policy.User
	// SenderHeader says that mail which our servers send as another address names the account.
	SenderHeader bool
	// Observe says that nothing is done yet, only logged.
	Observe bool
}

// A Server is a portal.
type Server struct {
	Options
	http     *http.Server
	keys     *keyPair // nil: TLS is the proxy's
	url      *url.URL
	host     string // as in Host headers of requests that are for us
	base     string // path before all of ours, without a slash at its end
	secure   bool   // whether browsers come by https
	crossing *http.CrossOriginProtection
	sessions *sessions
	limits   *limits
	now      func() time.Time
}

// New makes a portal. Its errors are about files that can't be used, or a configuration that
// has not been checked.
func New(o Options) (*Server, error) {
	at, err := url.Parse(o.Config.URL)
	switch {
	case err != nil:
		return nil, err
	case at.Scheme != "https" && at.Scheme != "http" || at.Host == "":
		return nil, errors.New("the portal's url is none: write it as in https://mail.example.com/addresses")
	case o.Store == nil || o.Facts == nil:
		return nil, errors.New("a portal needs a store and facts")
	}
	s := &Server{
		Options:  o.withDefaults(),
		url:      at,
		host:     hostOf(at.Scheme, at.Host),
		base:     strings.TrimRight(at.Path, "/"),
		secure:   at.Scheme == "https",
		crossing: http.NewCrossOriginProtection(),
		now:      time.Now,
	}
	s.sessions = newSessions(func() time.Time { return s.now() })
	s.limits = newLimits(func() time.Time { return s.now() })
	if err := s.crossing.AddTrustedOrigin(at.Scheme + "://" + at.Host); err != nil {
		return nil, err
	}
	if s.Config.Certificate != "" {
		if s.keys, err = loadKeyPair(s.Config.Certificate, s.Config.Key, s.Report); err != nil {
			return nil, err
		}
	}
	s.http = s.newHTTP()
	return s, nil
}

func (o Options) withDefaults() Options {
	if o.Report == nil {
		o.Report = func(error) {}
	}
	if o.Log == nil {
		o.Log = func(Event) {}
	}
	if o.LookupSRV == nil {
		o.LookupSRV = func(ctx context.Context, service, proto, name string) ([]*net.SRV, error) {
			_, all, err := net.DefaultResolver.LookupSRV(ctx, service, proto, name)
			return all, err
		}
	}
	if o.Prober.Lookup == nil {
		o.Prober.Lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if o.Prober.Dial == nil {
		o.Prober.Dial = new(net.Dialer).DialContext
	}
	if o.Prober.Timeout <= 0 {
		o.Prober.Timeout = stepTimeout
	}
	return o
}

// An Event is something that a user did, or that was refused. It has no secrets.
type Event struct {
	Kind   Kind
	Result string // "ok", or why not: a word of ours, or a [tlsprobe.Problem]
	Login  string // as entered, where the kind is LoggedIn and the result is not ok
	Client string // the address that the request came from
	// Address is the user's, and Server, HOST:PORT, the one tried, where there are any.
	Address, Server string
	// Reason says more; it may hold what a server sent.
	Reason string
}

// A Kind is what an event is about.
type Kind string

// Kinds of events.
const (
	LoggedIn    Kind = "login"
	LoggedOut   Kind = "logout"
	Tested      Kind = "test"
	Saved       Kind = "save"
	CodeSent    Kind = "code-sent"
	CodeEntered Kind = "code-entered"
	RemovedOne  Kind = "remove"
	Limited     Kind = "limited"
	Refused     Kind = "refused" // a request that no browser of a user's sends by itself
)

// OK is the result of an event where all went well.
const OK = "ok"
