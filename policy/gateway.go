package policy

import (
	"strings"

	"github.com/gaissmai/bart"
)

// gateway is a compiled Gateway.
type gateway struct {
	Gateway
	hosts *bart.Lite
	// chain holds the hosts of all gateways that serve a domain together with
	// this one: mail may pass several of them before it reaches us.
	chain *bart.Lite
}

// certified says whether the client has shown the certificate that the gateway
// must have, if any.
func (g *gateway) certified(c *Client) bool {
	return g.TLSCertificate == "" || c.Certificate != "" && isASCII(c.Certificate) && strings.EqualFold(strings.TrimSuffix(c.Certificate, "."), strings.TrimSuffix(g.TLSCertificate, "."))
}

// decideTLS refuses a client that doesn't use the TLS which the gateway has to
// use.
func (g *gateway) decideTLS(c *Client) Decision {
	switch {
	case c.TLS >= g.MinTLS:
		return Decision{}
	case c.TLS == TLSNone:
		return refuse(Reply{530, "5.7.0", "TLS is required, issue STARTTLS first"},
			Reason{TLSMissing, "gateway " + g.Name + " must use TLS"})
	}
	return refuse(Reply{530, "5.7.0", "TLS " + g.MinTLS.String() + " or newer is required"},
		Reason{TLSTooOld, "gateway " + g.Name + " must use TLS " + g.MinTLS.String() + " or newer, not " + c.TLS.String()})
}
