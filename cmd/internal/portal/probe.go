package portal

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"gatemilter/cmd/internal/visible"
	"gatemilter/milter/tlsprobe"
	"gatemilter/policy"
)

// guarded is the dialler for servers that a user has named.
func (s *Server) guarded(ctx context.Context, network, address string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, tlsprobe.Finding{Problem: tlsprobe.Inside, Reason: "no address"}
	}
	if err := tlsprobe.CheckPublic(to.Addr(), s.Config.AllowedNetworks); err != nil {
		return nil, err
	}
	return s.Prober.Dial(ctx, network, address)
}

// reach logs in to a user's server, and gives it the letter if there is one. It takes the same
// way as a delivery: TLS with a certificate that holds for the host.
func (v *visit) reach(g *policy.UserGateway, letter *tlsprobe.Letter) (tlsprobe.Report, error) {
	p := v.Prober
	p.Dial, p.Refuse = v.guarded, tlsprobe.RefuseInside(v.Config.AllowedNetworks)
	p.Login = &tlsprobe.Login{Username: g.Username, Password: g.Password}
	p.Letter = letter
	return v.probe(&p, tlsprobe.ServerTarget(g, v.SNI), v.Roots)
}

// relay gives a letter to our own mail server. Without a login: it takes mail from this host.
// TLS is taken where the server offers it, and not needed within this host.
func (v *visit) relay(letter *tlsprobe.Letter) (tlsprobe.Report, error) {
	if !v.Config.Relay.IsValid() {
		return tlsprobe.Report{}, errors.New("the portal has no relay to send codes by: write relay = 127.0.0.1:25 into [portal]")
	}
	p := v.Prober
	p.Letter = letter
	ip := v.Config.Relay.Addr().Unmap()
	target := tlsprobe.Target{Host: ip.String(), Port: v.Config.Relay.Port(), Clear: ip.IsLoopback()}
	report, err := v.probe(&p, target, x509.NewCertPool())
	if err == nil && report.TLS.Problem == tlsprobe.NoSTARTTLS && !target.Clear {
		target.Clear = true
		report, err = v.probe(&p, target, x509.NewCertPool())
	}
	if err != nil || report.Sent.Holds {
		return report, err
	}
	reason := report.Sent.Reason
	if reason == "" {
		reason = report.TLS.Reason
	}
	return report, fmt.Errorf("the relay %s doesn't take the portal's message: %s %s", v.Config.Relay, reason, visible.Text(report.Said, 200))
}

// probe waits for its turn.
func (v *visit) probe(p *tlsprobe.Prober, t tlsprobe.Target, roots *x509.CertPool) (tlsprobe.Report, error) {
	if !v.limits.turns.begin(v.session.login, maxTurns) {
		return tlsprobe.Report{}, errBusy
	}
	defer v.limits.turns.end(v.session.login)
	if !v.limits.probes.enter(v.r.Context()) {
		return tlsprobe.Report{}, errBusy
	}
	defer v.limits.probes.leave()
	ctx, cancel := context.WithTimeout(v.r.Context(), probeTimeout)
	defer cancel()
	return p.Probe(ctx, t, roots)
}

// firstFailure is what went wrong first, or nothing. The login is judged where there was one to
// be tried, and the letter where one was to be sent.
func firstFailure(r *tlsprobe.Report) tlsprobe.Finding {
	for _, check := range []tlsprobe.Check{r.TLS, r.Trust, r.Name, r.Accepted, r.Sent} {
		if !check.Holds && check.Reason != "" {
			return check.Finding
		}
	}
	return tlsprobe.Finding{}
}

// fieldOfProblem is where a user can put something right.
var fieldOfProblem = map[tlsprobe.Problem]string{
	tlsprobe.Refused: "port", tlsprobe.Timeout: "port", tlsprobe.TLSFromStart: "port", tlsprobe.ClearFromStart: "port", tlsprobe.NoSTARTTLS: "port",
	tlsprobe.STARTTLSRefused: "port", tlsprobe.NotSMTP: "port", tlsprobe.NoLogin: "port",
	tlsprobe.LoginRefused: "password", tlsprobe.LetterRefused: "server_username",
}

// maxNames is how many names of a certificate are shown, and maxSaid how much of what a server
// said, in characters.
const (
	maxNames = 5
	maxSaid  = 300
)

// explain says in the user's words what is wrong with a server, and what can be done.
func (v *visit) explain(g *policy.UserGateway, address string, r *tlsprobe.Report) *trouble {
	f := firstFailure(r)
	if f.Problem == "" {
		return nil
	}
	key := "problem." + v.shownProblem(g, f.Problem, r.Said)
	values := []any{"host", g.Host, "port", g.Port, "address", address, "username", g.Username, "names", certificateNames(r)}
	t := &trouble{
		Field:  fieldOfProblem[f.Problem],
		Title:  v.lang.t(key+".title", values...),
		Advice: []string{v.lang.t(key+".advice", values...)},
		Said:   visible.Text(r.Said, maxSaid),
	}
	if t.Field == "" {
		t.Field = "host"
	}
	if hint := hintOf(g.Host); hint != "" && f.Problem == tlsprobe.LoginRefused {
		t.Advice = append([]string{v.lang.t(hint)}, t.Advice...)
	}
	return t
}

// shownProblem is the problem as a user is told of it. A name that leads inside is none that
// exists, to him: which names there are inside is not for everybody.
func (v *visit) shownProblem(g *policy.UserGateway, p tlsprobe.Problem, said string) string {
	_, literal := netip.ParseAddr(g.Host)
	later := strings.HasPrefix(said, "4")
	switch {
	case p == tlsprobe.Inside && literal != nil:
		p = tlsprobe.HostNotFound
	case p == tlsprobe.LoginRefused && later:
		return "login-later"
	case p == tlsprobe.LoginRefused && strings.Contains(said, "5.7.9"):
		return "app-password" // RFC 5248 calls it "mechanism too weak"; providers want a password made for programs
	case p == tlsprobe.LetterRefused && later:
		return "letter-later"
	}
	return string(p)
}

func certificateNames(r *tlsprobe.Report) string {
	if len(r.Chain) == 0 {
		return "–"
	}
	var names []string
	for _, name := range r.Chain[0].Names {
		names = append(names, visible.Text(name, 80))
	}
	for _, ip := range r.Chain[0].IPs {
		names = append(names, ip.String())
	}
	switch {
	case len(names) == 0:
		return "–"
	case len(names) > maxNames:
		names = append(names[:maxNames], "…")
	}
	return strings.Join(names, ", ")
}

// serverOf is a server as events and pages show it.
func serverOf(g *policy.UserGateway) string {
	if g == nil {
		return ""
	}
	return net.JoinHostPort(g.Host, fmt.Sprint(g.Port))
}
