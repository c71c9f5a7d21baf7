package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"gatemilter/cmd/internal/verify"
	"gatemilter/milter/tlsprobe"
	"gatemilter/policy/config"
)

// soon is how long before its end a certificate that nobody has renewed is worth a warning.
const soon = 14 * 24 * time.Hour

// portal looks at the pages on which users attach addresses: whether they are served, with which
// certificate, and at the mail servers that they need.
func (x *examination) portal(ctx context.Context) []Check {
	p := &x.config.Portal
	if len(p.Listen) == 0 {
		return nil
	}
	var checks []Check
	for _, l := range p.Listen {
		checks = append(checks, x.serves(ctx, l))
	}
	if p.Certificate != "" {
		checks = append(checks, x.ownCertificate())
	} else if proxied := slices.IndexFunc(p.Listen, func(l config.Listener) bool { return l.Network != "unix" }); proxied >= 0 && len(p.TrustedProxies) == 0 && strings.HasPrefix(p.URL, "https:") {
		checks = append(checks, x.oneClient(p.Listen[proxied]))
	}
	if !x.Offline {
		checks = append(checks, inParallel(3, func(i int) []Check {
			return []Check{[]func(context.Context) Check{x.fromOutside, x.submission, x.relay}[i](ctx)}
		})...)
	}
	return checks
}

// serves asks for the first page at a listener.
func (x *examination) serves(ctx context.Context, l config.Listener) Check {
	what := "listen " + l.String()
	client := &http.Client{Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, l.Network, l.Address)
			},
			// The certificate is looked at apart from this.
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		}}
	defer client.CloseIdleConnections()
	at, err := url.Parse(x.config.Portal.URL)
	if err != nil {
		return fail(onPortal, what, err.Error(), "correct url in [portal]")
	}
	if at.Scheme = "http"; x.config.Portal.Certificate != "" {
		at.Scheme = "https"
	}
	switch status, err := get(ctx, client, at.String()); {
	case errors.Is(err, fs.ErrPermission):
		return warn(onPortal, what, "the user who runs this may not connect, so it is not known whether it answers", "run doctor as root")
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return fail(onPortal, what, "nobody listens there: gatemilter does not run, or has been started with another configuration", startDaemon)
	case err != nil:
		return fail(onPortal, what, err.Error(), "stop what listens there, and run "+startDaemon)
	case status >= http.StatusBadRequest:
		return fail(onPortal, what, fmt.Sprintf("it answers with status %d: it is another server, or has been started with another url", status), startDaemon)
	}
	return ok(onPortal, what, "answers")
}

// oneClient says what becomes of the limits where all requests come from a proxy that is not trusted
// to say for whom it asks.
func (x *examination) oneClient(l config.Listener) Check {
	host, _, err := net.SplitHostPort(l.Address)
	if err != nil {
		host = l.Address
	}
	return warn(onPortal, "trusted_proxies", "requests come to "+l.String()+" from a proxy, and none is trusted to say for whom it asks: all users count as one client, so that one who tries passwords locks all others out",
		fmt.Sprintf("write into [portal] of %s: trusted_proxies = %s, let the proxy set X-Forwarded-For to the client's address, and run %s", x.Config, host, startDaemon))
}

// get asks for a page and returns the status.
func get(ctx context.Context, client *http.Client, at string) (status int, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return 0, err
	}
	answer, err := client.Do(request)
	var outer *url.Error
	if errors.As(err, &outer) {
		err = outer.Err // the rest is known
	}
	if err != nil {
		return 0, err
	}
	answer.Body.Close()
	return answer.StatusCode, nil
}

// ownCertificate looks whether the certificate is for the host of the URL, and when it ends.
func (x *examination) ownCertificate() Check {
	p := &x.config.Portal
	what := "certificate " + p.Certificate
	pair, err := tls.LoadX509KeyPair(p.Certificate, p.Key)
	if errors.Is(err, fs.ErrPermission) {
		return warn(onPortal, what, err.Error(), "run doctor as root")
	}
	if err == nil && pair.Leaf == nil {
		pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0])
	}
	if err != nil {
		return fail(onPortal, what, err.Error(), "get the certificate again, with the key that it was made for")
	}
	at, err := url.Parse(p.URL)
	if err != nil {
		return fail(onPortal, what, err.Error(), "correct url in [portal]")
	}
	leaf, now := pair.Leaf, x.Now()
	until := "until " + leaf.NotAfter.UTC().Format(time.DateOnly)
	switch {
	case leaf.VerifyHostname(at.Hostname()) != nil:
		return fail(onPortal, what, fmt.Sprintf("it is for %s, and users go to %s", bearerOf(leaf), at.Hostname()), "get a certificate for "+at.Hostname()+", or write the name that it has into url of [portal]")
	case now.After(leaf.NotAfter):
		return fail(onPortal, what, "it was good "+until, "renew it; gatemilter takes the new one by itself")
	case now.Before(leaf.NotBefore):
		return fail(onPortal, what, "it is good from "+leaf.NotBefore.UTC().Format(time.DateOnly)+" on only", "look at the clock, or get another one")
	case now.Add(soon).After(leaf.NotAfter):
		return warn(onPortal, what, "it is good only "+until, "see why it is not renewed; gatemilter takes a new one by itself")
	}
	return ok(onPortal, what, "for "+at.Hostname()+", "+until)
}

func bearerOf(c *x509.Certificate) string {
	names := append([]string(nil), c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if names == nil {
		return "no name at all"
	}
	return strings.Join(names, ", ")
}

// fromOutside goes to the portal as its users do, by the proxy if there is one.
func (x *examination) fromOutside(ctx context.Context) Check {
	p := &x.config.Portal
	what := "url " + p.URL
	client := &http.Client{Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: x.Roots}}}
	status, err := get(ctx, client, p.URL)
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &certificate):
		return fail(onPortal, what, "its certificate does not hold, so browsers warn of it: "+certificate.Err.Error(), "give the proxy, or [portal], a certificate for that name, with those between it and its authority")
	case err != nil:
		return warn(onPortal, what, "can't be reached from this host: "+err.Error(), "see in a browser elsewhere whether the page comes; if not, look at the name in the DNS, the firewall and the proxy")
	case status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout:
		return fail(onPortal, what, fmt.Sprintf("the proxy answers with status %d: it does not reach gatemilter", status), "let it pass requests on to "+p.Listen[0].String())
	case status == http.StatusMisdirectedRequest:
		return fail(onPortal, what, "the proxy does not pass on which host is asked for (status 421)", "let it keep the field Host: proxy_set_header Host $http_host for nginx, ProxyPreserveHost On for Apache")
	case status >= http.StatusBadRequest:
		return fail(onPortal, what, fmt.Sprintf("answers with status %d", status), "let the proxy pass the path on as it is, to "+p.Listen[0].String())
	}
	return ok(onPortal, what, "answers")
}

// submission looks at the server that users log in to.
func (x *examination) submission(ctx context.Context) Check {
	s := x.config.Portal.Submission
	t := tlsprobe.Target{Host: s.Host, Port: s.Port, Implicit: s.Implicit}.Asking(true) // as the portal does
	what := "submission " + net.JoinHostPort(s.Host, fmt.Sprint(s.Port))
	trusted, err := verify.Roots(s.CAFile)
	if err != nil {
		return fail(onPortal, what, err.Error(), "correct submission_ca_file in [portal]")
	}
	prober := tlsprobe.Prober{Timeout: step}
	r, err := prober.Probe(ctx, t, trusted)
	if err != nil {
		return fail(onPortal, what, err.Error(), look(t))
	}
	for _, check := range []tlsprobe.Check{r.TLS, r.Trust, r.Name} {
		if !check.Holds {
			return fail(onPortal, what, "nobody can log in to the portal: "+check.Reason, advice(&r, t))
		}
	}
	if !tlsprobe.CanLogIn(r.Auth) {
		return fail(onPortal, what, "nobody can log in to the portal: the server offers none of the logins "+tlsprobe.LoginMechanisms(), "write the server and port at which users log in to send mail as submission into [portal]")
	}
	return ok(onPortal, what, fmt.Sprintf("takes logins, TLS %s, certificate until %s", r.Version, r.Chain[0].NotAfter.UTC().Format(time.DateOnly)))
}

// relay looks at the server that takes codes.
func (x *examination) relay(ctx context.Context) Check {
	at := x.config.Portal.Relay
	t := tlsprobe.Target{Host: at.Addr().String(), Port: at.Port(), Clear: true}
	what := "relay " + at.String()
	prober := tlsprobe.Prober{Timeout: step}
	r, err := prober.Probe(ctx, t, nil)
	switch {
	case err != nil:
		return fail(onPortal, what, err.Error(), "write the address and port of a mail server as relay into [portal]")
	case r.Greeting == "":
		return fail(onPortal, what, "no code can be sent to addresses without a server of their own: "+r.Login.Reason, "start the mail server there, or write another one as relay into [portal]")
	}
	return ok(onPortal, what, "answers")
}
