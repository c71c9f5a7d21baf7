package dkim

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatemilter/policy"
)

// TestSignatureOfTheAuthorIsVerified [A2, A3]: however many signatures of others stand
// above it, the one that DMARC needs is among those that are verified, no more of them
// than the limit, and the results are in the order of the header.
func TestSignatureOfTheAuthorIsVerified(t *testing.T) {
	signed := parse(sign(plain, "ed", "relaxed/relaxed"))
	for _, others := range []int{5, 2000} {
		m := signed
		m.fields = nil
		for i := range others {
			value := tagsWith("d=Example.org", "d=relay.example", "joe@Example.org", "@relay.example", "s=ed", fmt.Sprintf("s=s%d", i))
			m.fields = append(m.fields, policy.Field{Name: "DKIM-Signature", Value: value})
		}
		m.fields = append(m.fields, signed.fields...)
		var asked atomic.Int32
		results := verify(t, m, func(ctx context.Context, name string) ([]string, error) {
			asked.Add(1)
			return ownKeys().LookupTXT(ctx, name)
		})
		var got []string
		for _, r := range results {
			got = append(got, fmt.Sprintf("%s %s %s", r.Result, r.Selector, r.Domain))
		}
		want := []string{
			"permerror s0 relay.example", "permerror s1 relay.example", "permerror s2 relay.example", "permerror s3 relay.example",
			"pass ed example.org", "policy  ",
		}
		if diff := cmp.Diff(want, got); diff != "" || asked.Load() != 5 {
			t.Errorf("%d others: %d keys asked for (-want +got):\n%s", others, asked.Load(), diff)
		}
		if want := fmt.Sprintf("too many signatures: %d more than 5", others-4); len(results) == 6 && results[5].Reason != want {
			t.Errorf("%d others: %q, want %q", others, results[5].Reason, want)
		}
	}
}

// TestChoice: which two signatures are verified, by their places among all.
func TestChoice(t *testing.T) {
	for _, row := range []struct {
		from, domains string
		want          []int
	}{
		{"joe@example.org", "example.net", []int{0}},
		{"joe@example.org", "a.example b.example", []int{0, 1}},
		{"joe@example.org", "a.example b.example c.example", []int{0, 1}},
		{"joe@example.org", "a.example b.example example.org", []int{0, 2}},
		{"joe@example.org", "a.example example.org b.example example.org", []int{1, 3}},
		{"joe@example.org", "a.example example.org mail.example.org example.org", []int{1, 2}},
		{"JOE@Example.ORG", "a.example b.example EXAMPLE.org", []int{0, 2}},
		{"joe@news.example.org", "a.example b.example example.org", []int{0, 2}},
		{"joe@news.example.org", "a.example b.example mail.example.org", []int{0, 2}},
		{"joe@example.org", "example.net badexample.org org example.org", []int{0, 3}},
		{"joe@bücher.example", "a.example b.example xn--bcher-kva.example", []int{0, 2}},
		{`"x@b.example" <joe@example.org>`, "a.example b.example example.org", []int{0, 2}},
		{"x@b.example <joe@example.org>", "a.example b.example example.org", []int{0, 1}}, // permerror
		{"Joe <joe@example.org>, Jim <jim@example.com>", "a.example b.example example.com example.org", []int{2, 3}},
		{"joe", "a.example b.example c.example", []int{0, 1}},
		{"joe@org", "a.example b.example example.org", []int{0, 1}},
	} {
		fields := []policy.Field{}
		for domain := range strings.FieldsSeq(row.domains) {
			fields = append(fields, policy.Field{Name: "DKIM-Signature", Value: "v=1; s=d=a; \n\td = " + domain + "; b=x"})
		}
		n := len(fields)
		fields = append(fields, policy.Field{Name: "From", Value: row.from})
		got, surplus := choose(fields, 2)
		if diff := cmp.Diff(row.want, got); diff != "" || surplus != n-len(got) {
			t.Errorf("from %s, signed by %s: surplus %d (-want +got):\n%s", row.from, row.domains, surplus, diff)
		}
	}
}

// TestChoiceIsLinear [A2]: to choose takes no more time or memory for each signature
// when there are many.
func TestChoiceIsLinear(t *testing.T) {
	linear(t, "signatures", 1000, func(n int) {
		m := withSignatures(parse("From: "+strings.Repeat("a@example.net, ", 1000)+"joe@example.com\r\n\r\n"), n)
		if places, surplus := choose(m.fields, 5); len(places) != 5 || surplus != n-5 {
			t.Errorf("%d chosen, %d left of %d", len(places), surplus, n)
		}
	})
}
