package tlsprobe

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"gatemilter/policy"
)

// maxChain bounds the certificates that are looked at. Postfix follows a chain to a
// depth of 9 (smtp_tls_scert_verifydepth).
const maxChain = 16

// soon is how long before its end a certificate is warned of.
const soon = 30 * 24 * time.Hour

// leastTLS is the oldest version that protects (RFC 8996).
const leastTLS = policy.TLS12

// judge checks what the handshake brought. The chain is the server's, its own
// certificate first.
func (r *Report) judge(chain []*x509.Certificate, roots *x509.CertPool, now time.Time) {
	if len(chain) == 0 {
		unknown := fails(Finding{NotChecked, "there was no handshake, so no certificate"})
		r.Trust, r.Name = unknown, unknown
		return
	}
	chain = chain[:min(len(chain), maxChain)]
	for _, c := range chain {
		r.Chain = append(r.Chain, describe(c))
	}
	r.Trust, r.Warnings = judgeTrust(chain, roots, now)
	r.Name = judgeName(&r.Chain[0], r.Target.Host)
}

func judgeTLS(t Target, version policy.TLSVersion) Check {
	how := "STARTTLS"
	if t.Implicit {
		how = "TLS from the start"
	}
	switch {
	case t.Clear:
		return fails(Finding{NotChecked, "the probe was one in clear"})
	case version < leastTLS:
		return fails(Finding{TLSTooOld, fmt.Sprintf("%s with TLS %s only: at least %s is needed", how, version, leastTLS)})
	}
	return holds(fmt.Sprintf("%s with TLS %s", how, version))
}

// judgeTrust looks for a way from the server's certificate to a trusted one.
func judgeTrust(chain []*x509.Certificate, roots *x509.CertPool, now time.Time) (Check, []Finding) {
	ways, err := verify(chain, roots, now)
	if err != nil {
		return fails(explainTrust(chain, roots, now, err)), nil
	}
	way, first := lastingWay(ways)
	check := holds("signed by the trusted CA " + named(way[len(way)-1]))
	if len(way) == 1 {
		check = holds("the certificate itself is a trusted one")
	}
	if left := first.NotAfter.Sub(now); left < soon {
		return check, []Finding{{ExpiresSoon, fmt.Sprintf("the certificate of %s expires on %s, in %s", named(first), day(first.NotAfter), days(left))}}
	}
	return check, nil
}

// verify returns the ways from the server's certificate to a trusted one at a time.
func verify(chain []*x509.Certificate, roots *x509.CertPool, at time.Time) ([][]*x509.Certificate, error) {
	intermediates := x509.NewCertPool()
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	return chain[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: at,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
}

// lastingWay is the way that holds longest, and the certificate in it that expires
// first.
func lastingWay(ways [][]*x509.Certificate) (way []*x509.Certificate, first *x509.Certificate) {
	for _, w := range ways {
		f := w[0]
		for _, c := range w[1:] {
			if c.NotAfter.Before(f.NotAfter) {
				f = c
			}
		}
		if first == nil || f.NotAfter.After(first.NotAfter) {
			way, first = w, f
		}
	}
	return way, first
}

// explainTrust says why there is no way. Who signed the certificate matters more than
// when: a new one of the same issuer would be no better.
func explainTrust(chain []*x509.Certificate, roots *x509.CertPool, now time.Time, err error) Finding {
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		if _, then := verify(chain, roots, within(chain[0], now)); !errors.As(then, &unknown) {
			return explainDates(invalid.Cert, now)
		}
		err = unknown
	}
	switch {
	case !errors.As(err, &unknown):
		return Finding{ChainInvalid, fmt.Sprintf("%.200s", strings.TrimPrefix(err.Error(), "x509: "))}
	case selfSigned(chain[0]):
		return Finding{SelfSigned, "the certificate is signed with its own key instead of a CA's"}
	}
	return explainIssuer(chain)
}

// within is the time nearest to now at which the certificate is valid.
func within(c *x509.Certificate, now time.Time) time.Time {
	if now.Before(c.NotBefore) {
		return c.NotBefore
	}
	return c.NotAfter
}

func explainDates(c *x509.Certificate, now time.Time) Finding {
	if now.Before(c.NotBefore) {
		return Finding{NotYetValid, fmt.Sprintf("the certificate of %s is valid from %s on, in %s", named(c), day(c.NotBefore), days(c.NotBefore.Sub(now)))}
	}
	return Finding{Expired, fmt.Sprintf("the certificate of %s expired on %s, %s ago", named(c), day(c.NotAfter), days(now.Sub(c.NotAfter)))}
}

// explainIssuer says where the certificates that the server sent lead to.
func explainIssuer(chain []*x509.Certificate) Finding {
	top := chain[0]
	for range chain {
		for _, c := range chain[1:] {
			if bytes.Equal(c.RawSubject, top.RawIssuer) {
				top = c
				break
			}
		}
	}
	if selfSigned(top) {
		return Finding{UnknownCA, fmt.Sprintf("it leads to the CA %s, which is not trusted here", named(top))}
	}
	return Finding{UnknownCA, fmt.Sprintf("the issuer %s is no trusted CA, and the server sent no certificate for it", quote(top.Issuer.String()))}
}

// selfSigned tells whether a certificate is its own issuer. An outdated signature
// algorithm can't be checked, and makes no difference.
func selfSigned(c *x509.Certificate) bool {
	if !bytes.Equal(c.RawSubject, c.RawIssuer) {
		return false
	}
	var insecure x509.InsecureAlgorithmError
	err := c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature)
	return err == nil || errors.As(err, &insecure)
}

// shownNames is how many names of a certificate a reason repeats.
const shownNames = 5

func judgeName(c *Certificate, host string) Check {
	if c.bears(host) {
		return holds("the certificate bears the name " + host)
	}
	var has []string
	for _, name := range c.Names {
		has = append(has, quote(name))
	}
	for _, ip := range c.IPs {
		has = append(has, ip.String())
	}
	switch n := len(has); {
	case n == 0:
		has = []string{"no name at all"}
	case n > shownNames:
		has = append(has[:shownNames], fmt.Sprintf("and %d more", n-shownNames))
	}
	return fails(Finding{NameMismatch, fmt.Sprintf("the certificate is not for %s: it has %s", host, strings.Join(has, ", "))})
}

// named says whose certificate it is.
func named(c *x509.Certificate) string {
	name := c.Subject.CommonName
	if name == "" && len(c.DNSNames) > 0 {
		name = c.DNSNames[0]
	}
	if name == "" {
		name = c.Subject.String()
	}
	return quote(name)
}

// maxShown bounds in octets what a reason repeats of one text of the host.
const maxShown = 100

// quote shows a text of the host within a reason.
func quote(s string) string {
	if len(s) > maxShown {
		return fmt.Sprintf("%q…", s[:maxShown])
	}
	return fmt.Sprintf("%q", s)
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// days shows a duration in whole days.
func days(d time.Duration) string {
	switch n := int(d / (24 * time.Hour)); n {
	case 0:
		return "less than a day"
	case 1:
		return "1 day"
	default:
		return fmt.Sprintf("%d days", n)
	}
}
