package dkim

import (
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net"
	"slices"
	"strings"
)

// Bounds on a public key.
const (
	// maxKeyRecord is in octets, of all TXT records at the name. A key of 8192
	// bits needs 1400.
	maxKeyRecord = 4096
	// RFC 8301, section 3.2: fewer bits prove nothing, and more than 4096 need
	// not be supported. The time to verify grows with the square.
	minKeyBits = 1024
	maxKeyBits = 8192
)

// key gives the one key record, or what is wrong with the answer.
func (l *lookup) key() (*key, *objection) {
	if !l.answered() {
		return nil, temporary("no answer in time for the key at %s", l.name)
	}
	var dns *net.DNSError
	switch {
	case errors.As(l.err, &dns) && dns.IsNotFound:
		return nil, permanent("no key at %s", l.name)
	case l.err != nil:
		return nil, temporary("the key at %s can't be had: %s", l.name, quote(l.err.Error()))
	case len(l.records) == 0:
		return nil, permanent("no key at %s", l.name)
	case len(l.records) > 1:
		return nil, permanent("%d TXT records at %s", len(l.records), l.name)
	case len(l.records[0]) > maxKeyRecord:
		return nil, forbidden("the key record at %s has %d octets, more than %d", l.name, len(l.records[0]), maxKeyRecord)
	}
	return parseKey(l.records[0])
}

// A key is a key record (RFC 6376, section 3.6.1).
type key struct {
	// algorithm is "rsa" or "ed25519".
	algorithm string
	data      []byte
	// testing and strict are the flags t=y and t=s.
	testing, strict bool
}

// record writes the key anew, without anything that the guard has settled.
func (k *key) record() string {
	return "k=" + k.algorithm + "; p=" + base64.StdEncoding.EncodeToString(k.data)
}

func parseKey(record string) (*key, *objection) {
	t, err := parseTags(record)
	if err != nil {
		return nil, permanent("key record: %v", err)
	}
	k := &key{algorithm: "rsa"}
	if algorithm, given := t["k"]; given {
		k.algorithm = algorithm
	}
	k.testing, k.strict = slices.Contains(t.list("t"), "y"), slices.Contains(t.list("t"), "s")
	if o := checkUse(t); o != nil {
		return k, o
	}
	text, given := t["p"]
	if !given {
		return k, permanent("key record: no p=")
	}
	if text = compact(text); text == "" {
		return k, permanent("the key is revoked")
	}
	if k.data, err = base64.StdEncoding.DecodeString(text); err != nil {
		return k, permanent("key record: p=%s is not base64", quote(text))
	}
	return k, k.check()
}

// checkUse looks at what the key may be used for.
func checkUse(t tags) *objection {
	version, versioned := t["v"]
	_, hashes := t["h"]
	_, services := t["s"]
	switch {
	case versioned && version != "DKIM1":
		return permanent("key record: v=%s is not DKIM1", quote(version))
	case hashes && !slices.Contains(t.list("h"), "sha256"):
		return permanent("the key is not for SHA-256")
	case services && !slices.Contains(t.list("s"), "*") && !slices.Contains(t.list("s"), "email"):
		return permanent("the key is not for mail")
	}
	return nil
}

func (k *key) check() *objection {
	switch k.algorithm {
	case "rsa":
		public, err := parseRSA(k.data)
		if err != nil {
			return permanent("key record: p= is not an RSA key")
		}
		if bits := public.N.BitLen(); bits < minKeyBits || bits > maxKeyBits {
			return forbidden("the RSA key has %d bits, not %d to %d", bits, minKeyBits, maxKeyBits)
		}
	case "ed25519":
		if len(k.data) != ed25519.PublicKeySize {
			return permanent("key record: p= is not an Ed25519 key")
		}
	default:
		return permanent("key record: k=%s is not known", quote(k.algorithm))
	}
	return nil
}

// parseRSA takes both forms that are in use (RFC 6376, erratum 3017).
func parseRSA(der []byte) (*rsa.PublicKey, error) {
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return x509.ParsePKCS1PublicKey(der)
	}
	public, ok := parsed.(*rsa.PublicKey)
	if !ok {
		return nil, errors.New("not an RSA key")
	}
	return public, nil
}

// suits says whether the key may verify the signature.
func (k *key) suits(s *signature) *objection {
	if algorithm, _, _ := strings.Cut(s.result.Algorithm, "-"); algorithm != k.algorithm {
		return permanent("a=%s, but the key is for %s", s.result.Algorithm, k.algorithm)
	}
	if k.strict && s.identityDomain != s.result.Domain {
		return permanent("the key is not for subdomains (t=s), and i= names one")
	}
	return nil
}
