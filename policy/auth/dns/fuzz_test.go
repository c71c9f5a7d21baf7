package dns

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	miekg "github.com/miekg/dns"
)

// A name either is refused or goes out with the very labels that its text has.
func FuzzName(f *testing.F) {
	for _, seed := range []string{
		"example.com", "EXAMPLE.com.", "", ".", "..", "a..b", ".a", `a\.b`, `a\`, `\046`, "a\x00b", "ü.example", "\xff",
		`q'@;()" \.x`, strings.Repeat("x", 64), strings.Repeat("x.", 127), strings.Repeat("\x00", 63) + ".a",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		labels := strings.Split(strings.TrimSuffix(name, "."), ".")
		valid := len(strings.TrimSuffix(name, ".")) <= 253 &&
			!slices.ContainsFunc(labels, func(l string) bool { return l == "" || len(l) > 63 })
		presented, ok := presentation(name)
		if ok != valid {
			t.Fatalf("%q: valid %t, want %t", name, ok, valid)
		}
		if !ok {
			return
		}
		var want []byte
		for _, label := range labels {
			want = append(append(want, byte(len(label))), lower(label)...)
		}
		want = append(want, 0)
		wire := make([]byte, 256)
		n, err := miekg.PackDomainName(presented+".", wire, 0, nil, false)
		if err != nil || !bytes.Equal(wire[:n], want) {
			t.Fatalf("%q is sent as %q, %v; want %q", name, wire[:n], err, want)
		}
		back, _, err := miekg.UnpackDomainName(wire, 0)
		if err != nil || back != presented+"." {
			t.Fatalf("%q is compared as %q with %q, %v", name, presented, back, err)
		}
		if again := unescape(presented); again != lower(strings.TrimSuffix(name, ".")) {
			t.Fatalf("%q is unescaped as %q", name, again)
		}
	})
}

// lower is strings.ToLower for octets.
func lower(s string) string {
	octets := []byte(s)
	for i, c := range octets {
		if 'A' <= c && c <= 'Z' {
			octets[i] = c | 0x20
		}
	}
	return string(octets)
}

// Whatever octets come as the rest of a reply to our question, the answer is one of
// the question: records of the name or its aliases, within the limits, or an error.
func FuzzAnswer(f *testing.F) {
	q := question{"name.example", miekg.TypeTXT}
	types := []uint16{miekg.TypeTXT, miekg.TypeMX, miekg.TypeA, miekg.TypeAAAA, miekg.TypePTR}
	const head = 12 + len("\x04name\x07example\x00") + 4 // header and question
	for i, sections := range [][2]string{
		{"name.example. 60 IN TXT \"a\\\\b\" \"\\000\"\nother.example. 60 IN TXT x", ""},
		{"name.example. 60 IN MX 10 mail.example.\nname.example. 60 IN MX 5 evil\\.one.example.", ""},
		{"name.example. 60 IN CNAME a.example.\na.example. 0 IN CNAME b.example.\nb.example. 60 IN A 192.0.2.1", ""},
		{"name.example. 60 IN AAAA 2001:db8::1", ""},
		{"name.example. 60 IN PTR evil\\032x.example.", "example. 60 IN SOA ns.example. a.example. 1 2 3 4 5"},
	} {
		reply := replyTo(f, question{q.name, types[i]}, miekg.RcodeSuccess, sections[0], sections[1])
		octets, err := reply.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), uint8(0), uint16(len(reply.Answer)), uint16(len(reply.Ns)), octets[head:])
	}
	f.Fuzz(func(t *testing.T, typ, rcode uint8, answers, authorities uint16, rest []byte) {
		q.typ = types[int(typ)%len(types)]
		octets := binary.BigEndian.AppendUint16(nil, 7)
		octets = append(octets, 0x81, 0x80|rcode&15)
		for _, count := range []uint16{1, answers, authorities, 0} {
			octets = binary.BigEndian.AppendUint16(octets, count)
		}
		octets = append(octets, "\x04name\x07example\x00"...)
		octets = binary.BigEndian.AppendUint16(octets, q.typ)
		octets = append(binary.BigEndian.AppendUint16(octets, 1), rest...)
		reply, err := q.parse(octets, 7)
		if err != nil {
			return
		}
		check(t, q, reply, q.read(reply))
	})
}

// check compares an answer with all that the reply could ever justify.
func check(t *testing.T, q question, reply *miekg.Msg, a answer) {
	switch {
	case a.ttl < 0 || a.ttl > maxTTL:
		t.Fatalf("kept for %s", a.ttl)
	case a.err != nil && (a.records != nil || a.err.IsNotFound == a.err.IsTemporary):
		t.Fatalf("error %#v with records %v", a.err, a.records)
	case a.err == nil && (len(a.records) == 0 || len(a.records) > maxRecords):
		t.Fatalf("%d records", len(a.records))
	}
	names := map[string]bool{q.name + ".": true}
	for range reply.Answer {
		for _, rr := range reply.Answer {
			if alias, ok := rr.(*miekg.CNAME); ok && names[strings.ToLower(alias.Hdr.Name)] {
				names[strings.ToLower(alias.Target)] = true
			}
		}
	}
	justified := map[record]bool{}
	for _, rr := range reply.Answer {
		if r, ok := data(rr); ok && rr.Header().Rrtype == q.typ && names[strings.ToLower(rr.Header().Name)] {
			justified[r] = true
		}
	}
	octets := 0
	for _, r := range a.records {
		octets += len(r.text)
		if !justified[r] {
			t.Fatalf("record %+v is not of %s in\n%s", r, q.name, reply)
		}
		isName := strings.HasSuffix(r.text, ".") && !strings.ContainsFunc(r.text, func(c rune) bool { return c <= ' ' || c > '~' || c == '\\' })
		if (q.typ == miekg.TypeMX || q.typ == miekg.TypePTR) && !isName {
			t.Fatalf("name %q", r.text)
		}
	}
	if q.typ == miekg.TypeTXT && octets > maxTXT {
		t.Fatalf("%d octets", octets)
	}
}
