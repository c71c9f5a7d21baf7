package tlsprobe

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// A Certificate is what is worth knowing of an X.509 certificate.
type Certificate struct {
	Subject, Issuer     string // distinguished names as in RFC 2253
	Names               []string
	IPs                 []netip.Addr
	NotBefore, NotAfter time.Time
	Key                 string // kind and size of the public key: "RSA 2048", "ECDSA P-256"
	// SHA-256 of the whole certificate and of its public key (the
	// SubjectPublicKeyInfo), in the form of Postfix: hexadecimal octets with colons.
	Fingerprint, KeyFingerprint string
}

func describe(c *x509.Certificate) Certificate {
	return Certificate{
		Subject:        c.Subject.String(),
		Issuer:         c.Issuer.String(),
		Names:          hostNames(c),
		IPs:            addresses(c),
		NotBefore:      c.NotBefore,
		NotAfter:       c.NotAfter,
		Key:            keyKind(c),
		Fingerprint:    fingerprint(c.Raw),
		KeyFingerprint: fingerprint(c.RawSubjectPublicKeyInfo),
	}
}

var commonName = asn1.ObjectIdentifier{2, 5, 4, 3}

// hostNames are the DNS names of a certificate, or where it has none its common names.
func hostNames(c *x509.Certificate) []string {
	if len(c.DNSNames) > 0 {
		return slices.Clone(c.DNSNames)
	}
	var names []string
	for _, attribute := range c.Subject.Names {
		if name, ok := attribute.Value.(string); ok && attribute.Type.Equal(commonName) {
			names = append(names, name)
		}
	}
	return names
}

func addresses(c *x509.Certificate) []netip.Addr {
	var ips []netip.Addr
	for _, b := range c.IPAddresses {
		if ip, ok := netip.AddrFromSlice(b); ok {
			ips = append(ips, ip.Unmap())
		}
	}
	return ips
}

func keyKind(c *x509.Certificate) string {
	switch key := c.PublicKey.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", key.N.BitLen())
	case *ecdsa.PublicKey:
		return "ECDSA " + key.Curve.Params().Name
	}
	return c.PublicKeyAlgorithm.String()
}

func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")
}

// bears tells whether the certificate is one for the host.
func (c *Certificate) bears(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return slices.Contains(c.IPs, ip.Unmap())
	}
	return slices.ContainsFunc(c.Names, func(name string) bool { return matches(name, host) })
}

// matches compares a host with a name of a certificate, which may be a wildcard.
func matches(name, host string) bool {
	if strings.ContainsFunc(name, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return false // another letter's lower case may be one of ASCII's
	}
	name, host = strings.ToLower(name), strings.ToLower(strings.TrimSuffix(host, "."))
	parent, wild := strings.CutPrefix(name, "*.")
	if !wild {
		return name == host
	}
	_, hostParent, _ := strings.Cut(host, ".")
	return strings.Contains(parent, ".") && parent == hostParent
}

// matchKeywords have a meaning of their own in a match list of Postfix.
var matchKeywords = []string{"hostname", "nexthop", "dot-nexthop"}

func (c *Certificate) matchNames() []string {
	var names []string
	for _, name := range c.Names {
		parent, wild := strings.CutPrefix(name, "*.")
		usable := checkName(parent) == nil && !slices.Contains(matchKeywords, strings.ToLower(name)) &&
			(!wild || strings.Contains(parent, "."))
		if usable && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 && len(c.IPs) > 0 {
		return []string{c.IPs[0].String()}
	}
	return names
}
