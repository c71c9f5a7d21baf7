package dmarc

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"gatemilter/policy"
)

const (
	// maxFromLen bounds the octets of a From field.
	maxFromLen = 16 << 10
	// maxAuthors bounds the author domains of a message (RFC 9989, section 11.5).
	maxAuthors = 4
	// maxDomainLen bounds the octets of a domain before it is converted to
	// A-labels, which takes more than linear time: 253 characters in UTF-8.
	maxDomainLen = 4 * 253
)

// AuthorDomains returns the domains of the addresses in From, of which there must
// be one, each once, in order, in their canonical form. It takes the body of each
// From field of the message, folded or not. There must be one field whose grammar
// is that of RFC 5322, section 3.6.2, with UTF-8 (RFC 6532), groups (RFC 6854) and
// empty list elements (section 4.4). What mail programs may read in two ways is an
// error, and so are the disguises that honest mail doesn't need, obsolete routes
// and addresses in a quoted local part: who evaluates another domain than the
// reader sees lends a spoofer a good name.
func AuthorDomains(from []string) ([]string, error) {
	switch {
	case len(from) == 0:
		return nil, errors.New("the From field is missing")
	case len(from) > 1:
		return nil, fmt.Errorf("there are %d From fields", len(from))
	case len(from[0]) > maxFromLen:
		return nil, fmt.Errorf("the From field has %d octets: at most %d are read", len(from[0]), maxFromLen)
	}
	tokens, err := tokenise(from[0])
	if err != nil {
		return nil, fmt.Errorf("malformed From field: %w", err)
	}
	p := parser{tokens: tokens}
	if err := p.list(); err != nil {
		return nil, fmt.Errorf("malformed From field: %w", err)
	}
	if len(p.domains) == 0 {
		return nil, errors.New("the From field names no address")
	}
	return p.domains, nil
}

// A parser reads an address list. Each of its methods leaves the parser behind
// what it read.
type parser struct {
	tokens  []token
	domains []string
}

func (p *parser) peek() token { return p.tokens[0] } // the last one is end

func (p *parser) next() token {
	t := p.tokens[0]
	if t.kind != end {
		p.tokens = p.tokens[1:]
	}
	return t
}

func (p *parser) list() error {
	for {
		if err := p.element(false); err != nil {
			return err
		}
		switch t := p.next(); {
		case t.kind == end:
			return nil
		case t.kind != ',':
			return fmt.Errorf("%s after an address", t)
		}
	}
}

// element reads a mailbox, or, outside a group, a group. It may be empty
// (obsolete syntax).
func (p *parser) element(inGroup bool) error {
	words := p.words()
	t := p.peek()
	if len(words) == 0 && t.kind != '<' {
		return nil
	}
	switch {
	case t.kind == '<':
		p.next()
		return p.angle(words)
	case t.kind == ':' && !inGroup:
		p.next()
		return p.group(words)
	default:
		return p.address(words)
	}
}

// words takes all up to a character that structures the list.
func (p *parser) words() []token {
	n := slices.IndexFunc(p.tokens, func(t token) bool {
		return t.kind == end || strings.ContainsRune(",:;<>", rune(t.kind))
	})
	words := p.tokens[:n]
	p.tokens = p.tokens[n:]
	return words
}

// group reads the members of a group, after its name and colon.
func (p *parser) group(name []token) error {
	if slices.ContainsFunc(name, isAt) {
		return errors.New("the name of a group looks like an address")
	}
	for {
		if err := p.element(true); err != nil {
			return err
		}
		switch t := p.next(); t.kind {
		case ';':
			return nil
		case ',':
		default:
			return fmt.Errorf("%s in a group", t)
		}
	}
}

// angle reads "address >". A display name that looks like an address is
// tolerated only if it has the same domain: some readers show it as the address.
func (p *parser) angle(name []token) error {
	if isAt(p.peek()) {
		return errors.New("a route before an address") // "@a,@b:" (RFC 5322, section 4.4)
	}
	domain, err := domainOf(p.words())
	if err != nil {
		return err
	}
	if t := p.next(); t.kind != '>' {
		return fmt.Errorf("%s inside <>", t)
	}
	if slices.ContainsFunc(name, isAt) {
		shown, err := domainOf(name)
		if err != nil || shown != domain {
			return fmt.Errorf("the display name looks like an address, but not of %q", domain)
		}
	}
	return p.add(domain)
}

func (p *parser) address(words []token) error {
	domain, err := domainOf(words)
	if err != nil {
		return err
	}
	return p.add(domain)
}

func (p *parser) add(domain string) error {
	if slices.Contains(p.domains, domain) {
		return nil
	}
	if len(p.domains) == maxAuthors {
		return fmt.Errorf("more than %d author domains", maxAuthors)
	}
	p.domains = append(p.domains, domain)
	return nil
}

// domainOf reads "local-part@domain". The local part is atoms, quoted strings
// and dots in any order that leaves no two words side by side; the domain is one
// atom: blanks or comments inside it are obsolete, and read differently by
// different programs.
func domainOf(words []token) (string, error) {
	at := slices.IndexFunc(words, isAt)
	switch {
	case at < 0:
		return "", errors.New("an address without a domain")
	case at == 0:
		return "", errors.New("an address without a local part")
	}
	wasWord := false
	for _, t := range words[:at] {
		isWord := t.kind != '.'
		if t.kind == literal || isWord && wasWord {
			return "", errors.New("a local part of several words")
		}
		if t.kind == quoted && strings.ContainsAny(t.text, "@<>") {
			return "", errors.New("a local part that looks like an address")
		}
		wasWord = isWord
	}
	switch domain := words[at+1:]; {
	case len(domain) > 0 && domain[0].kind == literal:
		return "", errors.New("an address literal instead of a domain")
	default:
		return joinDomain(domain)
	}
}

// joinDomain puts the atoms and dots of a domain together.
func joinDomain(words []token) (string, error) {
	var joined strings.Builder
	for _, t := range words {
		switch {
		case t.kind != atom && t.kind != '.':
			return "", fmt.Errorf("%s in a domain", t)
		case t.apart:
			return "", errors.New("a blank or a comment before or in a domain")
		}
		joined.WriteString(t.text)
	}
	if joined.Len() > maxDomainLen {
		return "", fmt.Errorf("a domain of %d octets", joined.Len())
	}
	domain := policy.CanonicalDomain(joined.String())
	if !utf8.ValidString(joined.String()) || !isDomain(domain) {
		return "", fmt.Errorf("%+q as a domain", shorten(joined.String()))
	}
	return domain, nil
}

// isDomain tells whether a canonical name can be a name of the DNS to which mail
// goes: letters, digits, hyphens and underscores.
func isDomain(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, isForeign) {
			return false
		}
	}
	return true
}

func isForeign(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
}
