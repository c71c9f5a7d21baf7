package daemon

import (
	"context"
	"crypto/x509"
	"errors"
	"time"

	"gatemilter/milter/lookup"
	"gatemilter/milter/tlsprobe"
	"gatemilter/policy"
)

// loginLife is how long it counts that a user's own server has offered a login.
const loginLife = 10 * time.Minute

// A userHost is a server of users' own, as a transport delivers to it. Postfix's client
// asks for a login only where the server offers AUTH, sends the mail without it where it
// doesn't, and has no setting that demands one. So the server is asked here before: no
// login offered, no permission to deliver. That takes a connection more for each server
// and transport every ten minutes (two where TLS is none), and one for each attempt while
// no login is offered.
//
// What this can't see: a server that stops offering it within the ten minutes, or of whose
// addresses or machines one does and another doesn't.
type userHost struct {
	name string
	port uint16
	tls  policy.UserTLS

	// level is the TLS policy with which it has been seen to offer a login.
	level *look
}

func newUserHost(g *policy.UserGateway) *userHost {
	return &userHost{name: g.Host, port: g.Port, tls: g.TLS, level: newLook()}
}

// A prober looks at what a host offers.
type prober func(context.Context, tlsprobe.Target) (tlsprobe.Report, error)

// probeLogin is the prober of the running daemon.
var probeLogin = proberOf(new(tlsprobe.Prober))

// proberOf trusts nobody's certificate, and needs not to: Postfix judges it.
func proberOf(p *tlsprobe.Prober) prober {
	return func(ctx context.Context, t tlsprobe.Target) (tlsprobe.Report, error) {
		return p.Probe(ctx, t, x509.NewCertPool())
	}
}

// permit answers with what must hold of the connection, if the server offers a login.
func (h *userHost) permit(ctx context.Context, probe prober, failed func(error)) lookup.Answer {
	return answerOf(h.level.ask(ctx, loginLife, func(ctx context.Context) (string, error) {
		level, err := h.look(ctx, probe)
		if err != nil {
			failed(err)
		}
		return level, err
	}))
}

// look returns the TLS policy, in the words of Postfix's TLS_README, with which the server
// has been seen to offer a login.
func (h *userHost) look(ctx context.Context, probe prober) (level string, err error) {
	target := tlsprobe.ServerTarget(&policy.UserGateway{Host: h.name, Port: h.port, TLS: h.tls}, h.tls != policy.NoTLS)
	report, err := probe(ctx, target)
	switch {
	case err != nil:
		return "", err
	case h.tls == policy.NoTLS && report.Address.IsValid():
		return lookInClear(ctx, probe, target, report.Login)
	case !report.Login.Holds:
		return "", errors.New(report.Login.Reason)
	}
	return asking("secure match=hostname", target), nil
}

// asking is a TLS policy with which Postfix asks for a host's name, if that is asked for.
func asking(level string, t tlsprobe.Target) string {
	if t.SNI == "" {
		return level
	}
	return level + " servername=hostname"
}

// lookInClear is look where TLS is not demanded, but taken if there is any: it leaves
// Postfix no way on which no login is offered. (Many offer one only after STARTTLS.)
func lookInClear(ctx context.Context, probe prober, target tlsprobe.Target, secure tlsprobe.Check) (level string, err error) {
	target.Clear = true
	report, err := probe(ctx, target)
	switch {
	case err != nil:
		return "", err
	case secure.Holds && report.Login.Holds:
		return "may", nil
	case secure.Holds:
		return "encrypt", nil
	case report.Login.Holds:
		return "none", nil
	}
	return "", errors.New(report.Login.Reason)
}
