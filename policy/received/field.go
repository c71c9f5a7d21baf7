package received

import "strings"

// A field is one Received field, clause by clause.
type field struct {
	client   client
	server   server
	isHop    bool // there is a from clause
	enclosed bool // it stands in a comment
	inFrom   bool
	hasBy    bool // a by stands somewhere
	broken   bool // the parentheses or quotation marks of the field don't match
}

// A server is what the clauses after from say about the server that wrote them.
type server struct {
	keyword string // the one that the next word belongs to
	bys     int
	name    string

	local bool // with local…: no network
	http  bool // a web page or API: its client says no HELO
	auth  bool // the client logged in

	// CommuniGate writes the HELO as "(HELO [192.0.2.1])". So does a server that
	// found a host named HELO: only the product's name tells them apart.
	communigate bool
}

func (f *field) parse(l lexer) {
	f.enclosed = f.open(&l)
	f.isHop = f.enclosed || f.inFrom
	f.read(&l)
}

// open reads up to the from clause. Some servers put the whole clause into a
// comment before by.
func (f *field) open(l *lexer) (enclosed bool) {
	for {
		t := l.next()
		if t.kind != comment {
			f.inFrom = t.kind == word && strings.EqualFold(t.text, "from")
			if t.kind == word && !f.inFrom {
				f.server.word(t.text)
			}
			return false
		}
		inside := l.inside(t)
		if first := inside.next(); isOneOf(first.text, "from") && l.before("by") {
			f.inFrom = true
			f.read(&inside)
			f.inFrom = false
			return true
		}
	}
}

func (f *field) read(l *lexer) {
	for t := l.next(); t.kind != end; t = l.next() {
		if f.inFrom && t.kind == word {
			f.inFrom = !f.endsFrom(t.text, l)
		}
		switch {
		case f.inFrom && t.kind == word:
			f.client.word(t.text)
			f.inFrom = f.hasBy || !strings.HasSuffix(t.text, ";")
		case f.inFrom:
			f.client.comment(l.inside(t))
		case t.kind == word:
			f.server.word(t.text)
		default:
			f.server.comment(t.text)
		}
	}
	f.broken = f.broken || l.broken || f.client.broken
}

// endsFrom tells whether a word begins the next clause: by, and only in a field
// without it another one. A client may call itself anything: the first word is
// its name, "by" at least before a comment.
func (f *field) endsFrom(s string, l *lexer) bool {
	switch {
	case f.client.tokens == 0:
		return strings.EqualFold(s, "by") && !l.atComment()
	case strings.EqualFold(s, "by"):
		return true
	}
	return !f.hasBy && (s[0] == ';' || isOneOf(s, "with", "id", "for", "via"))
}

// unbounded tells whether there is no telling where the from clause ends. A
// client that may say spaces and parentheses can write a by of its own.
func (f *field) unbounded() bool {
	return f.broken || f.server.bys > 1 || strings.EqualFold(f.client.head, "by") && f.server.bys == 0
}

func (f *field) by() string {
	if f.broken || f.server.bys != 1 || !isPlain(f.server.name) {
		return ""
	}
	return f.server.name
}

func (s *server) word(w string) {
	keyword := s.keyword
	s.keyword = ""
	switch {
	case strings.EqualFold(w, "by"):
		s.bys++
		s.keyword = "by"
	case isOneOf(w, "with", "via"):
		s.keyword = "with"
	case keyword == "by":
		w, _, _ = strings.Cut(w, ";")
		s.name = trimComma(w)
	case keyword == "with":
		s.protocol(strings.TrimSuffix(w, ";"))
	}
}

func (s *server) comment(inside string) {
	s.keyword = ""
	l := lexer{text: inside}
	switch first, _ := l.nextWord(); {
	case strings.EqualFold(first, "CommuniGate"):
		s.communigate = true
	case strings.EqualFold(first, "via"):
		protocol, _ := l.nextWord()
		s.protocol(protocol)
	}
}

func (s *server) protocol(p string) {
	switch {
	case hasPrefixFold(p, "local"):
		s.local = true
	case isOneOf(p, "HTTP", "HTTPS", "HTTPU"):
		s.http = true
	case isOneOf(p, "ESMTPA", "ESMTPSA", "ASMTP", "UTF8SMTPA", "UTF8SMTPSA"):
		s.auth = true
	}
}
