package dkim

import (
	"crypto/x509"
	"encoding/base64"
	"strings"
	"testing"

	signer "github.com/emersion/go-msgauth/dkim"
	"github.com/google/go-cmp/cmp"

	"gatemilter/policy"
)

// TestKeys: what is said of a good signature whose key is asked for at
// rsa._domainkey.example.org, by the answer of DNS.
func TestKeys(t *testing.T) {
	good := rsaRecord(&rsaKey().PublicKey)
	p := strings.TrimPrefix(good, "v=DKIM1; ")
	ed := ownKeys()["ed._domainkey.example.org"]
	const at = " at rsa._domainkey.example.org"
	for _, row := range []struct {
		answer string
		want   policy.DKIM
	}{
		{good, policy.DKIM{Result: policy.AuthPass}},
		{p, policy.DKIM{Result: policy.AuthPass}},
		{p + ";; n=any notes; ", policy.DKIM{Result: policy.AuthPass}},
		{"p=" + strings.Join(strings.SplitAfter(p[2:], "A"), "\t "), policy.DKIM{Result: policy.AuthPass}},
		{"p=" + base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(&rsaKey().PublicKey)), policy.DKIM{Result: policy.AuthPass}},
		{good + "; h=sha1:sha256; s=email; k=rsa", policy.DKIM{Result: policy.AuthPass}},
		{good + "; s=*", policy.DKIM{Result: policy.AuthPass}},
		{good + "; t=y:s", policy.DKIM{Result: policy.AuthPass, Testing: true}},

		{"NXDOMAIN", policy.DKIM{Result: policy.AuthPermError, Reason: "no key" + at}},
		{"NODATA", policy.DKIM{Result: policy.AuthPermError, Reason: "no key" + at}},
		{"SERVFAIL", policy.DKIM{Result: policy.AuthTempError, Reason: "the key" + at + ` can't be had: "lookup : server misbehaving"`}},
		{"TIMEOUT", policy.DKIM{Result: policy.AuthTempError, Reason: "the key" + at + ` can't be had: "context deadline exceeded"`}},
		{"STRANGE", policy.DKIM{Result: policy.AuthTempError, Reason: "the key" + at + ` can't be had: "wire \x00 cut"`}},
		{good + "|" + good, policy.DKIM{Result: policy.AuthPermError, Reason: "2 TXT records" + at}},

		{"v=spf1 -all", policy.DKIM{Result: policy.AuthPermError, Reason: `key record: v="spf1 -all" is not DKIM1`}},
		{"hello", policy.DKIM{Result: policy.AuthPermError, Reason: `key record: "hello" is not tag=value`}},
		{"v=DKIM1", policy.DKIM{Result: policy.AuthPermError, Reason: "key record: no p="}},
		{"v=DKIM1; p=", policy.DKIM{Result: policy.AuthPermError, Reason: "the key is revoked"}},
		{"v=DKIM1; t=y; p=", policy.DKIM{Result: policy.AuthPermError, Reason: "the key is revoked", Testing: true}},
		{"v=DKIM1; p=?", policy.DKIM{Result: policy.AuthPermError, Reason: `key record: p="?" is not base64`}},
		{"v=DKIM1; p=AAAA", policy.DKIM{Result: policy.AuthPermError, Reason: "key record: p= is not an RSA key"}},
		{"v=DKIM1; p=" + base64.StdEncoding.EncodeToString(must(x509.MarshalPKIXPublicKey(edKey.Public()))),
			policy.DKIM{Result: policy.AuthPermError, Reason: "key record: p= is not an RSA key"}},
		{"v=DKIM1; k=ed25519; p=AAAA", policy.DKIM{Result: policy.AuthPermError, Reason: "key record: p= is not an Ed25519 key"}},
		{"v=DKIM1; k=dsa; p=AAAA", policy.DKIM{Result: policy.AuthPermError, Reason: `key record: k="dsa" is not known`}},
		{ed, policy.DKIM{Result: policy.AuthPermError, Reason: "a=rsa-sha256, but the key is for ed25519"}},
		{good + "; h=sha1", policy.DKIM{Result: policy.AuthPermError, Reason: "the key is not for SHA-256"}},
		{good + "; s=tlsrpt", policy.DKIM{Result: policy.AuthPermError, Reason: "the key is not for mail"}},

		{rsaOf(1023), policy.DKIM{Result: policy.AuthPolicy, Reason: "the RSA key has 1023 bits, not 1024 to 8192"}},
		{rsaOf(1024), policy.DKIM{Result: policy.AuthFail, Reason: "signature did not verify: crypto/rsa: verification error"}},
		{rsaOf(8192), policy.DKIM{Result: policy.AuthFail, Reason: "signature did not verify: crypto/rsa: verification error"}},
		{rsaOf(8193), policy.DKIM{Result: policy.AuthPolicy, Reason: "the RSA key has 8193 bits, not 1024 to 8192"}},
		{strings.Repeat("x", maxKeyRecord+1), policy.DKIM{Result: policy.AuthPolicy, Reason: "the key record" + at + " has 4097 octets, more than 4096"}},
		{rsaOf(2048) + "; t=y", policy.DKIM{Result: policy.AuthNeutral, Testing: true,
			Reason: "signature did not verify: crypto/rsa: verification error; the key is in test mode"}},
	} {
		m := parse(sign(plain, "rsa", "relaxed/simple"))
		row.want.Domain, row.want.Selector, row.want.Identity = "example.org", "rsa", "@example.org"
		row.want.Algorithm = "rsa-sha256"
		results := verify(t, m, zone{"rsa._domainkey.example.org": row.answer}.LookupTXT)
		row.want.Signature = results[0].Signature
		if diff := cmp.Diff([]policy.DKIM{row.want}, results); diff != "" {
			t.Errorf("%.80q (-want +got):\n%s", row.answer, diff)
		}
	}
}

// TestKeyNotForSubdomains: with t=s the domain of i= must be d= itself.
func TestKeyNotForSubdomains(t *testing.T) {
	keys := ownKeys()
	keys["ed._domainkey.example.org"] += "; t=s"
	for identity, want := range map[string]policy.AuthResult{
		"joe@example.org":     policy.AuthPass,
		"joe@sub.example.org": policy.AuthPermError,
	} {
		signed := signWith(plain, "ed", "relaxed/relaxed", signer.SignOptions{Identifier: identity})
		if results := verify(t, parse(signed), keys.LookupTXT); results[0].Result != want {
			t.Errorf("%s: %+v, want %s", identity, results[0], want)
		}
	}
}
