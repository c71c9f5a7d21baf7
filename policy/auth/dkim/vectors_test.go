package dkim

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatemilter/policy"
)

// TestForeignSigners [A2]: the examples of the RFCs and messages that other
// people's software signed (testdata/sign.sh).
func TestForeignSigners(t *testing.T) {
	foreign := func(signature string) policy.DKIM {
		return policy.DKIM{
			Result: policy.AuthPass, Domain: "example.org", Selector: "foreign", Identity: "@example.org",
			Algorithm: "rsa-sha256", Signature: signature,
		}
	}
	subdomain := foreign("nQNsfdPL")
	subdomain.Identity = "joe@sub.example.org"
	for name, want := range map[string][]policy.DKIM{
		"rfc6376": {{
			Result: policy.AuthPass, Domain: "example.com", Selector: "brisbane", Identity: "joe@football.example.com",
			Algorithm: "rsa-sha256", Signature: "AuUoFEfD",
		}},
		"rfc8463": {{
			Result: policy.AuthPass, Domain: "football.example.com", Selector: "brisbane", Identity: "@football.example.com",
			Algorithm: "ed25519-sha256", Signature: "/gCrinpc",
		}, {
			Result: policy.AuthPass, Domain: "football.example.com", Selector: "test", Identity: "@football.example.com",
			Algorithm: "rsa-sha256", Signature: "F45dVWDf",
		}},
		"dkimpy-simple-simple":      {foreign("SWisJmd5")},
		"dkimpy-simple-relaxed":     {foreign("HOMyP3Dl")},
		"dkimpy-relaxed-simple":     {foreign("TOGVmt7V")},
		"dkimpy-relaxed-relaxed":    {foreign("dQ2sGdk0")},
		"mail-dkim-simple-simple":   {foreign("nnWjP1T4")},
		"mail-dkim-simple-relaxed":  {foreign("Hsfgyd55")},
		"mail-dkim-relaxed-simple":  {foreign("KT3eae9A")},
		"mail-dkim-relaxed-relaxed": {foreign("iuyJCuhM")},
		"dkimpy-subdomain":          {subdomain},
		"dkimpy-ed25519": {{
			Result: policy.AuthPass, Domain: "example.org", Selector: "edwards", Identity: "@example.org",
			Algorithm: "ed25519-sha256", Signature: "YQHo0r8v",
		}},
		"opendkim-sha1": {{
			Result: policy.AuthPolicy, Domain: "example.org", Selector: "foreign", Identity: "@example.org",
			Algorithm: "rsa-sha1", Signature: "fZMi/5zI", Reason: "SHA-1 proves nothing (RFC 8301)",
		}},
	} {
		m := readMessage(t, name)
		for _, size := range []int{1, 7, 64 << 10} {
			if diff := cmp.Diff(want, verifyIn(t, m, readKeys(t).LookupTXT, size)); diff != "" {
				t.Errorf("%s in chunks of %d (-want +got):\n%s", name, size, diff)
			}
		}
	}
}
