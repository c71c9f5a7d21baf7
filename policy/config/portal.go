package config

import "net/netip"

// Identities says where the identities are that users have attached themselves.
type Identities struct {
	// Database is "sqlite:PATH", a postgres URL without a password, or "" for none.
	Database string
	// KeyFile holds the keys that encrypt the passwords in it.
	KeyFile string
	// SnapshotFile is what a daemon begins with while the database can't be reached.
	SnapshotFile string
}

// Portal says where and how users attach addresses themselves.
type Portal struct {
	// Listen is where it is served; empty: nowhere.
	Listen []Listener
	// URL is how users reach it, https://HOST[:PORT][/PATH] without a slash at its end.
	URL string
	// Certificate and Key are files in PEM; empty behind a proxy that does TLS.
	Certificate, Key string
	// TrustedProxies may say for whom they ask (X-Forwarded-For).
	TrustedProxies []netip.Prefix
	// Submission is the server, HOST and port, that tells whether a login is right.
	Submission Submission
	// AccountDomain completes logins that are no address, or is empty.
	AccountDomain string
	// Ports are those that a user's server may have.
	Ports []uint16
	// AllowedNetworks are those inside, in which users' servers may be nevertheless.
	AllowedNetworks []netip.Prefix
	// Relay is the host and port that takes codes for addresses without a server of their own.
	Relay netip.AddrPort
}

// Submission is a server to which users log in to send mail.
type Submission struct {
	Host     string
	Port     uint16
	Implicit bool // TLS from the start
	// CAFile holds the authorities that are trusted for it; empty: the system's.
	CAFile string
}
