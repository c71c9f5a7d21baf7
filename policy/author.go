package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxFromLen bounds the octets of a From field.
const maxFromLen = 16 << 10

// An Author is one of those in a From field.
type Author struct {
	// Name is the display name as it stands in the field, unfolded and without
	// comments, or "".
	Name string
	// Address is as it stands in the field, without comments.
	Address string
}

// Authors returns the authors in From, of whom there must be one, in order. It takes
// the body of each From field of the message, folded or not. There must be one field
// whose grammar is that of RFC 5322, section 3.6.2, with UTF-8 (RFC 6532), groups (RFC
// 6854) and empty list elements (section 4.4). What mail programs may read in two ways
// is an error, and so are the disguises that honest mail doesn't need, obsolete routes
// and addresses in a quoted local part: who judges another address than the reader
// sees lends a spoofer a good name.
func Authors(from []string) ([]Author, error) {
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
	p := authorParser{tokens: tokens}
	if err := p.list(); err != nil {
		return nil, fmt.Errorf("malformed From field: %w", err)
	}
	if len(p.authors) == 0 {
		return nil, errors.New("the From field names no address")
	}
	return p.authors, nil
}

// An authorParser reads an address list. Each of its methods leaves it behind what it
// read.
type authorParser struct {
	tokens  []fromToken
	authors []Author
}

func (p *authorParser) peek() fromToken { return p.tokens[0] } // the last one is end

func (p *authorParser) next() fromToken {
	t := p.tokens[0]
	if t.kind != tokenEnd {
		p.tokens = p.tokens[1:]
	}
	return t
}

func (p *authorParser) list() error {
	for {
		if err := p.element(false); err != nil {
			return err
		}
		switch t := p.next(); {
		case t.kind == tokenEnd:
			return nil
		case t.kind != ',':
			return fmt.Errorf("%s after an address", t)
		}
	}
}

// element reads a mailbox, or, outside a group, a group. It may be empty
// (obsolete syntax).
func (p *authorParser) element(inGroup bool) error {
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
func (p *authorParser) words() []fromToken {
	n := slices.IndexFunc(p.tokens, func(t fromToken) bool {
		return t.kind == tokenEnd || strings.ContainsRune(",:;<>", rune(t.kind))
	})
	words := p.tokens[:n]
	p.tokens = p.tokens[n:]
	return words
}

// group reads the members of a group, after its name and colon.
func (p *authorParser) group(name []fromToken) error {
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
func (p *authorParser) angle(name []fromToken) error {
	if isAt(p.peek()) {
		return errors.New("a route before an address") // "@a,@b:" (RFC 5322, section 4.4)
	}
	address := p.words()
	domain, err := domainOf(address)
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
	p.add(name, address)
	return nil
}

func (p *authorParser) address(words []fromToken) error {
	_, err := domainOf(words)
	if err != nil {
		return err
	}
	p.add(nil, words)
	return nil
}

func (p *authorParser) add(name, address []fromToken) {
	p.authors = append(p.authors, Author{join(name, " "), join(address, "")})
}

// join puts words together, with blank for all that stood between two of them.
func join(words []fromToken, blank string) string {
	var joined strings.Builder
	for i, t := range words {
		if i > 0 && t.apart {
			joined.WriteString(blank)
		}
		joined.WriteString(t.text)
	}
	return unfolded.Replace(joined.String())
}

// unfolded drops the line breaks of folding (RFC 5322, section 2.2.3).
var unfolded = strings.NewReplacer("\r", "", "\n", "")

// domainOf reads "local-part@domain". The local part is atoms, quoted strings
// and dots in any order that leaves no two words side by side; the domain is one
// atom: blanks or comments inside it are obsolete, and read differently by
// different programs.
func domainOf(words []fromToken) (string, error) {
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
		if t.kind == tokenLiteral || isWord && wasWord {
			return "", errors.New("a local part of several words")
		}
		if t.kind == tokenQuoted && strings.ContainsAny(t.text, "@<>") {
			return "", errors.New("a local part that looks like an address")
		}
		wasWord = isWord
	}
	switch domain := words[at+1:]; {
	case len(domain) > 0 && domain[0].kind == tokenLiteral:
		return "", errors.New("an address literal instead of a domain")
	default:
		return joinDomain(domain)
	}
}

// joinDomain puts the atoms and dots of a domain together.
func joinDomain(words []fromToken) (string, error) {
	var joined strings.Builder
	for _, t := range words {
		switch {
		case t.kind != tokenAtom && t.kind != '.':
			return "", fmt.Errorf("%s in a domain", t)
		case t.apart:
			return "", errors.New("a blank or a comment before or in a domain")
		}
		joined.WriteString(t.text)
	}
	if joined.Len() > maxDomain {
		return "", fmt.Errorf("a domain of %d octets", joined.Len())
	}
	domain := CanonicalDomain(joined.String())
	if !utf8.ValidString(joined.String()) || !IsDomain(domain) {
		return "", fmt.Errorf("%+.100q as a domain", joined.String())
	}
	return domain, nil
}
