// Package spf checks whether the source of a message may use the sender's
// domain: the Sender Policy Framework, RFC 7208.
//
// # The subject
//
// The owner of a domain publishes in DNS which addresses send its mail, as a TXT
// record such as
//
//	v=spf1 mx ip4:192.0.2.0/24 include:provider.example -all
//
// The receiver reads the terms from the left; the first mechanism that matches the
// address gives the result (section 4.6). Behind an inbound gateway the address
// is the source, never the gateway, and HELO is what the source said to the
// gateway. Checking the gateway's own address would fail honest mail and tell
// nothing of forged mail.
//
// # Which name is checked
//
// The envelope sender's domain, identity "mailfrom". The null sender of bounces
// stands for postmaster at the HELO name, identity "helo" (section 2.4). Where a
// name is not a multi-label domain name there is nothing to check, and the result
// is none (section 4.3).
//
// # How it is evaluated
//
// blitiri.com.ar/go/spf evaluates records, behind a guard that is its only way to DNS.
// The guard refuses records with a syntax error anywhere (section 4.6; the library
// would find only those before the match), leaves ip6 out where the source has an IPv4
// address (section 5.6; the library takes ::ffff:0:0/96 for all of IPv4), asks for
// addresses of the source's family only (section 5; the library would want both) and at
// exists for IPv4 ones (section 5.7), asks only for names that DNS can hold, bounds the
// number of queries and their time (section 4.6.4), and turns every DNS trouble into
// temperror, so that it never decides about mail. There is one exception: the names of
// the source's address, for which ptr asks, have limits of their own, and trouble with
// them is no match (section 5.5), for their zones are the source's and not the sender's
// domain's. Other mechanisms lead into a zone of the source's choice only where a
// domain in the record ends in a macro such as %{h}: there section 5 leaves nothing but
// temperror.
//
// Explanations (exp=, section 6.2) are checked for syntax and not fetched: their
// text is the stranger's. The macro %{p}, which section 7.3 says not to use,
// always expands to "unknown", and a "/" in a domain is a permerror.
package spf

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"blitiri.com.ar/go/spf"

	"gatemilter/policy"
)

// evaluationTime bounds one evaluation; RFC 7208, section 4.6.4, asks for 20
// seconds at least. A caller with less time says so in its context.
const evaluationTime = 20 * time.Second

// A Resolver asks DNS, for one type of records at a time. Errors that are no
// [net.DNSError] with IsNotFound count as temporary.
type Resolver interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	LookupA(ctx context.Context, host string) ([]net.IPAddr, error)
	LookupAAAA(ctx context.Context, host string) ([]net.IPAddr, error)
	LookupAddr(ctx context.Context, addr string) ([]string, error)
}

// An Input is what is known of the hop whose right to use a name is checked.
type Input struct {
	// IP is the source IP. Not valid: there is none, the mail is internal.
	IP netip.Addr
	// Sender is the envelope sender without angle brackets; "" is the null sender.
	Sender string
	// HELO is the name with which the source introduced itself, or "" where it is
	// not known.
	HELO string
}

// Check evaluates the policy of the sender's domain for the source. It asks for at
// most 60 names, and eleven for ptr, in at most 20 seconds. Trouble, of DNS or our
// own, is the result temperror.
func Check(ctx context.Context, resolver Resolver, in Input) policy.SPF {
	if !in.IP.IsValid() {
		return Internal()
	}
	result := identify(in)
	result.IP = in.IP.Unmap().WithZone("")
	if result.Result == "" {
		result.Result, result.Reason = evaluate(ctx, resolver, result)
	}
	result.Reason = clip(result.Reason)
	return result
}

// Internal is the result for mail that has no source: it never was outside.
func Internal() policy.SPF {
	return policy.SPF{Result: policy.AuthNone, Reason: "internal mail: no source to check"}
}

// evaluate gives the result and the reason for the identity in who.
func evaluate(ctx context.Context, resolver Resolver, who policy.SPF) (result policy.AuthResult, reason string) {
	// The library reads a stranger's records: whatever it trips over is no reason
	// to lose mail.
	defer func() {
		if p := recover(); p != nil {
			result, reason = policy.AuthTempError, fmt.Sprintf("internal error: %v", p)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, evaluationTime)
	defer cancel()
	guard := &guard{resolver: resolver, ipv4: who.IP.Is4(), left: maxQueries}
	answer, err := spf.CheckHostWithSender(who.IP.AsSlice(), macroHELO(who.HELO), macroSender(who),
		spf.WithContext(ctx), spf.WithResolver(guard))
	// The library takes some failed lookups for no match (section 5.5), which
	// holds for what DNS says, not for what we had no time to ask.
	if guard.spent != nil {
		return policy.AuthTempError, explain(who, spf.TempError, guard.spent)
	}
	return policy.AuthResult(answer), explain(who, answer, err)
}
