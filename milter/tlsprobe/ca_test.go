package tlsprobe

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net"
	"time"
)

// now is the time of all probes in tests.
var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// in is that many days from now.
func in(days int) time.Time { return now.AddDate(0, 0, days) }

// An issuer signs certificates: a CA, or one between it and the servers'.
type issuer struct {
	cert  *x509.Certificate
	key   crypto.Signer
	chain [][]byte // to be sent with what it signs: its own certificate unless it is a root
}

// authority makes an issuer; without a parent it is a root.
func authority(name string, parent *issuer) *issuer {
	template := names(name)
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage, template.ExtKeyUsage = x509.KeyUsageCertSign, nil
	template.NotAfter = in(3650)
	made := parent.sign(template, newECDSA())
	a := &issuer{cert: made.Leaf, key: made.PrivateKey.(crypto.Signer)}
	if parent != nil {
		a.chain = made.Certificate
	}
	return a
}

// names is the template of a server's certificate with a common name, or none, and
// alternative names.
func names(common string, alternative ...string) *x509.Certificate {
	template := &x509.Certificate{
		NotBefore:   in(-10),
		NotAfter:    in(90),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if common != "" {
		template.Subject = pkix.Name{CommonName: common}
	}
	for _, name := range alternative {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	return template
}

func valid(from, to time.Time, template *x509.Certificate) *x509.Certificate {
	template.NotBefore, template.NotAfter = from, to
	return template
}

func (a *issuer) issue(template *x509.Certificate) tls.Certificate {
	return a.sign(template, newECDSA())
}

func selfSign(template *x509.Certificate) tls.Certificate {
	return (*issuer)(nil).sign(template, newECDSA())
}

// sign makes a certificate for a key; a nil issuer signs with that key.
func (a *issuer) sign(template *x509.Certificate, key crypto.Signer) tls.Certificate {
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	parent, signer := template, key
	var chain [][]byte
	if a != nil {
		parent, signer, chain = a.cert, a.key, a.chain
	}
	der := must(x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer))
	return tls.Certificate{Certificate: append([][]byte{der}, chain...), PrivateKey: key, Leaf: must(x509.ParseCertificate(der))}
}

func newECDSA() crypto.Signer { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }

func newRSA() crypto.Signer { return must(rsa.GenerateKey(rand.Reader, 2048)) }

// pool are the roots that a probe trusts.
func pool(roots ...*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, root := range roots {
		p.AddCert(root)
	}
	return p
}

// twoCommonNames has two common names and no alternative one.
func twoCommonNames(a, b string) *x509.Certificate {
	template := names("")
	for _, name := range []string{a, b} {
		template.Subject.ExtraNames = append(template.Subject.ExtraNames, pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: name})
	}
	return template
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
