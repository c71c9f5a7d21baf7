package daemon

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatemilter/milter/lookup"
	"gatemilter/milter/tlsprobe"
	"gatemilter/policy"
)

// reached is where the probes of these tests connect to.
var reached = netip.MustParseAddrPort("192.0.2.1:587")

var (
	offered   = tlsprobe.Check{Holds: true}
	noneFound = tlsprobe.Check{Finding: tlsprobe.Finding{Problem: tlsprobe.NoLogin, Reason: "the server offers no login"}}
	noTLS     = tlsprobe.Check{Finding: tlsprobe.Finding{Problem: tlsprobe.NoSTARTTLS, Reason: "the server does not offer STARTTLS"}}
	down      = tlsprobe.Check{Finding: tlsprobe.Finding{Problem: tlsprobe.Refused, Reason: "connection refused"}}
)

// O4: there is permission to deliver only where a login is offered, and only for the ways on
// which it is.
func TestO4PermissionNeedsLogin(t *testing.T) {
	for _, c := range []struct {
		what          string
		tls           policy.UserTLS
		secure, clear tlsprobe.Check // what is seen with TLS and without
		level, reason string         // the answer, or why there is none
	}{
		{"STARTTLS", policy.STARTTLS, offered, noneFound, "secure match=hostname servername=hostname", ""},
		{"STARTTLS, login in clear only", policy.STARTTLS, noneFound, offered, "", "the server offers no login"},
		{"no STARTTLS", policy.STARTTLS, noTLS, offered, "", "the server does not offer STARTTLS"},
		{"from the start", policy.ImplicitTLS, offered, noneFound, "secure match=hostname servername=hostname", ""},
		{"from the start, no login", policy.ImplicitTLS, noneFound, offered, "", "the server offers no login"},
		{"down", policy.ImplicitTLS, down, down, "", "connection refused"},
		{"TLS doesn't matter", policy.NoTLS, offered, offered, "may", ""},
		{"with TLS only", policy.NoTLS, offered, noneFound, "encrypt", ""},
		{"in clear only", policy.NoTLS, noneFound, offered, "none", ""},
		{"there is no TLS", policy.NoTLS, noTLS, offered, "none", ""},
		{"TLS doesn't matter, no login", policy.NoTLS, noneFound, noneFound, "", "the server offers no login"},
		{"TLS doesn't matter, down", policy.NoTLS, down, offered, "", "connection refused"},
	} {
		host := newUserHost(&policy.UserGateway{Host: "smtp.example", Port: 587, TLS: c.tls})
		probe := func(_ context.Context, got tlsprobe.Target) (tlsprobe.Report, error) {
			want := tlsprobe.Target{Host: "smtp.example", Port: 587, Implicit: c.tls == policy.ImplicitTLS, Clear: got.Clear}
			if c.tls != policy.NoTLS {
				want.SNI = want.Host
			}
			if got != want || got.Clear && c.tls != policy.NoTLS {
				t.Errorf("%s: probed as %+v", c.what, got)
			}
			r := tlsprobe.Report{Login: c.secure}
			if got.Clear {
				r.Login = c.clear
			}
			if r.Login != down {
				r.Address = reached
			}
			return r, nil
		}
		var failures []string
		got := host.permit(t.Context(), probe, func(err error) { failures = append(failures, err.Error()) })
		if want := map[bool]lookup.Answer{true: lookup.Temp(c.reason), false: lookup.OK(c.level)}[c.level == ""]; got != want {
			t.Errorf("%s: %v, want %v", c.what, got, want)
		}
		if logged := strings.Join(failures, "\n"); logged != c.reason {
			t.Errorf("%s: logged %q, want %q", c.what, logged, c.reason)
		}
	}
}

// What is held back stands in the log, with the server and the reason; and what a process is
// about to do is noted all the same.
func TestO4NoLoginIsLogged(t *testing.T) {
	d, logs := usersDaemon(t, twoUsers)
	d.probe = func(context.Context, tlsprobe.Target) (tlsprobe.Report, error) {
		if _, begun := d.attempts.of(lookup.Peer{PID: 11}, "gatemilter-user"); !begun {
			t.Error("the attempt is noted only after the probe")
		}
		return tlsprobe.Report{}, errors.New("no such thing")
	}
	tls := d.tables()["user-tls"]
	if tls.Limit != probeLimit {
		t.Errorf("a probe may take %v", tls.Limit)
	}
	if got := tls.Lookup(t.Context(), lookup.Peer{PID: 11}, "[smtp.partner.example]:587"); got != lookup.Temp("no such thing") {
		t.Errorf("answered with %v", got)
	}
	want := "mail is held back: the user's server is not seen to offer a login [smtp.partner.example]:587 no such thing"
	if got := logsOf(logs); got != want {
		t.Errorf("logged %q, want %q", got, want)
	}
}

// A counter is a prober that takes a second, and counts.
type counter struct {
	probes int
	login  tlsprobe.Check
}

func (c *counter) probe(ctx context.Context, _ tlsprobe.Target) (tlsprobe.Report, error) {
	c.probes++
	select {
	case <-time.After(time.Second):
		return tlsprobe.Report{Address: reached, Login: c.login}, nil
	case <-ctx.Done():
		return tlsprobe.Report{}, ctx.Err()
	}
}

// A login that was offered counts for ten minutes; a failure for nobody who asks later.
func TestLoginIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host, c := newUserHost(&policy.UserGateway{Host: "smtp.example"}), &counter{login: noneFound}
		ask := func(wantProbes int, want lookup.Answer) {
			t.Helper()
			got := host.permit(t.Context(), c.probe, func(error) {})
			if got != want || c.probes != wantProbes {
				t.Errorf("%v after %d probes, want %v after %d", got, c.probes, want, wantProbes)
			}
		}
		no, yes := lookup.Temp("the server offers no login"), lookup.OK("secure match=hostname servername=hostname")
		ask(1, no)
		ask(2, no)
		c.login = offered
		ask(3, yes)
		c.login = noneFound
		time.Sleep(loginLife - time.Second)
		ask(3, yes)
		time.Sleep(time.Second)
		ask(4, no)
		ask(5, no)
	})
}

// Those who ask at once share a probe, whatever comes of it, and nobody waits longer than
// his time. Who asks for another server is not held up.
func TestProbeIsShared(t *testing.T) {
	for _, login := range []tlsprobe.Check{offered, noneFound} {
		synctest.Test(t, func(t *testing.T) {
			host, other := newUserHost(&policy.UserGateway{Host: "smtp.example"}), newUserHost(&policy.UserGateway{})
			c, failures := &counter{login: login}, 0
			var all sync.WaitGroup
			began := time.Now()
			for range 20 {
				all.Go(func() {
					if got := host.permit(t.Context(), c.probe, func(error) { failures++ }); (got == lookup.OK("secure match=hostname servername=hostname")) != login.Holds {
						t.Errorf("answered with %v", got)
					}
				})
			}
			synctest.Wait()
			impatient, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			if got := host.permit(impatient, c.probe, nil); got != lookup.Temp("the probe of the server took too long") || time.Since(began) != time.Millisecond {
				t.Errorf("one with little time: %v after %v", got, time.Since(began))
			}
			other.permit(t.Context(), everything, nil)
			if took := time.Since(began); took != time.Millisecond {
				t.Errorf("another server's mail waited until %v", took)
			}
			all.Wait()
			if c.probes != 1 || failures == 1 == login.Holds || time.Since(began) != time.Second {
				t.Errorf("login %v: %d probes, %d failures, %v", login.Holds, c.probes, failures, time.Since(began))
			}
		})
	}
}
