package dkim

import (
	"context"
	"strings"
	"testing"
	"time"

	signer "github.com/emersion/go-msgauth/dkim"
	"github.com/google/go-cmp/cmp"

	"gatemilter/policy"
)

// tagged is a DKIM-Signature in which nothing is wrong but the signature. Rows
// of tables change it with pairs of what to replace, and by what.
const tagged = "v=1; a=ed25519-sha256; c=relaxed/relaxed; d=Example.org; s=ed;\n" +
	"\th=from:to:subject; t=1500000000; x=9000000000; i=joe@Example.org;\n" +
	"\tbh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=;\n" +
	"\tb=AAECAwQF BgcICQ=="

func tagsWith(replacements ...string) string {
	return strings.NewReplacer(replacements...).Replace(tagged)
}

// TestSignaturesNotVerified: what the guard settles by reading a DKIM-Signature,
// before it asks DNS for anything.
func TestSignaturesNotVerified(t *testing.T) {
	long := strings.Repeat("x", 70)
	for _, row := range []struct {
		value  string
		result policy.AuthResult
		reason string
	}{
		// Not a list of tags.
		{"", policy.AuthNeutral, `b="" is not base64`},
		{"v=1; nonsense", policy.AuthNeutral, `"nonsense" is not tag=value`},
		{"v=1; b; d=example.org", policy.AuthNeutral, `"b" is not tag=value`},
		{tagsWith("v=1", "1v=1"), policy.AuthNeutral, `"1v=1" is not tag=value`},
		{tagsWith("v=1", "v\u00a0=1"), policy.AuthNeutral, `"v\u00a0=1" is not tag=value`},
		{tagsWith("v=1", long+"\x00"), policy.AuthNeutral, `"` + long[:64] + `..." is not tag=value`},
		{tagged + "; v=1", policy.AuthNeutral, "the tag v= stands twice"},
		{strings.Repeat(" ", maxSignatureField+1), policy.AuthPolicy, "the field has 16385 octets, more than 16384"},

		// The signer.
		{tagsWith("v=1", "v=2"), policy.AuthNeutral, `v="2" is not version 1`},
		{tagsWith("v=1; ", ""), policy.AuthNeutral, `v="" is not version 1`},
		{tagsWith("d=Example.org; ", ""), policy.AuthNeutral, `d="" is not a domain name`},
		{tagsWith("d=Example.org", "d=org"), policy.AuthNeutral, `d="org" is not a domain name`},
		{tagsWith("d=Example.org", "d=example..org"), policy.AuthNeutral, `d="example..org" is not a domain name`},
		{tagsWith("d=Example.org", "d=example.org."), policy.AuthNeutral, `d="example.org." is not a domain name`},
		{tagsWith("d=Example.org", "d=\x00ex\xffample.org"), policy.AuthNeutral, `d="\x00ex\xffample.org" is not a domain name`},
		{tagsWith("d=Example.org", "d="+long+".org"), policy.AuthNeutral, `d="` + long[:64] + `..." is not a domain name`},
		{tagsWith("s=ed", "s=*"), policy.AuthNeutral, `s="*" is not a selector`},
		{tagsWith("s=ed", "s=a/b"), policy.AuthNeutral, `s="a/b" is not a selector`},
		{tagsWith("s=ed", "s=-a"), policy.AuthNeutral, `s="-a" is not a selector`},
		{tagsWith("s=ed", "s="), policy.AuthNeutral, `s="" is not a selector`},
		{tagsWith("s=ed", "s="+strings.Repeat("abcde.", 40)+"a"), policy.AuthNeutral, "s= and d= are too long for a domain name"},

		// The identity: below d=, compared without case.
		{tagsWith("joe@Example.org", "joe@example.net"), policy.AuthPermError, `i="joe@example.net" is not within d=example.org`},
		{tagsWith("joe@Example.org", "joe@badexample.org"), policy.AuthPermError, `i="joe@badexample.org" is not within d=example.org`},
		{tagsWith("joe@Example.org", "joe"), policy.AuthNeutral, `i="joe" is not an address`},
		{tagsWith("joe@Example.org", "j\x00oe@Example.org"), policy.AuthNeutral, `i="j\x00oe@Example.org" is not an address`},
		{tagsWith("joe@Example.org", "joe@EXAMPLE.ORG"), policy.AuthNeutral, "i= and d= differ in the case of letters, which the verifier doesn't allow"},

		// What is signed, and how.
		{tagsWith("h=from:to", "h=to"), policy.AuthPermError, "the From field is not signed"},
		{tagsWith("h=from:to:subject; ", ""), policy.AuthPermError, "the From field is not signed"},
		{tagsWith("h=from", "h=from"+strings.Repeat(":a", maxNames)), policy.AuthPolicy, "h= has more than 200 names"},
		{tagsWith("ed25519-sha256", "rsa-sha1"), policy.AuthPolicy, "SHA-1 proves nothing (RFC 8301)"},
		{tagsWith("ed25519-sha256", "dsa-sha256"), policy.AuthNeutral, `a="dsa-sha256" is not known`},
		{tagsWith("relaxed/relaxed", "relaxed/nofws"), policy.AuthNeutral, `c="relaxed/nofws" is not known`},
		{tagsWith("t=", "l=0; t="), policy.AuthPolicy, "l= leaves a part of the body unsigned"},
		{tagsWith("t=", "q=http; t="), policy.AuthNeutral, `q="http" is not known`},
		{tagsWith("bh=", "bh=!"), policy.AuthNeutral, `bh="!47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=" is not base64`},
		{tagsWith("b=AAE", "b=A*E"), policy.AuthNeutral, `b="A*ECAwQFBgcICQ==" is not base64`},
		{tagsWith("t=", "z=Subject:Bob=20asks; t="), policy.AuthNeutral, `the tag z= holds "b=", which the verifier doesn't allow`},
		{tagsWith("t=", "ab=1; t="), policy.AuthNeutral, `the tag ab= holds "b=", which the verifier doesn't allow`},

		// Times.
		{tagsWith("x=9000000000", "x=1500000001"), policy.AuthPolicy, "expired at 2017-07-14T02:40:01Z"},
		{tagsWith("x=9000000000", "x=0"), policy.AuthNeutral, "x= is before t="},
		{tagsWith("x=9000000000", "x=-1"), policy.AuthNeutral, `x="-1" is not a time`},
		{tagsWith("x=9000000000", "x="+strings.Repeat("9", 13)), policy.AuthNeutral, `x="9999999999999" is not a time`},
		{tagsWith("t=1500000000", "t=now"), policy.AuthNeutral, `t="now" is not a time`},
	} {
		m := parse(plain)
		m.fields = append([]policy.Field{{Name: "DKIM-Signature", Value: row.value}}, m.fields...)
		results := verify(t, m, func(_ context.Context, name string) ([]string, error) {
			t.Errorf("%.80q: asked for %q", row.value, name)
			return nil, faults["NXDOMAIN"]
		})
		if len(results) != 1 || results[0].Result != row.result || results[0].Reason != row.reason {
			t.Errorf("%.80q:\n got %+v\nwant %s, %s", row.value, results, row.result, row.reason)
		}
	}
}

// TestSignatureVerified: the value that the table above spoils reaches the
// verifier.
func TestSignatureVerified(t *testing.T) {
	m := parse(plain)
	m.fields = append([]policy.Field{{Name: "dkim-signature ", Value: tagged}}, m.fields...)
	want := []policy.DKIM{{
		Result: policy.AuthFail, Domain: "example.org", Selector: "ed", Identity: "joe@Example.org",
		Algorithm: "ed25519-sha256", Signature: "AAECAwQF", Reason: "body hash did not verify",
	}}
	if diff := cmp.Diff(want, verify(t, m, ownKeys().LookupTXT)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestSignedChoices: what signers may choose and still verify.
func TestSignedChoices(t *testing.T) {
	for name, options := range map[string]signer.SignOptions{
		"expires later":       {Expiration: time.Now().Add(time.Hour)},
		"subdomain":           {Identifier: "joe@a.b.example.org"},
		"no local part":       {Identifier: "@example.org"},
		"names fields twice":  {HeaderKeys: []string{"From", "From", "Subject", "subject", "X-None"}},
		"method among others": {QueryMethods: []signer.QueryMethod{"dns/txt"}},
	} {
		for _, canonical := range []string{"simple/simple", "relaxed/relaxed"} {
			results := verify(t, parse(signWith(plain, "ed", canonical, options)), ownKeys().LookupTXT)
			if len(results) != 1 || results[0].Result != policy.AuthPass {
				t.Errorf("%s, %s: %+v", name, canonical, results)
			}
		}
	}
}

// TestSignaturesTold: RFC 6008 asks for as much of b= as tells two signatures
// apart.
func TestSignaturesTold(t *testing.T) {
	long := strings.Repeat("A", 100)
	for _, row := range []struct{ texts, want []string }{
		{[]string{"short", long}, []string{"short", long[:8]}},
		{[]string{"ABCDEFGHI", "ABCDEFGHJ"}, []string{"ABCDEFGHI", "ABCDEFGHJ"}},
		{[]string{long[:20] + "B", long[:20] + "C", "B"}, []string{long[:20] + "B", long[:20] + "C", "B"}},
		{[]string{long, long}, []string{long[:64], long[:64]}},
		{[]string{"", ""}, []string{"", ""}},
	} {
		var signatures []*signature
		for _, text := range row.texts {
			signatures = append(signatures, &signature{text: text})
		}
		tell(signatures)
		var got []string
		for _, s := range signatures {
			got = append(got, s.result.Signature)
		}
		if diff := cmp.Diff(row.want, got); diff != "" {
			t.Errorf("%.30q (-want +got):\n%s", row.texts, diff)
		}
	}
}
