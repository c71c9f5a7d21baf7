package dmarc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
)

const (
	// maxQueries bounds the names asked for one message; an address lookup
	// counts as two, for it asks A and AAAA. The record and the policy of one
	// author take at most twelve, of which a walk has eight: among maxAuthors
	// there are enough for each.
	maxQueries = 60
	// walkLabels is how many labels are left of a long name after the first
	// query of its walk (section 4.10, step 4).
	walkLabels = 7
	// maxReason bounds the octets of a reason.
	maxReason = 200
)

var errBudget = errors.New("too many DNS queries for one message")

// A walker asks for records, each at most once in an evaluation: walks share
// their upper parts.
type walker struct {
	dns Resolver
	// left is how many queries there may be more.
	left    int
	records map[string]answer
}

func newWalker(dns Resolver, queries int) *walker {
	return &walker{dns: dns, left: queries, records: make(map[string]answer)}
}

type answer struct {
	record *record
	err    error
}

// A found is a record and the domain that has it. Without a record it is
// nobody's.
type found struct {
	domain string
	*record
}

// applicable finds the record that applies to an author domain (section 4.10.1).
func (w *walker) applicable(ctx context.Context, author string) (found, error) {
	rec, err := w.record(ctx, author)
	if err != nil || rec != nil {
		return found{author, rec}, err
	}
	walk, err := w.walk(ctx, author)
	if err != nil || len(walk) == 0 {
		return found{}, err
	}
	org := organisation(author, walk)
	for _, f := range walk {
		if f.domain == org {
			return f, nil
		}
	}
	return walk[len(walk)-1], nil // the public suffix that ended the walk
}

// organisational returns the organisational domain of a domain.
func (w *walker) organisational(ctx context.Context, domain string) (string, error) {
	walk, err := w.walk(ctx, domain)
	return organisation(domain, walk), err
}

// isSuffix tells whether an organisational domain is a public suffix itself. If so,
// the walk that found it began there.
func (w *walker) isSuffix(org string) bool {
	r := w.records[org].record
	return r != nil && r.psd == "y"
}

// organisation chooses the organisational domain among the domains with records
// that a walk found, longest first (section 4.10.2).
func organisation(start string, walk []found) string {
	org := start
	for _, f := range walk {
		switch {
		case f.psd == "n":
			return f.domain
		case f.psd == "y" && f.domain != start:
			return oneBelow(f.domain, start)
		}
		org = f.domain
	}
	return org
}

// walk collects the records of a domain and of those above it, up to one that
// says where the organisation ends (section 4.10).
func (w *walker) walk(ctx context.Context, domain string) ([]found, error) {
	var walk []found
	for name := domain; name != ""; name = above(name) {
		rec, err := w.record(ctx, name)
		if err != nil {
			return nil, err
		}
		if rec == nil {
			continue
		}
		walk = append(walk, found{name, rec})
		if rec.psd != "u" {
			break
		}
	}
	return walk, nil
}

// record returns the record of one domain, or nil: several at one name are none.
func (w *walker) record(ctx context.Context, domain string) (*record, error) {
	if a, ok := w.records[domain]; ok {
		return a.record, a.err
	}
	var a answer
	var texts []string
	if texts, a.err = ask(ctx, w, 1, w.dns.LookupTXT, "_dmarc."+domain); a.err == nil {
		a.record = only(texts)
	}
	w.records[domain] = a
	return a.record, a.err
}

func only(texts []string) *record {
	var single *record
	for _, text := range texts {
		if r := parseRecord(text); r != nil {
			if single != nil {
				return nil
			}
			single = r
		}
	}
	return single
}

// exists tells whether a domain has records that one can see from afar.
func (w *walker) exists(ctx context.Context, domain string) (bool, error) {
	addrs, err := ask(ctx, w, 2, w.dns.LookupIPAddr, domain)
	if err != nil || len(addrs) > 0 {
		return true, err
	}
	mxs, err := ask(ctx, w, 1, w.dns.LookupMX, domain)
	if err != nil || len(mxs) > 0 {
		return true, err
	}
	texts, err := ask(ctx, w, 1, w.dns.LookupTXT, domain)
	return len(texts) > 0, err
}

// ask makes one lookup of the given cost. That there is nothing is no error.
func ask[T any](ctx context.Context, w *walker, cost int, lookup func(context.Context, string) ([]T, error), name string) ([]T, error) {
	if w.left -= cost; w.left < 0 {
		return nil, errBudget
	}
	answers, err := lookup(ctx, name)
	if err == nil {
		return answers, nil
	}
	dns, ok := errors.AsType[*net.DNSError](err)
	switch {
	case ok && dns.IsNotFound:
		return nil, nil
	case ok && dns.Server == "":
		return nil, fmt.Errorf("DNS, asked for %q: %s", name, dns.Err)
	default:
		// The texts of net.Resolver and of sockets hold addresses and ports of
		// ours, and reasons reach strangers.
		return nil, fmt.Errorf("DNS, asked for %q: the lookup failed", name)
	}
}

// above returns the name that a walk asks after this one, or "" after the last.
func above(name string) string {
	for strings.Count(name, ".") > walkLabels {
		_, name, _ = strings.Cut(name, ".")
	}
	_, name, _ = strings.Cut(name, ".")
	return name
}

// oneBelow returns the name one label below a domain, on the way down to a name
// within it.
func oneBelow(domain, name string) string {
	labels := strings.TrimSuffix(name, "."+domain)
	return labels[strings.LastIndexByte(labels, '.')+1:] + "." + domain
}

// isWithin tells whether name is the domain or below it.
func isWithin(name, domain string) bool {
	rest, ok := strings.CutSuffix(name, domain)
	return ok && (rest == "" || strings.HasSuffix(rest, "."))
}

// trouble is the reason of a temporary error.
func trouble(err error) string {
	return shorten("DMARC can't be decided now: " + err.Error())
}

func shorten(reason string) string {
	if len(reason) > maxReason {
		return strings.ToValidUTF8(reason[:maxReason-3], "") + "..."
	}
	return reason
}
