package dns

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	miekg "github.com/miekg/dns"
)

// How long an answer is kept: as its records and RFC 2308 say, within our limits.
func TestKept(t *testing.T) {
	soa := func(name string, ttl, minimum uint32) string {
		return fmt.Sprintf("%s %d IN SOA ns.example. admin.example. 1 3600 600 86400 %d\n", name, ttl, minimum)
	}
	type reply struct {
		rcode             int
		answer, authority string
	}
	for name, tc := range map[string]struct {
		reply reply
		want  time.Duration
	}{
		"TTL":                  {reply{answer: "name.example. 60 IN TXT x"}, time.Minute},
		"least of two":         {reply{answer: "name.example. 60 IN TXT x\nname.example. 50 IN TXT y"}, 50 * time.Second},
		"least of the aliases": {reply{answer: "name.example. 40 IN CNAME a.example.\na.example. 50 IN TXT y"}, 40 * time.Second},
		"of another name":      {reply{answer: "name.example. 60 IN TXT x\nother.example. 50 IN TXT y"}, time.Minute},
		"0":                    {reply{answer: "name.example. 0 IN TXT x"}, minTTL},
		"a week":               {reply{answer: "name.example. 604800 IN TXT x"}, maxTTL},
		"beyond 31 bits":       {reply{answer: "name.example. 2147483648 IN TXT x"}, minTTL},

		"NXDOMAIN":                  {reply{miekg.RcodeNameError, "", soa("example.", 300, 60)}, time.Minute},
		"NODATA":                    {reply{authority: soa("name.example.", 300, 60)}, time.Minute},
		"the SOA's own TTL":         {reply{miekg.RcodeNameError, "", soa(".", 30, 60)}, 30 * time.Second},
		"NXDOMAIN of the alias":     {reply{miekg.RcodeNameError, "name.example. 20 IN CNAME a.test.", soa("test.", 300, 60)}, 20 * time.Second},
		"negative 0":                {reply{miekg.RcodeNameError, "", soa("example.", 0, 0)}, minTTL},
		"negative a day":            {reply{miekg.RcodeNameError, "", soa("example.", 86400, 86400)}, maxNegativeTTL},
		"negative without SOA":      {reply{miekg.RcodeNameError, "", ""}, 0},
		"the SOA of another zone":   {reply{miekg.RcodeNameError, "", soa("test.", 300, 60)}, 0},
		"NODATA without SOA":        {reply{}, 0},
		"SERVFAIL":                  {reply{rcode: miekg.RcodeServerFailure}, failureTTL},
		"aliases without end":       {reply{answer: "name.example. 60 IN CNAME name.example."}, failureTTL},
		"NXDOMAIN, but with record": {reply{miekg.RcodeNameError, "name.example. 60 IN TXT x", soa("example.", 300, 50)}, 50 * time.Second},
	} {
		now := time.Now()
		queries := 0
		client := newFake(t, func() time.Time { return now }, func(_ context.Context, _, _ string, q question) (*miekg.Msg, error) {
			queries++
			return replyTo(t, q, tc.reply.rcode, tc.reply.answer, tc.reply.authority), nil
		})
		client.servers = client.servers[:1]
		first := query(t.Context(), client, "TXT", "name.example")
		if tc.want > 0 {
			now = now.Add(tc.want - time.Nanosecond)
			if again := query(t.Context(), client, "TXT", "NAME.example"); again != first || queries != 1 {
				t.Errorf("%s: %q, then %q after %d queries, within %s", name, first, again, queries, tc.want)
			}
			now = now.Add(time.Nanosecond)
		}
		if again := query(t.Context(), client, "TXT", "name.example"); again != first || queries != 2 {
			t.Errorf("%s: %q, then %q after %d queries, at %s", name, first, again, queries, tc.want)
		}
	}
}

// A silent server's failure is kept too; a caller's own end is not.
func TestTroubleKept(t *testing.T) {
	queries, now := 0, time.Now()
	client := newFake(t, func() time.Time { return now }, func(ctx context.Context, _, _ string, _ question) (*miekg.Msg, error) {
		queries++
		return nil, errors.New("broken")
	})
	want := "temporary: the name server fails: broken"
	for range 3 {
		if got := query(t.Context(), client, "TXT", "name.example"); got != want || queries != 2 {
			t.Errorf("got %q after %d queries", got, queries)
		}
	}
	if diff := cmp.Diff(Stats{Hits: 2, Misses: 1, Failures: 1, Entries: 1, Octets: entryOctets + len("name.example")}, client.Stats()); diff != "" {
		t.Error(diff)
	}
}

// The cache holds so many entries and octets, and no more; the ones used last stay.
func TestCacheLimits(t *testing.T) {
	now := time.Now()
	name := func(i int) question { return question{fmt.Sprintf("n%04d", i), miekg.TypeTXT} }
	text := func(octets int) answer {
		return answer{records: []record{{text: strings.Repeat("x", octets)}}, ttl: time.Hour}
	}
	kept := func(c *cache, upTo int) (names []string) {
		for i := range upTo {
			if _, ok := c.get(name(i), now); ok {
				names = append(names, name(i).name)
			}
		}
		return names
	}

	c := newCache(3, 1<<20)
	for i := range 5 {
		c.put(name(i), text(1), now)
		c.get(name(0), now)
	}
	if diff := cmp.Diff([]string{"n0000", "n0003", "n0004"}, kept(c, 5)); diff != "" {
		t.Errorf("by entries: %s", diff)
	}

	const each = entryOctets + recordOctets + 5 + 1000
	c = newCache(100, 3*each)
	for i := range 50 {
		c.put(name(i), text(1000), now)
		c.put(name(i), text(1000), now)
	}
	if diff := cmp.Diff([]string{"n0047", "n0048", "n0049"}, kept(c, 50)); diff != "" || c.octets != 3*each {
		t.Errorf("by octets: %d, %s", c.octets, diff)
	}
	c.put(name(50), text(3*each), now)
	if got := kept(c, 51); got != nil || c.octets != 0 || c.recent.Len() != 0 {
		t.Errorf("after one too large for it: %d octets, %q", c.octets, got)
	}
	c.put(name(1), text(1), now)
	if _, ok := c.get(name(1), now.Add(time.Hour)); ok || c.len() != 0 || c.octets != 0 {
		t.Errorf("after the last expired: %d entries, %d octets", c.len(), c.octets)
	}
}
