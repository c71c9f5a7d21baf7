package daemon

import (
	"fmt"
	"os"

	"gatemilter/milter"
	"gatemilter/policy"
	"gatemilter/policy/auth"
	"gatemilter/policy/auth/dns"
	"gatemilter/policy/config"
)

// NewRules makes of a configuration what messages are judged by. It opens no
// connection.
func NewRules(c *config.Config) (milter.Rules, error) {
	rules, _, err := newRules(c)
	return rules, err
}

// newRules also returns the counts of the questions to the DNS, or nil if there are to be
// none.
func newRules(c *config.Config) (milter.Rules, func() dns.Stats, error) {
	rules := milter.Rules{Policy: c.Policy}
	wanted := auth.Config{
		AuthservID:  c.Server.AuthservID,
		SPF:         c.Authentication.SPF,
		DKIM:        c.Authentication.DKIM,
		DMARC:       c.Settings.DMARC != policy.DMARCOff,
		ReceivedSPF: c.Authentication.ReceivedSPF,
		Signatures:  c.Authentication.Signatures,
	}
	for _, g := range c.Settings.Gateways {
		wanted.DMARC = wanted.DMARC || g.DMARC != nil && *g.DMARC != policy.DMARCOff
	}
	if !wanted.SPF && !wanted.DKIM && !wanted.DMARC {
		return rules, nil, nil
	}
	if wanted.AuthservID == "" {
		name, err := os.Hostname()
		if err != nil {
			return rules, nil, fmt.Errorf("name of this host is not known: %w; set authserv_id in [server]", err)
		}
		wanted.AuthservID = policy.CanonicalDomain(name)
	}
	client, err := dns.New(dns.Config{Servers: c.DNS.Servers, Timeout: c.DNS.Timeout})
	if err != nil {
		return rules, nil, fmt.Errorf("[dns]: %w", err)
	}
	rules.Checker = auth.New(wanted, client)
	return rules, client.Stats, nil
}
