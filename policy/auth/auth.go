// Package auth authenticates the messages of a mail server with their true
// source: SPF, DKIM and DMARC, and the Authentication-Results field that tells
// the results to the mail reader and the filters behind us.
//
// # The subject
//
// SPF (RFC 7208, package spf) asks whether the source may use the envelope
// sender's domain. DKIM (RFC 6376, package dkim) verifies signatures. DMARC
// (RFC 9989, package dmarc) asks whether either belongs to the domain that the
// reader sees in From, and what that domain's owner wants done if not. Behind
// an inbound gateway the first needs the address that handed the message to the
// gateway, not the gateway's own: that is what policy finds out, and passes on here.
//
// # When
//
// A [Checker] begins when the header of a message is there: it looks up the keys of
// signatures while the body still comes in, which it reads only if there is a
// signature to verify. The rest, a few lookups that are mostly in the cache, waits
// for the end of the message: a goroutine for each message would cost more
// than it saves. What is not known within the limits of time and queries is a
// temporary error, which never refuses mail by itself.
package auth

import (
	"context"
	"net/netip"
	"time"

	"gatemilter/policy"
	"gatemilter/policy/auth/authres"
	"gatemilter/policy/auth/dkim"
	"gatemilter/policy/auth/dmarc"
	"gatemilter/policy/auth/dns"
	"gatemilter/policy/auth/spf"
)

// Limits for one message. Each method has time and queries of its own: the sender
// writes the records that SPF and DKIM ask for, and must not be able to use up what
// DMARC needs to ask for the author's. Together they stay below the 30 s that a
// decision may take.
const (
	// spfTime and dmarcTime are what each may take at the end of the message. (DKIM has
	// 10 s from the header on.)
	spfTime   = 8 * time.Second
	dmarcTime = 10 * time.Second
	// The DNS queries that each may cause. SPF takes one for each of 60 names, and
	// eleven for ptr; a message with four authors takes 60 for DMARC.
	maxSPFQueries   = 75
	maxDMARCQueries = 120
)

// A Config says what is authenticated.
type Config struct {
	// AuthservID is the name under which results are reported (RFC 8601,
	// section 2.5).
	AuthservID string
	// SPF, DKIM and DMARC say which methods are asked. DMARC without the other
	// two knows of no authenticated domain.
	SPF, DKIM, DMARC bool
	// ReceivedSPF adds a Received-SPF field too.
	ReceivedSPF bool
	// Signatures is how many DKIM signatures of a message are verified; 0 is 5.
	Signatures int
}

// A Checker authenticates messages.
type Checker struct {
	config             Config
	dns                *dns.Client
	spfTime, dmarcTime time.Duration
}

var _ policy.Checker = (*Checker)(nil)

// New makes a checker that asks client.
func New(c Config, client *dns.Client) *Checker { return &Checker{c, client, spfTime, dmarcTime} }

// Begin starts with a message whose header is there.
func (c *Checker) Begin(ctx context.Context, r policy.AuthRequest) policy.Authenticator {
	m := &message{checker: c, request: r}
	if c.config.DKIM {
		// One query for each signature, whose number is limited.
		m.dkim = dkim.Begin(ctx, r.Header, c.dns.LookupTXT, dkim.Limits{Signatures: c.config.Signatures, Cached: c.dns.CachedTXT})
	}
	return m
}

// Report returns the fields that tell the results.
func (c *Checker) Report(a *policy.Authentication, v *policy.Verdict) []policy.Field {
	var source netip.Addr
	if v.Source.Outcome == policy.External {
		// As a fallback, it would be the gateway.
		source = v.Source.IP
	}
	fields := []policy.Field{{
		Name:  "Authentication-Results",
		Value: authres.Format(c.config.AuthservID, source, v.Gateway, *a),
	}}
	if c.config.ReceivedSPF && a.SPF.Result != "" {
		fields = append(fields, policy.Field{Name: "Received-SPF", Value: authres.ReceivedSPF(a.SPF, c.config.AuthservID)})
	}
	return fields
}

// Claims says whether a field is a report that could be taken for one of ours.
func (c *Checker) Claims(f *policy.Field) bool {
	switch {
	case f.Is("Authentication-Results"):
		return authres.Claims(f.Value, c.config.AuthservID)
	case f.Is("Received-SPF"):
		return c.config.ReceivedSPF && authres.ClaimsReceivedSPF(f.Value, c.config.AuthservID)
	}
	return false
}

// message is a message that is being authenticated.
type message struct {
	checker *Checker
	request policy.AuthRequest
	dkim    *dkim.Check
}

func (m *message) WantsBody() bool { return m.dkim != nil && m.dkim.WantsBody() }

func (m *message) Write(p []byte) {
	if m.dkim != nil {
		m.dkim.Write(p)
	}
}

func (m *message) Abort() {
	if m.dkim != nil {
		m.dkim.Abort()
	}
}

// Finish returns the results. DKIM comes first, since its lookups have been under way
// for the longest time, and DMARC last, since it judges the others.
func (m *message) Finish(ctx context.Context) policy.Authentication {
	config := &m.checker.config
	var a policy.Authentication
	if config.DKIM {
		a.DKIM = m.dkim.Finish(ctx)
	}
	if config.SPF {
		a.SPF = m.checkSPF(ctx)
	}
	if config.DMARC {
		a.DMARC = m.checkDMARC(ctx, &a)
	}
	if config.DKIM && len(a.DKIM) == 0 {
		a.DKIM = []policy.DKIM{{Result: policy.AuthNone, Reason: "no signature"}}
	}
	return a
}

// checkSPF asks SPF about the source, if there is one outside of the gateways.
func (m *message) checkSPF(ctx context.Context) policy.SPF {
	switch s := m.request.Source; s.Outcome {
	case policy.External:
		ctx, cancel := context.WithTimeout(ctx, m.checker.spfTime)
		defer cancel()
		result := spf.Check(ctx, m.checker.dns.WithBudget(maxSPFQueries), spf.Input{IP: s.IP, Sender: m.request.Sender, HELO: s.HELO})
		if result.Result == policy.AuthPass && s.Doubtful() {
			// The sender may have chosen the address: no pass in our name.
			result.Result, result.Reason = policy.AuthPolicy, "the source stands beneath a hop that could not be read"
		}
		return result
	case policy.Fallback:
		return policy.SPF{Result: policy.AuthNone, Reason: "no source is known behind the gateway"}
	}
	return spf.Internal()
}

// checkDMARC judges the other results. A failure counts only if SPF could have
// passed: without a source, an honest message may have nothing to show.
func (m *message) checkDMARC(ctx context.Context, a *policy.Authentication) policy.DMARC {
	ctx, cancel := context.WithTimeout(ctx, m.checker.dmarcTime)
	defer cancel()
	d := dmarc.Evaluate(ctx, m.checker.dns.WithBudget(maxDMARCQueries), dmarc.Input{From: m.from(), SPF: a.SPF, DKIM: a.DKIM})
	if s := m.request.Source; d.Result == policy.AuthFail && (s.Outcome != policy.External || s.Doubtful()) {
		d.Result, d.Reason = policy.AuthNone, "no source is known to compare with"
	}
	return d
}

func (m *message) from() []string {
	var values []string
	for i := range m.request.Header {
		if f := &m.request.Header[i]; f.Is("From") {
			values = append(values, f.Value)
		}
	}
	return values
}
