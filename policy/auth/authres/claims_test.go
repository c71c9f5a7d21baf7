package authres

import (
	"math/rand"
	"strings"
	"testing"
)

// A4: an incoming field with our authserv-id is found in whatever spelling.
func TestA4Claims(t *testing.T) {
	for _, value := range []string{
		// As RFC 8601 has it.
		"mx.example.com; none",
		"mx.example.com 1; spf=pass smtp.mailfrom=example.org",
		" mx.example.com; none",
		"\tmx.example.com ; none",
		"\r\n mx.example.com; none",
		"\n\tmx.example.com\n\t1\n\t;\n\tdkim=pass",
		"(comment) mx.example.com; none",
		"(nested (comment) here) mx.example.com; none",
		`(escaped \) parenthesis) mx.example.com; none`,
		"(semicolon; in comment) mx.example.com; none",
		`(quote " in comment) mx.example.com; none`,
		"mx.example.com (comment); none",
		"mx.example.com(comment); none",
		"(a)mx.example.com(b)1(c); none",
		"mx.example.com (c) 1 (d) ; none",
		`"mx.example.com"; none`,
		`"mx.example.com" 1; none`,
		`"mx\.example\.com"; none`,
		`"\m\x.example.com"; none`,
		`"mx.exa\mple.com"(c); none`,
		"MX.EXAMPLE.COM; none",
		"Mx.Example.coM; none",

		// Without semicolon, result, or end.
		"mx.example.com",
		"mx.example.com ",
		"mx.example.com 1",
		"mx.example.com spf=pass",
		"mx.example.com 1 spf=pass smtp.mailfrom=a@b.example",
		"mx.example.com,spf=pass",
		"mx.example.com:spf=pass",
		"mx.example.com/1; none",
		"mx.example.com=1; none",
		"mx.example.com 2; none",
		"mx.example.com one; none",
		"mx.example.com; (unclosed",
		"mx.example.com (unclosed; none",
		"(unclosed mx.example.com; none",
		`"mx.example.com; none`,
		`mx.example.com"; none`,
		"mx.example.com); none",
		")mx.example.com; none",

		// Another way to write the name.
		"mx.example.com.; none",
		"mx.example.com..; none",
		".mx.example.com; none",
		"mx。example．com; none",
		"ｍｘ.example.com; none",
		"MX.EXAMPLE.COM\u3002; none",
		"mx%2Eexample%2ecom; none",
		"%6d%78.example.com; none",
		"=?us-ascii?q?mx.example.com?=; none",
		"=?utf-8?B?bXguZXhhbXBsZS5jb20=?=; none",
		"mx\u2024example\u2024com; none",
		"mx\ufe52example.com; none",
		"m\u200bx.example.com; none",
		"\ufeffmx.example.com; none",
		"mx.exam\u00adple.com; none",
		"mx.example.com\u00a0; none",

		// In pieces.
		"mx.exa(c)mple.com; none",
		`mx.exa(\)x)mple.com; none`,
		`mx.exa(\\)mple.com; none`,
		`mx.exa(\)mple.com; x); none`,
		`mx.exa(\(x)mple.com; none`,
		`mx.exa(x\)mple.com 1; x); none`,
		`(\); mx.example.com; x); none`,
		`mx.exa(a(b)c)mple.com; none`,
		"junk mx.exa(c)mple.com; none",
		`junk mx."example".com; none`,
		"mx . example . com; none",
		"mx.example. com 1; none",
		"mx.exam\r\n ple.com; none",
		"mx.exam\x00ple.com; none",
		"mx.example.com\x00.attacker.example; none",
		"mx.exam\x00ple.com foo; none",
		"mx.exam\xffple.com; none",
		"mx.exam\xffple.com foo; none",
		"mx.example.com\xff.attacker.example; none",
		`mx".example."com; none`,
		`mx."example".com; none`,
		`mx\(c).example.com; none`,

		// With junk before.
		"; mx.example.com; none",
		";;\n ; mx.example.com; none",
		", ; mx.example.com; none",
		"(comment); mx.example.com; none",
		"(mx.example.com); none",
		"junk mx.example.com; none",
		"<mx.example.com>; none",
		"[mx.example.com]; none",
		"'mx.example.com'; none",
		"id=mx.example.com; none",
		"@mx.example.com; none",
		"postmaster@mx.example.com; none",
		"\xffmx.example.com; none",
		"other.example, mx.example.com; none",
		`"a;b" mx.example.com; none`,
		`"a\";b" mx.example.com; none`,
		"junk (a;b) mx.example.com; none",
		"junk (a(b);c) mx.example.com; none",
		`junk (a\);b) mx.example.com; none`,
		`junk (a\\) mx.example.com; none`,
		`junk ("a;b) mx.example.com; none`,
		"other.example (; mx.example.com); none",
		`"("mx.example.com; none`,
		`(")mx.example.com; none`,
		`"x" mx.example.com; none`,
		`"x"mx.example.com; none`,

		// A head without end.
		strings.Repeat(" ()", maxHeadLen) + "mx.example.com; none",
		strings.Repeat("x", maxHeadLen+1) + "; none",
	} {
		if !Claims(value, "mx.example.com") {
			t.Errorf("%.60q isn't claimed", value)
		}
	}
}

// A4: what others wrote stays.
func TestA4ClaimsNot(t *testing.T) {
	for _, value := range []string{
		"",
		";",
		strings.Repeat("x", maxHeadLen) + "; none",
		"other.example.com; spf=pass",
		"mx1.example.com; none",
		"mx.example.com1; none",
		"mx.example.co; none",
		"mx.example.com.attacker.example; none",
		"xmx.example.com; none",
		"x-mx.example.com; none",
		"x.mx.example.com; none",
		"mx.example.com-x; none",
		"mx_example.com; none",
		"mx-example-com; none",
		"example.com; none",
		"mx; example.com",
		"mxexample.com; none",
		"other.example; spf=pass smtp.helo=mx.example.com",
		"other.example; none (mx.example.com)",
		`other.example; x="mx.example.com;"`,
		"other.example 1; none",
		"other.example (as asked by another); none",
		`"other.example"; none`,
		`"other.example"; mx.example.com`,
		`other.example "("; mx.example.com`,
		`other.example "\\"; mx.example.com`,
		`other.example\; mx.example.com`,
		"other.example (a); mx.example.com",
		"other.example (a(b)); mx.example.com",
		`other.example (\(); mx.example.com`,
		`other.example (\(); none (mx.example.com)`,
		`other.example (\\); mx.example.com`,
		`other.example ("); mx.example.com; "`,
		"other.example ); mx.example.com",
		"spf=pass (sender IP is 192.0.2.1) smtp.mailfrom=example.org; dkim=none",
		"bücher.example; none",
		"mx.%65xample.org; none",
		"100%; none",
		"%zz; none",
		"other.example%4",
		"other.example%6d",
		"mx.example.com2 1; none",
	} {
		if Claims(value, "mx.example.com") {
			t.Errorf("%.60q is claimed", value)
		}
	}
}

// A4: ids that aren't ASCII, or have few labels.
func TestA4ClaimsIDs(t *testing.T) {
	for _, c := range []struct {
		value, id string
		want      bool
	}{
		{"xn--bcher-kva.example; none", "bücher.example", true},
		{"Bücher.example; none", "bücher.example", true},
		{"BÜCHER.EXAMPLE; none", "xn--bcher-kva.example", true},
		{"b\u0075\u0308cher.example; none", "bücher.example", true},
		{"bucher.example; none", "bücher.example", false},
		{"mail; none", "mail", true},
		{"mail2; none", "mail", false},
		{"mail2 1; none", "mail", false},
		{"mail 1; none", "mail", true},
		{"MX.Example.COM.; none", "mx.example.com.", true},
		{"mx.example.com; none", "MX.example.com", true},
		{"filter-mx.example.com; none", "filter/mx.example.com", true},
	} {
		if got := Claims(c.value, c.id); got != c.want {
			t.Errorf("%q, id %q: %v, want %v", c.value, c.id, got, c.want)
		}
	}
}

// disguise rewrites an id as a grammarian would: folding, comments, case,
// quotation, version.
func disguise(r *rand.Rand, id string) string {
	var b strings.Builder
	filler := func() {
		for r.Intn(2) == 0 {
			b.WriteString([]string{" ", "\t", "\r\n ", "\n\t", "()", "(x;y)", `(\)")`, "(a(b)c)"}[r.Intn(8)])
		}
	}
	quoted := r.Intn(3) == 0
	filler()
	if quoted {
		b.WriteByte('"')
	}
	for _, c := range []byte(id) {
		if r.Intn(2) == 0 && c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		if quoted && r.Intn(4) == 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	if quoted {
		b.WriteByte('"')
	}
	if filler(); r.Intn(2) == 0 {
		b.WriteString(" 1")
		filler()
	}
	b.WriteString([]string{";", "; none", ";\n\tspf=pass smtp.mailfrom=a@b.example", ""}[r.Intn(4)])
	return b.String()
}

// Every disguise of our id is claimed, and a plain id that isn't ours is not.
func FuzzClaims(f *testing.F) {
	f.Add(int64(1), "mx", "mx.example.com; spf=pass")
	f.Add(int64(2), "other.example", `"mx" (x) 1`)
	f.Add(int64(3), "mx.example.com.x", "=?%2e((\\\"")
	f.Fuzz(func(t *testing.T, seed int64, name, value string) {
		const id = "mx.example.com"
		if d := disguise(rand.New(rand.NewSource(seed)), id); !Claims(d, id) {
			t.Errorf("%q isn't claimed", d)
		}
		Claims(value, id)
		if plain := domain(name); plain != "" && plain != id {
			for _, value := range []string{plain + "; none", plain + " 1;\n\tspf=pass", plain} {
				if Claims(value, id) {
					t.Errorf("%q is claimed", value)
				}
			}
			if !Claims(value+"; none", plain) && strings.HasPrefix(value, plain+" ") {
				t.Errorf("%q isn't claimed for %q", value, plain)
			}
		}
	})
}
