package dmarc

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// RFC 9989, section 4.10: which names a walk asks.
func TestWalkTargets(t *testing.T) {
	for _, c := range []struct{ domain, want string }{
		{"com", "com"},
		{"a.mail.example.com", "a.mail.example.com mail.example.com example.com com"},
		{"a.b.c.d.e.f.g", "a.b.c.d.e.f.g b.c.d.e.f.g c.d.e.f.g d.e.f.g e.f.g f.g g"},
		{"a.b.c.d.e.f.g.h", "a.b.c.d.e.f.g.h b.c.d.e.f.g.h c.d.e.f.g.h d.e.f.g.h e.f.g.h f.g.h g.h h"},
		// The example of the RFC.
		{"a.b.c.d.e.f.g.h.i.j.mail.example.com", "a.b.c.d.e.f.g.h.i.j.mail.example.com g.h.i.j.mail.example.com " +
			"h.i.j.mail.example.com i.j.mail.example.com j.mail.example.com mail.example.com example.com com"},
	} {
		z := newZone(t, "")
		w := newWalker(z, maxQueries)
		if _, err := w.walk(t.Context(), c.domain); err != nil {
			t.Fatal(err)
		}
		var want []string
		for name := range strings.FieldsSeq(c.want) {
			want = append(want, "_dmarc."+name+" TXT")
		}
		if !slices.Equal(z.queries, want) {
			t.Errorf("%s: asked %q, want %q", c.domain, z.queries, want)
		}
	}
}

// RFC 9989, section 4.10.2: which domain is the organisational one. Records are
// given as "NAME[=PSD]".
func TestOrganisationalDomain(t *testing.T) {
	for _, c := range []struct{ domain, records, want string }{
		{"a.mail.example.com", "", "a.mail.example.com"},
		{"a.mail.example.com", "a.mail.example.com", "a.mail.example.com"},
		{"a.mail.example.com", "mail.example.com example.com", "example.com"},
		{"a.mail.example.com", "mail.example.com=n example.com", "mail.example.com"},
		{"a.mail.example.com", "com=y", "example.com"},
		{"a.mail.example.com", "com", "com"},
		{"a.mail.example.com", "mail.example.com example.com=y", "mail.example.com"},
		{"a.mail.example.com", "example.com=y", "mail.example.com"},
		{"a.mail.example.com", "a.mail.example.com mail.example.com=y", "a.mail.example.com"},
		{"mail.example.com", "mail.example.com=y example.com", "mail.example.com"},
		{"mail.example.com", "mail.example.com=n example.com=n", "mail.example.com"},
		{"com", "com=y", "com"},
		// A name between the first and the next query is never asked, but can be
		// the one below a suffix.
		{"a.b.c.d.e.f.g.h.i.j", "d.e.f.g.h.i.j=y", "c.d.e.f.g.h.i.j"},
		{"a.b.c.d.e.f.g.h.i.j", "c.d.e.f.g.h.i.j=n i.j", "i.j"},
	} {
		var text strings.Builder
		for rec := range strings.FieldsSeq(c.records) {
			name, psd, _ := strings.Cut(rec, "=")
			fmt.Fprintf(&text, "_dmarc.%s TXT v=DMARC1; p=none; psd=%s\n", name, psd)
		}
		w := newWalker(newZone(t, text.String()), maxQueries)
		got, err := w.organisational(t.Context(), c.domain)
		if err != nil || got != c.want {
			t.Errorf("%s with %q: %q, %v, want %q", c.domain, c.records, got, err, c.want)
		}
	}
}
