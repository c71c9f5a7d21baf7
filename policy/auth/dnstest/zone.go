package dnstest

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	miekg "github.com/miekg/dns"
)

// defaultTTL is the time to live, in seconds, of a record that gives none.
const defaultTTL = 300

// A fault is something other than an honest answer.
type fault string

const (
	timeout   fault = "TIMEOUT"
	truncated fault = "TRUNCATED"
	wrongID   fault = "WRONGID"
	garbage   fault = "GARBAGE"
)

func isFault(word string) bool {
	_, isRcode := miekg.StringToRcode[word]
	return isRcode || slices.Contains([]fault{timeout, truncated, wrongID, garbage}, fault(word))
}

// A question is a name, in lower case with its final dot, and a type such as "TXT".
type question struct{ name, typ string }

// ask normalises a question as a person writes it.
func ask(name, typ string) question {
	return question{miekg.CanonicalName(name), strings.ToUpper(typ)}
}

// A zone is what a server knows.
type zone struct {
	records map[question][]miekg.RR
	// faults has the type "" for all types of a name.
	faults map[question]fault
	// names are all that have records or faults, and those above them.
	names map[string]bool
}

func parseZone(text string) (*zone, error) {
	z := &zone{map[question][]miekg.RR{}, map[question]fault{}, map[string]bool{}}
	number := 0
	for line := range strings.Lines(text) {
		number++
		if words := strings.Fields(line); len(words) > 1 && isFault(words[1]) {
			z.addFault(words[0], fault(words[1]), words[2:])
		} else if err := z.addLine(strings.TrimSpace(line)); err != nil {
			return nil, fmt.Errorf("line %d of the zone: %w: write a record, such as %q, or a fault, such as %q",
				number, err, "example.com 300 MX 10 mail.example.com", "example.com SERVFAIL TXT")
		}
	}
	return z, nil
}

// addLine adds the record of a line, or nothing if it is empty or a comment. Each
// line has a parser of its own, or a TTL would hold for the lines that follow.
func (z *zone) addLine(line string) error {
	parser := miekg.NewZoneParser(strings.NewReader(line+"\n"), ".", "")
	parser.SetDefaultTTL(defaultTTL)
	if rr, ok := parser.Next(); ok {
		z.addRecord(rr)
	}
	return parser.Err()
}

func (z *zone) addFault(name string, f fault, types []string) {
	if len(types) == 0 {
		types = []string{""}
	}
	for _, typ := range types {
		z.faults[ask(name, typ)] = f
	}
	z.addName(name)
}

func (z *zone) addRecord(rr miekg.RR) {
	header := rr.Header()
	q := ask(header.Name, miekg.TypeToString[header.Rrtype])
	z.records[q] = append(z.records[q], rr)
	z.addName(header.Name)
}

func (z *zone) addName(name string) {
	for above := range enclosing(miekg.CanonicalName(name)) {
		z.names[above] = true
	}
}

// fault is what goes wrong with a question, or "".
func (z *zone) fault(q question) fault {
	if f, ok := z.faults[q]; ok {
		return f
	}
	return z.faults[question{name: q.name}]
}

// answer fills in the answer to a question: the records, after the aliases that
// lead to them, or the SOA record that says how long there are none.
func (z *zone) answer(reply *miekg.Msg, q question) {
	for seen := map[string]bool{}; !seen[q.name]; {
		seen[q.name] = true
		if found := z.records[q]; found != nil {
			reply.Answer = append(reply.Answer, found...)
			return
		}
		aliases := z.records[question{q.name, "CNAME"}]
		if aliases == nil {
			z.nothing(reply, q.name)
			return
		}
		reply.Answer = append(reply.Answer, aliases...)
		q.name = miekg.CanonicalName(aliases[0].(*miekg.CNAME).Target)
	}
}

func (z *zone) nothing(reply *miekg.Msg, name string) {
	if !z.names[name] {
		reply.Rcode = miekg.RcodeNameError
	}
	for above := range enclosing(name) {
		if soa := z.records[question{above, "SOA"}]; soa != nil {
			reply.Ns = append(reply.Ns, soa...)
			return
		}
	}
}

// enclosing goes through a name and those above it, up to the root.
func enclosing(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, off := range miekg.Split(name) {
			if !yield(name[off:]) {
				return
			}
		}
		yield(".")
	}
}
