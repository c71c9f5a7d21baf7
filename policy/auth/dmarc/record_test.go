package dmarc

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var allowUnexported = cmp.AllowUnexported(record{})

// RFC 9989, sections 4.7, 4.8 and 4.10.1; RFC 7489 for what is gone.
func TestRecord(t *testing.T) {
	rec := func(change func(*record)) *record {
		r := &record{p: reject, sp: reject, np: reject, psd: "u", usable: true}
		if change != nil {
			change(r)
		}
		return r
	}
	policies := func(p, sp, np string) *record {
		return rec(func(r *record) { r.p, r.sp, r.np = p, sp, np })
	}
	test := rec(func(r *record) { r.test = true })
	useless := rec(func(r *record) { r.p, r.sp, r.np, r.usable = none, none, none, false })
	for _, c := range []struct {
		text string
		want *record
	}{
		{"v=DMARC1; p=reject", rec(nil)},
		{"v=DMARC1;p=reject;", rec(nil)},
		{"V = DMARC1 ; P = Reject ;; ", rec(nil)},
		{" v=DMARC1; p=reject", rec(nil)},
		{"v=DMARC1; p=reject; rua=mailto:a@example.com; ruf=mailto:b@example.com; fo=1:d; rf=afrf; ri=3600", rec(nil)},

		{"v=DMARC1; p=none", policies(none, none, none)},
		{"v=DMARC1; p=quarantine; sp=none", policies(quarantine, none, none)},
		{"v=DMARC1; p=none; sp=quarantine; np=reject", policies(none, quarantine, reject)},
		{"v=DMARC1; p=none; np=reject", policies(none, none, reject)},
		{"v=DMARC1; NP=REJECT; SP=Quarantine; P=None", policies(none, quarantine, reject)},

		{"v=DMARC1; p=reject; adkim=s", rec(func(r *record) { r.strictDKIM = true })},
		{"v=DMARC1; p=reject; aspf=S", rec(func(r *record) { r.strictSPF = true })},
		{"v=DMARC1; p=reject; aspf=r; adkim=strict", rec(nil)},
		{"v=DMARC1; p=reject; psd=y", rec(func(r *record) { r.psd = "y" })},
		{"v=DMARC1; p=reject; psd=N", rec(func(r *record) { r.psd = "n" })},
		{"v=DMARC1; p=reject; psd=u", rec(nil)},
		{"v=DMARC1; p=reject; psd=maybe", rec(nil)},

		{"v=DMARC1; p=reject; t=y", test},
		{"v=DMARC1; p=reject; t=Y", test},
		{"v=DMARC1; p=reject; t=n", rec(nil)},
		{"v=DMARC1; p=reject; t=yes", rec(nil)},
		{"v=DMARC1; p=reject; pct=0", test},
		{"v=DMARC1; p=reject; pct=000", test},
		{"v=DMARC1; p=reject; pct=0; t=n", rec(nil)},
		{"v=DMARC1; p=reject; pct=1", rec(nil)},
		{"v=DMARC1; p=reject; pct=50", rec(nil)},
		{"v=DMARC1; p=reject; pct=100", rec(nil)},
		{"v=DMARC1; p=reject; pct=", rec(nil)},
		{"v=DMARC1; p=reject; pct=-0", rec(nil)},
		{"v=DMARC1; p=reject; pct=zero", rec(nil)},

		// Junk counts as absent.
		{"v=DMARC1; p=reject; nonsense; x-y=z; =; ===; \x00", rec(nil)},
		{"v=DMARC1; p=reject; p=none", rec(nil)},
		{"v=DMARC1;\tp=reject\r\n", rec(nil)},

		// An unreadable policy: p=none if reports are asked for, else nothing.
		{"v=DMARC1; rua=mailto:a@example.com", policies(none, none, none)},
		{"v=DMARC1; p=rejct; rua=mailto:a@example.com!10m", policies(none, none, none)},
		{"v=DMARC1; p=reject; sp=rejct; rua=,https://example.com/r", policies(none, none, none)},
		{"v=DMARC1; p=reject; np=rejct; rua=nowhere,mailto:a@example.com", policies(none, none, none)},
		{"v=DMARC1", useless},
		{"v=DMARC1;", useless},
		{"v=DMARC1; p=rejct", useless},
		{"v=DMARC1; p=reject; sp=rejct", useless},
		{"v=DMARC1; p=reject; np=rejct; rua=", useless},
		{"v=DMARC1; rua=a@example.com", useless},
		{"v=DMARC1; rua=mailto:", useless},
		{"v=DMARC1 p=reject", nil},

		{"", nil},
		{"p=reject; v=DMARC1", nil},
		{"v=dmarc1; p=reject", nil},
		{"v=DMARC2; p=reject", nil},
		{"v=DMARC1.0; p=reject", nil},
		{"v=spf1 -all", nil},
		{"v=DMARC1; p=reject; x=" + strings.Repeat("x", maxRecordLen-22), rec(nil)},
		{"v=DMARC1; p=reject; x=" + strings.Repeat("x", maxRecordLen-21), nil},
	} {
		if diff := cmp.Diff(c.want, parseRecord(c.text), allowUnexported); diff != "" {
			t.Errorf("%.80q: (-want +got)\n%s", c.text, diff)
		}
	}
}

// RFC 9989, section 4.7: test mode means one level lower.
func TestTestMode(t *testing.T) {
	for policy, want := range map[string]string{reject: quarantine, quarantine: none, none: none} {
		r := record{test: true}
		if got := r.effective(policy); got != want {
			t.Errorf("%s: %s, want %s", policy, got, want)
		}
	}
}

func FuzzRecord(f *testing.F) {
	f.Add("v=DMARC1; p=reject; sp=none; np=quarantine; adkim=s; aspf=r; psd=y; t=y; pct=0; rua=mailto:a@b.c!1m")
	f.Fuzz(func(t *testing.T, text string) {
		r := parseRecord(text)
		if r == nil {
			return
		}
		for _, policy := range []string{r.p, r.sp, r.np, r.effective(r.p)} {
			if !isPolicy(policy) {
				t.Errorf("%q: policy %q", text, policy)
			}
		}
		if r.psd != "y" && r.psd != "n" && r.psd != "u" {
			t.Errorf("%q: psd %q", text, r.psd)
		}
		// Unknown tags mean nothing, wherever they stand behind the version.
		first, rest, _ := strings.Cut(text, ";")
		if again := parseRecord(first + "; x-y=z;" + rest); len(text) < maxRecordLen-9 && !cmp.Equal(r, again, allowUnexported) {
			t.Errorf("%q: %+v, with another tag %+v", text, r, again)
		}
	})
}

// RFC 9989, section 11.5: the number of author domains has a bound.
func TestTooManyAuthors(t *testing.T) {
	four := "a@a.example,b@b.example,c@c.example,d@d.example"
	if domains, err := authorDomains([]string{four + ",e@D.example"}); err != nil || len(domains) != maxAuthors {
		t.Errorf("four domains: %q, %v", domains, err)
	}
	if domains, err := authorDomains([]string{four + ",e@e.example"}); err == nil {
		t.Errorf("five domains: %q", domains)
	}
}
