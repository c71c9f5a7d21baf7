package dns

import (
	"testing"

	miekg "github.com/miekg/dns"
)

// Only the records of the name, or of what it is an alias of, answer the question.
func TestAnswer(t *testing.T) {
	for name, tc := range map[string]struct{ answer, want string }{
		"in any case":          {"NAME.Example. 60 IN TXT x", "x"},
		"of another name":      {"other.example. 60 IN TXT x", "not found: no records of type TXT"},
		"of a name above":      {"example. 60 IN TXT x", "not found: no records of type TXT"},
		"of a name below":      {"a.name.example. 60 IN TXT x", "not found: no records of type TXT"},
		"of another type":      {"name.example. 60 IN SPF x", "not found: no records of type TXT"},
		"of another class":     {"name.example. 60 CH TXT x", "not found: no records of type TXT"},
		"alias after target":   {"a.example. 60 IN TXT x\nname.example. 60 IN CNAME A.example.", "x"},
		"alias of another":     {"other.example. 60 IN CNAME a.example.\na.example. 60 IN TXT x", "not found: no records of type TXT"},
		"alias without target": {"name.example. 60 IN CNAME a.example.", "not found: no records of type TXT"},
		"alias and record":     {"name.example. 60 IN CNAME a.example.\na.example. 60 IN TXT no\nname.example. 60 IN TXT x", "x"},
		"twice the same":       {"name.example. 60 IN TXT x\nname.example. 50 IN TXT \"\" x", "x"},
		"without data":         {"name.example. 60 IN TXT \\# 0", "not found: no usable records"},
		"empty":                {"name.example. 60 IN TXT \"\"", ""},
	} {
		q := question{"name.example", miekg.TypeTXT}
		got := q.read(replyTo(t, q, miekg.RcodeSuccess, tc.answer, ""))
		var texts []string
		for _, r := range got.records {
			texts = append(texts, r.text)
		}
		var err error
		if got.err != nil {
			err = got.failure()
		}
		if shown := show(texts, err); shown != tc.want {
			t.Errorf("%s: got %q, want %q", name, shown, tc.want)
		}
	}
}

// A reply is ours by its id and its question; all else is not looked at.
func TestParse(t *testing.T) {
	q := question{`name\@.example`, miekg.TypeTXT}
	for name, tc := range map[string]struct {
		change func(*miekg.Msg)
		ours   bool
	}{
		"unchanged":       {func(m *miekg.Msg) {}, true},
		"other case":      {func(m *miekg.Msg) { m.Question[0].Name = `NAME\064.eXample.` }, true},
		"failure":         {func(m *miekg.Msg) { m.Rcode = miekg.RcodeServerFailure }, true},
		"id":              {func(m *miekg.Msg) { m.Id++ }, false},
		"a query":         {func(m *miekg.Msg) { m.Response = false }, false},
		"other name":      {func(m *miekg.Msg) { m.Question[0].Name = `name.example.` }, false},
		"other type":      {func(m *miekg.Msg) { m.Question[0].Qtype = miekg.TypeMX }, false},
		"other class":     {func(m *miekg.Msg) { m.Question[0].Qclass = miekg.ClassCHAOS }, false},
		"no question":     {func(m *miekg.Msg) { m.Question = nil }, false},
		"second question": {func(m *miekg.Msg) { m.Question = append(m.Question, m.Question[0]) }, false},
	} {
		reply := replyTo(t, q, miekg.RcodeSuccess, `name\@.example. 60 IN TXT x`, "")
		id := reply.Id
		tc.change(reply)
		octets, err := reply.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := q.parse(octets, id); (err == nil) != tc.ours {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := q.parse(octets[:len(octets)-1], id); err == nil {
			t.Errorf("%s, one octet short: taken", name)
		}
	}
}
