package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"gatemilter/policy"
)

// allDomains stands for the domains that no gateway names.
const allDomains = "*"

// domains reads recipient domains; for "*" there are none.
func (f fields) domains(key string) []string {
	items := f.list(key)
	if len(items) == 1 && items[0] == allDomains {
		return nil
	}
	var domains []string
	for _, item := range items {
		domain, err := recipientDomain(item)
		switch {
		case item == allDomains:
			f.problem(key, "* stands for the domains that no gateway names: write it alone, or remove it")
		case err != nil:
			f.problem(key, "%s is not a domain: %s", quote(item), err)
		case slices.Contains(domains, domain):
			f.doubt(key, "%s is listed twice: one of them can go", quote(item))
		default:
			domains = append(domains, domain)
		}
	}
	return domains
}

// Limits of domain names (RFC 1035, section 2.3.4), in octets.
const (
	maxLabel  = 63
	maxDomain = 253
)

// recipientDomain is parseDomain for one of a list of recipient domains: it
// knows what people write instead.
func recipientDomain(s string) (string, error) {
	switch {
	case hintFor(s, "") != "":
	case isAddress(strings.Trim(s, "[]")):
		return "", errors.New("it is an address; write the domain that stands behind the @ of the recipients")
	case strings.ContainsAny(s, " \t"):
		return "", errors.New("it has a blank in it; put commas between domains")
	case strings.Contains(s, "@"):
		return "", errors.New("it has an @ in it; write only what stands behind the @")
	case strings.Contains(s, "*"):
		return "", errors.New("it has a wildcard; write each domain in full, or * alone for all that no gateway names")
	case strings.HasPrefix(s, "."):
		if parent, err := parseDomain(s[1:]); err == nil {
			return "", fmt.Errorf("it begins with a point; write %s; subdomains need names of their own", parent)
		}
	}
	return parseDomain(s)
}

// parseDomain reads a domain name (RFC 1123, section 2.1) and returns it as
// policy compares it. The error says what is wrong and what to write.
func parseDomain(s string) (string, error) {
	switch hint := hintFor(s, ""); {
	case hint != "":
		return "", errors.New("it is more than a name; " + hint)
	case isAddress(strings.Trim(s, "[]")):
		return "", errors.New("it is an address; write a name")
	case strings.ContainsAny(s, " \t"):
		return "", errors.New("it has a blank in it; write one name")
	case strings.HasSuffix(s, "."):
		return "", fmt.Errorf("it ends with a point; write %s", literally(strings.TrimRight(s, ".")))
	}
	domain := policy.CanonicalDomain(s)
	if len(domain) > maxDomain {
		return "", fmt.Errorf("it has %d octets, more than the %d of a domain name; correct it", len(domain), maxDomain)
	}
	for label := range strings.SplitSeq(domain, ".") {
		if err := checkLabel(label); err != nil {
			return "", err
		}
	}
	return domain, nil
}

func checkLabel(label string) error {
	switch {
	case label == "":
		return errors.New("it has two points together, or one at its beginning; remove one")
	case len(label) > maxLabel:
		return fmt.Errorf("its part %s has more than %d octets; correct it", quote(label), maxLabel)
	case label[0] == '-' || label[len(label)-1] == '-':
		return fmt.Errorf("its part %s begins or ends with -; correct it", quote(label))
	}
	for _, r := range label {
		if r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') {
			return fmt.Errorf("%s can't be in a domain name; write letters, digits, - and points", quote(string(r)))
		}
	}
	return nil
}
