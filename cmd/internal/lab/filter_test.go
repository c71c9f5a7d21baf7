package lab

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// unanswered is an address of loopback at which no name server is.
var unanswered = netip.MustParseAddr("127.0.53.254")

func needFilters(t *testing.T) {
	t.Helper()
	noError(t, NeedPackages(t.Context(), t.Logf, "postfix", "opendkim", "opendkim-tools", "opendmarc"))
}

func TestNeedPackagesOfAnotherName(t *testing.T) {
	err := NeedPackages(t.Context(), t.Logf, "postfix", "sendmail")
	if want := fmt.Sprintf(`package "sendmail": want one of %q`, slices.Sorted(maps.Keys(debianPackages))); err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

// What is there already may be somebody's: it is not installed over.
func TestNotInstallable(t *testing.T) {
	there := t.TempDir()
	err := debianPackage{name: "opendkim", config: []string{there + "/absent", there}}.installable()
	if err == nil || !strings.Contains(err.Error(), there+`" is there and an installation would change it: install opendkim yourself`) {
		t.Errorf("error %v", err)
	}
	if err := (debianPackage{name: "opendkim", config: []string{there + "/absent"}}).installable(); err != nil {
		t.Error(err)
	}
}

// TestFiltersNotStarted also holds after an installation by NeedPackages.
func TestFiltersNotStarted(t *testing.T) {
	needFilters(t)
	for name, p := range debianPackages {
		p.name = name
		if p.config == nil {
			continue
		}
		if err := p.checkStopped(); err != nil {
			t.Error(err)
		}
	}
}

// TestFilters: what is signed on one way is verified on the other; and all processes end.
func TestFilters(t *testing.T) {
	needFilters(t)
	key := must[DKIMKey](t)(NewRSAKey(t.Context(), "lab.test", "sel", 1024))
	p := instance(t, Config{
		Mailboxes: []string{"alice@lab.test", "bob@lab.test"},
		Services: map[string]string{
			"signer":   "-o smtpd_milters=unix:signer/milter.sock",
			"verifier": "-o smtpd_milters=unix:verifier/milter.sock,unix:dmarc/milter.sock",
		},
	})
	for name, f := range map[string]Filter{
		"signer":   Signer(Signature{Domain: "lab.test", Selector: "sel", Key: key.Private, Algorithm: "rsa-sha256", Canonicalization: "simple/relaxed"}),
		"verifier": Verifier("dkim.test"),
		"dmarc":    OpenDMARC("dmarc.test", "dkim.test", true),
	} {
		r := must[*RunningFilter](t)(p.StartFilter(t.Context(), name, f, unanswered))
		program := must[string](t)(os.Readlink(filepath.Join("/proc", strconv.Itoa(r.PID()), "exe")))
		if program != "/usr/sbin/"+f.program {
			t.Errorf("%s is %s", name, program)
		}
		t.Cleanup(func() {
			noError(t, r.Stop())
			noError(t, r.Stop())
			if r.listens() {
				t.Errorf("%s listens still", name)
			}
		})
	}
	from := func(author string) string { return "From: " + author + "\nSubject: hello\n\nHello.\n" }
	send := func(service string, id Identity, author, to string) Message {
		c := session(t, p.ServiceAddr(service))
		if id.Addr.IsValid() {
			accepted(t)(c.XClient(id))
			accepted(t)(c.Ehlo("client.test"))
		}
		_, err := c.Send(Envelope{author, []string{to}}, from(author))
		noError(t, err)
		return delivered(t, p, to)
	}
	signed := send("signer", Identity{}, "carol@lab.test", "alice@lab.test")
	if got := signed.Values("DKIM-Signature"); len(got) != 1 || !regexp.MustCompile(`a=rsa-sha256; c=simple/relaxed; d=lab\.test;\s+s=sel;`).MatchString(got[0]) {
		t.Errorf("signatures %q", got)
	}
	judged := send("verifier", Identity{Addr: netip.MustParseAddr("192.0.2.1")}, "carol@lab.test", "bob@lab.test")
	var ids []string
	for _, report := range judged.Values("Authentication-Results") {
		ids = append(ids, report[:strings.Index(report, ";")])
	}
	if want := []string{"dmarc.test", "dmarc.test", "dkim.test"}; !slices.Equal(slices.Compact(ids), slices.Compact(want)) {
		t.Errorf("reports of %q, want %q", ids, want)
	}
}

func TestFilterThatEnds(t *testing.T) {
	needFilters(t)
	p := instance(t, Config{})
	_, err := p.StartFilter(t.Context(), "signer", Signer(Signature{Domain: "lab.test", Selector: "sel", Key: "no key", Algorithm: "rsa-sha1024", Canonicalization: "simple/simple"}), unanswered)
	if err == nil || !strings.Contains(err.Error(), "it ended: opendkim: ") || !strings.Contains(err.Error(), "rsa-sha1024") {
		t.Errorf("error %v", err)
	}
}
