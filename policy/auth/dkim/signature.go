package dkim

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"gatemilter/policy"
)

// Bounds on a DKIM-Signature field.
const (
	// maxSignatureField is in octets. Copied fields (z=) make long ones.
	maxSignatureField = 16 << 10
	// maxNames is the number of names in h=. Signers that name each field once
	// more than it occurs, against additions, come to about 60.
	maxNames = 200
	// maxIdentity is the length of an address (RFC 5321, section 4.5.3.1), in octets.
	maxIdentity = 64 + 1 + 255
	// maxSeconds is the number of digits of t= and x= (RFC 6376, section 3.5).
	maxSeconds = 12
)

// A signature is a DKIM-Signature field that has been read.
type signature struct {
	// field is its place in the header.
	field int
	// result is what the field says of itself and, once settled, what came out.
	result policy.DKIM
	// relaxed is the header canonicalisation.
	relaxed bool
	// names are the signed fields (h=), lower case.
	names []string
	// identityDomain is the domain of i=, lower case.
	identityDomain string
	// text is b=.
	text string
	// lookup is that of the public key, nil where the signature was settled
	// without; key is its answer, where it is good.
	lookup *lookup
	key    *key
	// header is what the verifier reads before the body.
	header []byte
}

// An objection is a reason not to verify a signature, and the result instead.
type objection struct {
	result policy.AuthResult
	reason string
}

func neutral(format string, args ...any) *objection {
	return &objection{policy.AuthNeutral, fmt.Sprintf(format, args...)}
}

func forbidden(format string, args ...any) *objection {
	return &objection{policy.AuthPolicy, fmt.Sprintf(format, args...)}
}

func permanent(format string, args ...any) *objection {
	return &objection{policy.AuthPermError, fmt.Sprintf(format, args...)}
}

func temporary(format string, args ...any) *objection {
	return &objection{policy.AuthTempError, fmt.Sprintf(format, args...)}
}

func (s *signature) settle(o *objection) { s.result.Result, s.result.Reason = o.result, o.reason }

func (s *signature) settled() bool { return s.result.Result != "" }

// readSignature reads the value of a DKIM-Signature field, and settles the
// signature if it can't be right or isn't for us.
func readSignature(field int, value string, now time.Time) *signature {
	s := &signature{field: field}
	if o := s.read(value, now); o != nil {
		s.settle(o)
	}
	return s
}

func (s *signature) read(value string, now time.Time) *objection {
	if len(value) > maxSignatureField {
		return forbidden("the field has %d octets, more than %d", len(value), maxSignatureField)
	}
	t, err := parseTags(value)
	if err != nil {
		return neutral("%v", err)
	}
	for _, read := range []func(tags) *objection{
		s.readSignatureText,
		s.readSigner,
		s.readIdentity,
		s.readNames,
		s.readMethods,
		func(t tags) *objection { return readTimes(t, now) },
		func(tags) *objection { return misreadByVerifier(value) },
	} {
		if o := read(t); o != nil {
			return o
		}
	}
	return nil
}

// readSignatureText comes first, so that whatever is wrong with a signature can
// be told by its beginning.
func (s *signature) readSignatureText(t tags) *objection {
	b := t.compact("b")
	if _, err := base64.StdEncoding.DecodeString(b); err != nil || b == "" {
		return neutral("b=%s is not base64", quote(b))
	}
	s.text = b
	return nil
}

func (s *signature) readSigner(t tags) *objection {
	domain, selector := t.compact("d"), t.compact("s")
	switch {
	case t["v"] != "1":
		return neutral("v=%s is not version 1", quote(t["v"]))
	case !isHostName(domain) || !strings.Contains(domain, "."):
		return neutral("d=%s is not a domain name", quote(domain))
	case !isHostName(selector):
		return neutral("s=%s is not a selector", quote(selector))
	case len(keyName(selector, domain)) > maxHostName:
		return neutral("s= and d= are too long for a domain name")
	}
	s.result.Domain, s.result.Selector = strings.ToLower(domain), selector
	return nil
}

// keyName is where the public key is published (RFC 6376, section 3.6.2.1).
func keyName(selector, domain string) string { return selector + "._domainkey." + domain }

// readIdentity reads i=, whose domain must be d= or below. The verifier minds
// the case of letters.
func (s *signature) readIdentity(t tags) *objection {
	identity, given := t["i"]
	identity = compact(identity)
	if !given {
		identity = "@" + t.compact("d")
	}
	at := strings.LastIndexByte(identity, '@')
	if at < 0 || len(identity) > maxIdentity || !isHostName(identity[at+1:]) || strings.ContainsFunc(identity, isUnfit) {
		return neutral("i=%s is not an address", quote(identity))
	}
	s.identityDomain = strings.ToLower(identity[at+1:])
	if !withinDomain(s.identityDomain, s.result.Domain) {
		return permanent("i=%s is not within d=%s", quote(identity), s.result.Domain)
	}
	if !withinDomain(identity[at+1:], t.compact("d")) {
		return neutral("i= and d= differ in the case of letters, which the verifier doesn't allow")
	}
	s.result.Identity = identity
	return nil
}

func isUnfit(r rune) bool { return r == ' ' || r == utf8.RuneError || !unicode.IsPrint(r) }

func withinDomain(name, domain string) bool {
	return name == domain || strings.HasSuffix(name, "."+domain)
}

func (s *signature) readNames(t tags) *objection {
	if strings.Count(t["h"], ":") >= maxNames {
		return forbidden("h= has more than %d names", maxNames)
	}
	for _, name := range t.list("h") {
		s.names = append(s.names, strings.ToLower(name))
	}
	if !slices.Contains(s.names, "from") {
		return permanent("the From field is not signed")
	}
	return nil
}

// algorithms are those of RFC 8301 and RFC 8463.
var algorithms = []string{"rsa-sha256", "ed25519-sha256"}

func (s *signature) readMethods(t tags) *objection {
	s.result.Algorithm = t.compact("a")
	header, body, _ := strings.Cut(t.compact("c"), "/")
	s.relaxed = header == "relaxed"
	hash, err := base64.StdEncoding.DecodeString(t.compact("bh"))
	_, limited := t["l"]
	_, queried := t["q"]
	switch {
	case s.result.Algorithm == "rsa-sha1":
		return forbidden("SHA-1 proves nothing (RFC 8301)")
	case !slices.Contains(algorithms, s.result.Algorithm):
		o := neutral("a=%s is not known", quote(s.result.Algorithm))
		s.result.Algorithm = ""
		return o
	case !isCanonicalisation(header) || !isCanonicalisation(body):
		return neutral("c=%s is not known", quote(t["c"]))
	case limited:
		return forbidden("l= leaves a part of the body unsigned")
	case queried && !slices.Contains(t.list("q"), "dns/txt"):
		return neutral("q=%s is not known", quote(t["q"]))
	case err != nil || len(hash) == 0:
		return neutral("bh=%s is not base64", quote(t["bh"]))
	}
	return nil
}

func isCanonicalisation(s string) bool { return s == "" || s == "simple" || s == "relaxed" }

// readTimes refuses what has expired. A signature from the future is no worse
// than a clock that is wrong.
func readTimes(t tags, now time.Time) *objection {
	signed, ok := seconds(t, "t")
	if !ok {
		return neutral("t=%s is not a time", quote(t["t"]))
	}
	expires, ok := seconds(t, "x")
	_, given := t["x"]
	switch {
	case !ok:
		return neutral("x=%s is not a time", quote(t["x"]))
	case given && expires < signed:
		return neutral("x= is before t=")
	case given && now.Unix() > expires:
		return forbidden("expired at %s", time.Unix(expires, 0).UTC().Format(time.RFC3339))
	}
	return nil
}

func seconds(t tags, name string) (int64, bool) {
	value, given := t[name]
	value = compact(value)
	if !given {
		return 0, true
	}
	if len(value) > maxSeconds {
		return 0, false
	}
	n, err := strconv.ParseUint(value, 10, 63)
	return int64(n), err == nil
}

// signatureText is what the verifier removes from the field before it hashes it:
// it should be the value of b= alone.
var signatureText = regexp.MustCompile(`b\s*=[^;]`)

func misreadByVerifier(value string) *objection {
	for spec := range strings.SplitSeq(value, ";") {
		name, _, _ := strings.Cut(spec, "=")
		if strings.Trim(name, blanks) != "b" && signatureText.MatchString(spec) {
			return neutral(`the tag %s= holds "b=", which the verifier doesn't allow`, strings.Trim(name, blanks))
		}
	}
	return nil
}

// Lengths of b= to show, in octets: RFC 6008, section 4, asks for eight, and
// for more where two signatures begin alike.
const (
	minShown = 8
	maxShown = 64
)

// tell sets the part of b= by which each signature is told from the others.
func tell(signatures []*signature) {
	for _, s := range signatures {
		length := minShown
		for _, other := range signatures {
			for other != s && length < maxShown && shown(other, length) == shown(s, length) {
				length *= 2
			}
		}
		s.result.Signature = shown(s, length)
	}
}

func shown(s *signature, length int) string { return s.text[:min(len(s.text), length)] }
