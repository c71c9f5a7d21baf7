package doctor

import (
	"context"
	"fmt"
	"time"

	"gatemilter/policy"
	"gatemilter/policy/auth/dns"
)

// anyDomain is what a name server is asked about where there is no domain of ours: it
// exists (RFC 2606).
const anyDomain = "example.com"

// slow is the time from which on a name server delays mail.
const slow = time.Second

// dns asks each name server: one that doesn't answer costs each message the timeout.
func (x *examination) dns(ctx context.Context) []Check {
	client, err := dns.New(dns.Config{Servers: x.config.DNS.Servers, Timeout: x.config.DNS.Timeout})
	if err != nil {
		return []Check{fail(onDNS, "name servers", err.Error(), "write into [dns]: servers = 127.0.0.1:53, or the address of another name server")}
	}
	question := anyDomain
	if domains := x.domains(); len(domains) > 0 {
		question = domains[0]
	}
	servers := client.Servers()
	answered := make([]bool, len(servers))
	checks := inParallel(len(servers), func(i int) []Check {
		c := x.nameServer(ctx, servers[i], question)
		answered[i] = c.Fix == "" || c.State == Warn
		return []Check{c}
	})
	return x.lenient(checks, answered)
}

// lenient makes failures warnings where another server answers, or no mail needs any.
func (x *examination) lenient(checks []Check, answered []bool) []Check {
	spare := !x.asksDNS()
	for _, a := range answered {
		spare = spare || a
	}
	for i := range checks {
		if spare && checks[i].State == Fail {
			checks[i].State = Warn
		}
	}
	return checks
}

// asksDNS says whether messages are authenticated.
func (x *examination) asksDNS() bool {
	return x.config.Authentication.SPF || x.config.Authentication.DKIM || x.config.Settings.DMARC != policy.DMARCOff
}

// nameServer asks one. That there is nothing by a name is an answer too.
func (x *examination) nameServer(ctx context.Context, server, question string) Check {
	what := "name server " + server
	fix := "write into [dns] of " + x.Config + ": servers = name servers that answer this host"
	if len(x.config.DNS.Servers) == 0 {
		fix = "correct /etc/resolv.conf, or " + fix
	}
	client, err := dns.New(dns.Config{Servers: []string{server}, Timeout: x.config.DNS.Timeout})
	if err != nil {
		return fail(onDNS, what, err.Error(), fix)
	}
	begin := time.Now()
	_, err = client.LookupMX(ctx, question)
	took := time.Since(begin)
	switch {
	case err != nil && !notFound(err):
		return fail(onDNS, what, fmt.Sprintf("gives no answer about %s: %v", question, err), fix)
	case took > slow:
		return warn(onDNS, what, fmt.Sprintf("answers in %s, for which mail has to wait", took.Round(time.Millisecond)), fix)
	}
	return ok(onDNS, what, "answers in "+took.Round(time.Millisecond).String())
}
