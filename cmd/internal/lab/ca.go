package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"
)

// validity is how long a certificate holds, before and after the moment it is made, where its [Subject] does not say.
const validity = 24 * time.Hour

// authorityValidity is that of an authority, which outlives the certificates that it signs.
const authorityValidity = 365 * validity

// Subject says what a certificate is for. The zero Subject makes a certificate that bears no name.
type Subject struct {
	CommonName string
	Hosts      []string // alternative names: DNS names, or IP addresses
	NotBefore  time.Time
	NotAfter   time.Time
}

// A Cert is a certificate with its private key. It serves as a server's or a client's.
type Cert struct {
	TLS tls.Certificate // chain without the root; Leaf is set
	PEM []byte          // private key and chain, as in smtpd_tls_chain_files
}

// A CA is a certification authority.
type CA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA makes an authority whose root certificate bears name.
func NewCA(name string) (*CA, error) {
	template := template(Subject{CommonName: name, NotAfter: time.Now().Add(authorityValidity)})
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign
	template.ExtKeyUsage = nil // any
	cert, key, err := sign(template, nil)
	if err != nil {
		return nil, err
	}
	return &CA{cert, key}, nil
}

// PEM is the root certificate, as in smtpd_tls_CAfile.
func (ca *CA) PEM() []byte { return pemBlock("CERTIFICATE", ca.cert.Raw) }

// Pool holds the root certificate alone.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

// Issue makes a certificate signed by ca.
func (ca *CA) Issue(s Subject) (*Cert, error) { return issue(s, ca) }

// SelfSigned makes a certificate that no authority signed.
func SelfSigned(s Subject) (*Cert, error) { return issue(s, nil) }

// WriteFile writes the private key and the chain to a file that only its owner reads.
func (c *Cert) WriteFile(name string) error { return os.WriteFile(name, c.PEM, 0o600) }

func issue(s Subject, ca *CA) (*Cert, error) {
	cert, key, err := sign(template(s), ca)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return &Cert{
		TLS: tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert},
		PEM: append(pemBlock("PRIVATE KEY", der), pemBlock("CERTIFICATE", cert.Raw)...),
	}, nil
}

func template(s Subject) *x509.Certificate {
	if s.NotBefore.IsZero() {
		s.NotBefore = time.Now().Add(-validity)
	}
	if s.NotAfter.IsZero() {
		s.NotAfter = time.Now().Add(validity)
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: s.CommonName},
		NotBefore:   s.NotBefore,
		NotAfter:    s.NotAfter,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, host := range s.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	return template
}

// sign completes template with a new key and serial number. Without a CA it is signed with its own key.
func sign(template *x509.Certificate, ca *CA) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	parent, parentKey := template, key
	if ca != nil {
		parent, parentKey = ca.cert, ca.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		return nil, nil, fmt.Errorf("certificate for %q: %w", template.Subject.CommonName, err)
	}
	cert, err := x509.ParseCertificate(der)
	return cert, key, err
}

func pemBlock(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
