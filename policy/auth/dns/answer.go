package dns

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	miekg "github.com/miekg/dns"
)

// The limits of an answer. One beyond them is a temporary error: its records are
// there, so it would be wrong to say that they aren't, and wrong to show a part.
const (
	// maxRecords is far above what lookups for mail find; the largest domains
	// have some hundred TXT records.
	maxRecords = 256
	// maxTXT bounds the octets of all TXT records of a name together.
	maxTXT = 32 << 10
	// maxAliases bounds a chain of CNAME records.
	maxAliases = 8
)

// How long answers are kept, whatever their TTL says.
const (
	// minTTL makes the parts of a message's evaluation see the same records.
	minTTL = 5 * time.Second
	maxTTL = time.Hour
	// maxNegativeTTL bounds how long new records stay unseen. RFC 2308, section 5,
	// suggests hours, but to name servers; we only stand behind one.
	maxNegativeTTL = 10 * time.Minute
	// failureTTL spares servers that fail (RFC 2308, section 7, allows 5 minutes).
	failureTTL = 5 * time.Second
)

// A record is a record's data: the address of A and AAAA records, the text of TXT
// records, the name and preference of others.
type record struct {
	text       string
	addr       netip.Addr
	preference uint16
}

// An answer is the end of a question: records or an error, and how long that holds.
// It is shared and never changed.
type answer struct {
	records []record
	err     *net.DNSError
	// ttl 0 means that it must not be kept.
	ttl time.Duration
}

// failure returns the answer's error, as a copy.
func (a answer) failure() error {
	err := *a.err
	return &err
}

// malformed is the answer for what is no name.
func malformed(name string) answer {
	shown := strconv.QuoteToASCII(name[:min(len(name), maxLabel)])
	return answer{err: &net.DNSError{Err: "not a domain name", Name: shown, IsNotFound: true}}
}

// notFound is the answer that there are no such records.
func (q question) notFound(text string, ttl time.Duration) answer {
	return answer{err: &net.DNSError{Err: text, Name: q.name, IsNotFound: true}, ttl: ttl}
}

// unknown is the answer where nobody can tell.
func (q question) unknown(text string) answer {
	return answer{err: &net.DNSError{Err: text, Name: q.name, IsTemporary: true}, ttl: failureTTL}
}

// read takes the records from a reply to the question that says whether the name exists.
func (q question) read(reply *miekg.Msg) answer {
	if len(reply.Answer) > maxRecords {
		return q.unknown("more than " + strconv.Itoa(maxRecords) + " records in the answer")
	}
	name, ttl := q.name+".", maxTTL
	for range maxAliases + 1 {
		found := owned(reply.Answer, name, q.typ)
		if found != nil && reply.Rcode == miekg.RcodeSuccess {
			return q.collect(found, min(ttl, leastTTL(found)))
		}
		aliases := owned(reply.Answer, name, miekg.TypeCNAME)
		if aliases == nil {
			return q.nothing(reply, name, ttl)
		}
		ttl = min(ttl, leastTTL(aliases))
		name = aliases[0].(*miekg.CNAME).Target
	}
	return q.unknown("the aliases (CNAME) lead in a circle or further than " + strconv.Itoa(maxAliases) + " steps")
}

// owned are a name's records of a type.
func owned(all []miekg.RR, name string, typ uint16) []miekg.RR {
	var found []miekg.RR
	for _, rr := range all {
		h := rr.Header()
		if h.Rrtype == typ && h.Class == miekg.ClassINET && strings.EqualFold(h.Name, name) {
			found = append(found, rr)
		}
	}
	return found
}

func leastTTL(rrs []miekg.RR) time.Duration {
	least := maxTTL
	for _, rr := range rrs {
		least = min(least, seconds(rr.Header().Ttl))
	}
	return least
}

// seconds reads a TTL; one with the highest bit set is 0 (RFC 2181, section 8).
func seconds(ttl uint32) time.Duration {
	if ttl > 1<<31-1 {
		return 0
	}
	return time.Duration(ttl) * time.Second
}

// collect turns records, of which there are some, into the answer.
func (q question) collect(found []miekg.RR, ttl time.Duration) answer {
	records := make([]record, 0, len(found))
	octets := 0
	for _, rr := range found {
		r, ok := data(rr)
		if octets += len(r.text); q.typ == miekg.TypeTXT && octets > maxTXT {
			return q.unknown("more than " + strconv.Itoa(maxTXT) + " octets of TXT records")
		}
		if ok {
			records = append(records, r)
		}
	}
	ttl = max(ttl, minTTL)
	if len(records) == 0 {
		return q.notFound("no usable records", min(ttl, maxNegativeTTL))
	}
	slices.SortFunc(records, func(a, b record) int {
		return cmp.Or(cmp.Compare(a.preference, b.preference), a.addr.Compare(b.addr), strings.Compare(a.text, b.text))
	})
	return answer{records: slices.Compact(records), ttl: ttl}
}

// data is false for a record without data, or with a name that cannot be written as
// text.
func data(rr miekg.RR) (record, bool) {
	switch rr := rr.(type) {
	case *miekg.A:
		addr, ok := netip.AddrFromSlice(rr.A)
		return record{addr: addr.Unmap()}, ok
	case *miekg.AAAA:
		addr, ok := netip.AddrFromSlice(rr.AAAA)
		return record{addr: addr}, ok
	case *miekg.MX:
		return record{text: rr.Mx, preference: rr.Preference}, isText(rr.Mx)
	case *miekg.PTR:
		return record{text: rr.Ptr}, isText(rr.Ptr)
	case *miekg.TXT:
		return record{text: unescape(strings.Join(rr.Txt, ""))}, len(rr.Txt) > 0
	}
	return record{}, false
}

// nothing is the answer of a reply without records at the end of the aliases. It is
// kept as long as the SOA record allows, and without one not at all (RFC 2308,
// section 5).
func (q question) nothing(reply *miekg.Msg, name string, ttl time.Duration) answer {
	text := "no records of type " + miekg.Type(q.typ).String()
	if reply.Rcode == miekg.RcodeNameError {
		text = "no such name"
	}
	for _, rr := range reply.Ns {
		if soa, ok := rr.(*miekg.SOA); ok && miekg.IsSubDomain(soa.Hdr.Name, name) {
			ttl = min(ttl, seconds(soa.Hdr.Ttl), seconds(soa.Minttl), maxNegativeTTL)
			return q.notFound(text, max(ttl, minTTL))
		}
	}
	return q.notFound(text, 0)
}
