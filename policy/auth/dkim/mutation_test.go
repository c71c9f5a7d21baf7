package dkim

import (
	"slices"
	"strings"
	"testing"

	"gatemilter/policy"
)

// TestMutations: what may happen to a signed message on its way, and what
// each canonicalisation says of it (RFC 6376, section 3.4).
func TestMutations(t *testing.T) {
	const pass, fail = policy.AuthPass, policy.AuthFail
	replace := func(old, changed string) func(string) string {
		return func(raw string) string {
			if !strings.Contains(raw, old) {
				t.Fatalf("no %q in %q", old, raw)
			}
			return strings.Replace(raw, old, changed, 1)
		}
	}
	for _, row := range []struct {
		name   string
		change func(string) string
		// The results for the signature in c=simple/relaxed, relaxed/relaxed,
		// and simple/simple.
		header, relaxed, simple policy.AuthResult
	}{
		{"nothing", func(raw string) string { return raw }, pass, pass, pass},

		// The header.
		{"another order of the fields", replace("Subject: Grüße\r\n\r\n", "Subject: Grüße\r\nX-New: x\r\n\r\n"), pass, pass, pass},
		{"fields moved", func(raw string) string {
			const subject = "Subject: Grüße\r\n"
			return subject + strings.Replace(raw, subject, "", 1)
		}, pass, pass, pass},
		{"signature moved to the bottom", func(raw string) string {
			end := strings.Index(raw, "\r\nFrom:") + 2
			return strings.Replace(raw[end:], "\r\n\r\n", "\r\n"+raw[:end]+"\r\n", 1)
		}, pass, pass, pass},
		{"a field changed", replace("Grüße", "Grusse"), fail, fail, fail},
		{"a signed field added above", func(raw string) string { return "Subject: other\r\n" + raw }, pass, pass, pass},
		{"a signed field added below", replace("\r\n\r\n", "\r\nSubject: other\r\n\r\n"), fail, fail, fail},
		{"a field removed", replace("Subject: Grüße\r\n", ""), fail, fail, fail},
		{"folded otherwise", replace(",\r\n\tanother\r\n  <a@", ", another  <a@"), fail, pass, fail},
		{"folded more", replace("Joe <joe", "Joe\r\n   <joe"), fail, pass, fail},
		{"the name in capitals", replace("Subject:", "SUBJECT:"), fail, pass, fail},
		{"a blank more after the colon", replace("Subject: ", "Subject:  "), fail, pass, fail},
		{"no blank after the colon", replace("Subject: ", "Subject:"), fail, pass, fail},
		{"a blank before the colon", replace("Subject:", "Subject :"), fail, pass, fail},
		{"a blank at the end of a field", replace("Grüße", "Grüße "), fail, pass, fail},
		{"a blank inside a word", replace("Grüße", "Grü ße"), fail, fail, fail},
		{"8 bit lost", replace("Grüße", "Gr??e"), fail, fail, fail},

		// The body.
		{"a word changed", replace("hungry", "thirsty"), fail, fail, fail},
		{"text added", func(raw string) string { return raw + "P.S.\r\n" }, fail, fail, fail},
		{"empty lines added at the end", func(raw string) string { return raw + strings.Repeat("\r\n", 5000) }, pass, pass, pass},
		{"an empty line added inside", replace("Hi.\r\n\r\n", "Hi.\r\n\r\n\r\n"), fail, fail, fail},
		{"no line end at the end", func(raw string) string { return strings.TrimSuffix(raw, "\r\n") }, pass, pass, pass},
		{"blanks added at the end of a line", replace("Hi.", "Hi. \t"), pass, pass, fail},
		{"a line of blanks added at the end", func(raw string) string { return raw + " \t\r\n" }, pass, pass, fail},
		{"blanks inside a line", replace("Are  you", "Are \t   you"), pass, pass, fail},
		{"blanks lost inside a line", replace("Are  you", "Areyou"), fail, fail, fail},
		{"line ends of Unix", func(raw string) string {
			header, body, _ := strings.Cut(raw, "\r\n\r\n")
			return header + "\r\n\r\n" + strings.ReplaceAll(body, "\r\n", "\n")
		}, pass, pass, pass},
		{"dots stuffed and not unstuffed", replace("\r\n\r\nHi.", "\r\n\r\n.Hi."), fail, fail, fail},
	} {
		for canonical, want := range map[string]policy.AuthResult{
			"simple/relaxed":  row.header,
			"relaxed/relaxed": row.relaxed,
			"simple/simple":   row.simple,
		} {
			signed := sign(plain, "ed", canonical)
			results := verify(t, parse(row.change(signed)), ownKeys().LookupTXT)
			if len(results) != 1 || results[0].Result != want {
				t.Errorf("%s: %s: %+v, want %s", canonical, row.name, results, want)
			}
		}
	}
}

// TestBodies: bodies at the edges of the canonicalisations.
func TestBodies(t *testing.T) {
	for _, body := range []string{
		"", "\r\n", "\r\n\r\n\r\n", " ", " \r\n", "\t", "x", "x\r\n", ".\r\n", "..\r\n", "x\r\n\r\n y \t\r\n \r\n",
		"\x00\xff\r\n", strings.Repeat("x", 100000), strings.Repeat("xy \r\n\r\n", 100000),
		strings.Repeat("\r\n", maxBlankRun/2-3) + "x", "x" + strings.Repeat(" ", maxBlankRun) + "x",
	} {
		for _, canonical := range []string{"simple/simple", "relaxed/simple", "simple/relaxed", "relaxed/relaxed"} {
			m := parse(sign("From: joe@example.org\r\n\r\n"+body, "ed", canonical))
			for _, size := range []int{1, 3, 4096, 1 << 20} {
				if results := verifyIn(t, m, ownKeys().LookupTXT, size); results[0].Result != policy.AuthPass {
					t.Errorf("%s: %.20q in chunks of %d: %+v", canonical, body, size, results)
				}
			}
		}
	}
}

// TestBlankAfterColon: fields are verified as they are, with whatever stands after
// the colon.
func TestBlankAfterColon(t *testing.T) {
	for _, field := range []string{"X: one blank", "X:  two blanks", "X: ", "X: \u00a0", "X:\ttab", "X:\r\n folded",
		"X: folded\r\n\tafter", "X:none", "X:", "X: \ttab after blank", "X: \r\n folded after blank"} {
		for _, canonical := range []string{"simple/simple", "relaxed/relaxed"} {
			m := parse(sign("From: joe@example.org\r\n"+field+"\r\n\r\n", "ed", canonical))
			c := Begin(t.Context(), m.fields, ownKeys().LookupTXT, Limits{})
			if results := c.Finish(t.Context()); results[0].Result != policy.AuthPass {
				t.Errorf("%q, %s: %+v", field, canonical, results)
			}
		}
	}
}

// TestFieldsThatAreNone: a value that would end its field, and then begin
// another or the body, doesn't get to the verifier.
func TestFieldsThatAreNone(t *testing.T) {
	signed := parse(sign(plain, "ed", "relaxed/relaxed"))
	for _, field := range []policy.Field{
		{Name: "Subject", Value: " x\nFrom: evil@example.net"},
		{Name: "Subject", Value: " x\r\nFrom: evil@example.net"},
		{Name: "Subject", Value: " x\n\n body"},
		{Name: "Subject", Value: "\n\nbody"},
	} {
		m := message{fields: slices.Concat(signed.fields, []policy.Field{field}), body: signed.body}
		results := verify(t, m, ownKeys().LookupTXT)
		if results[0].Result != policy.AuthNeutral || results[0].Reason != `the signed field "Subject" can't be written as a header field` {
			t.Errorf("%q: %+v", field, results)
		}
	}
	for _, name := range []string{"", " ", "X\nFrom", " From", "a:b", "Fr\x00om", "Frömm"} {
		f := policy.Field{Name: name, Value: "x"}
		if text, ok := appendField(nil, &f, true); ok {
			t.Errorf("name %q: written as %q", name, text)
		}
	}
}

// TestSignatureOfSignatures: a signer may sign the signatures that are there;
// each is judged for itself, wherever it stands.
func TestSignatureOfSignatures(t *testing.T) {
	first := sign(plain, "ed", "relaxed/relaxed")
	second := sign(first, "rsa", "relaxed/simple") // all fields, the first signature too
	third := sign(second, "ed", "simple/relaxed")
	end := strings.Index(third, "\r\nDKIM-Signature:") + 2
	without := strings.Replace(second, "DKIM-Signature:", "X:", 1)
	for _, row := range []struct{ raw, want string }{
		{third, "pass pass pass"},
		{strings.Replace(third, "s=rsa", "s=rsb", 1), "fail permerror pass"},
		// Moved to the bottom, the third is the one that the second seems to sign.
		{strings.Replace(third[end:], "\r\n\r\n", "\r\n"+third[:end]+"\r\n", 1), "fail pass pass"},
		// The second signature is the one that the third misses.
		{third[:end] + without, "neutral pass"},
	} {
		if got := words(verify(t, parse(row.raw), ownKeys().LookupTXT)); got != row.want {
			t.Errorf("%q: %s, want %s", row.raw, got, row.want)
		}
	}
}
