package auth

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"
	"github.com/google/go-cmp/cmp"

	"gatemilter/policy"
	"gatemilter/policy/auth/dns"
	"gatemilter/policy/auth/dnstest"
)

// The tests of this file put the methods together, with a DNS server on loopback.

var signer = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))

func zone() string {
	return `
author.example        TXT "v=spf1 ip4:198.51.100.7 -all"
_dmarc.author.example TXT "v=DMARC1; p=reject"
k1._domainkey.author.example TXT "v=DKIM1; k=ed25519; p=` + base64.StdEncoding.EncodeToString(signer.Public().(ed25519.PublicKey)) + `"
mail.author.example   TXT "v=spf1 ip4:198.51.100.7 -all"
broken.example        SERVFAIL
_dmarc.broken.example SERVFAIL
plain.example         A 192.0.2.80
`
}

func client(t *testing.T, zone string) *dns.Client {
	t.Helper()
	return patientClient(t, zone, 30*time.Second)
}

// patientClient waits that long for an answer.
func patientClient(t *testing.T, zone string, timeout time.Duration) *dns.Client {
	t.Helper()
	c, err := dns.New(dns.Config{Servers: []string{dnstest.StartFor(t, zone).Addr()}, Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var everything = Config{AuthservID: "mx.example.com", SPF: true, DKIM: true, DMARC: true}

// letter is a message, unsigned or signed by author.example.
func letter(t *testing.T, from string, signed bool) (header []policy.Field, body string) {
	t.Helper()
	message := "From: <" + from + ">\r\nSubject: hello\r\n\r\nHello.\r\n"
	if signed {
		var b bytes.Buffer
		err := dkim.Sign(&b, strings.NewReader(message), &dkim.SignOptions{Domain: "author.example", Selector: "k1", Signer: signer})
		if err != nil {
			t.Fatal(err)
		}
		message = b.String()
	}
	head, body, _ := strings.Cut(message, "\r\n\r\n")
	for _, line := range strings.Split(strings.ReplaceAll(head, "\r\n ", "\n "), "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		header = append(header, policy.Field{Name: name, Value: value})
	}
	return header, body
}

func from(ip string) policy.Source {
	return policy.Source{IP: netip.MustParseAddr(ip), Outcome: policy.External, HELO: "mail.author.example"}
}

// A1–A3, A5, I20: the results in short, "spf dkim,dkim dmarc policy".
func TestAuthenticate(t *testing.T) {
	good, bad := from("198.51.100.7"), from("198.51.100.8")
	doubtful, worse := good, bad
	doubtful.Hops = []policy.Hop{{Role: policy.RolePassed}, {Role: policy.RoleSource}}
	worse.Hops = doubtful.Hops
	for _, c := range []struct {
		name   string
		source policy.Source
		sender string
		author string
		signed bool
		want   string
	}{
		{"A1 the source may send", good, "a@author.example", "a@author.example", false, "pass none pass reject"},
		{"A1 the source may not", bad, "a@author.example", "a@author.example", false, "fail none fail reject"},
		{"A1 null sender: HELO", good, "", "a@author.example", false, "pass none pass reject"},
		{"A1 null sender, HELO not known", policy.Source{IP: good.IP, Outcome: policy.External}, "", "a@author.example", false, "none none fail reject"},
		{"A2 a signature", bad, "a@author.example", "a@author.example", true, "fail pass pass reject"},
		{"A3 SPF of somebody else", good, "a@author.example", "a@plain.example", false, "pass none none "},
		{"I4 internal: no check, no pass", policy.Source{Outcome: policy.Internal}, "a@author.example", "a@author.example", false, "none none none reject"},
		{"internal, but signed", policy.Source{Outcome: policy.Internal}, "a@author.example", "a@author.example", true, "none pass pass reject"},
		{"I20 never the gateway's own address", policy.Source{IP: good.IP, Outcome: policy.Fallback}, "a@author.example", "a@author.example", false, "none none none reject"},
		{"I9 beneath an unrecognised hop: no pass", doubtful, "a@author.example", "a@author.example", false, "policy none none reject"},
		{"I9 nor a failure that counts", worse, "a@author.example", "a@author.example", false, "fail none none reject"},
		{"I9 but a signature", worse, "a@author.example", "a@author.example", true, "fail pass pass reject"},
		{"A5 SERVFAIL", good, "a@broken.example", "a@broken.example", false, "temperror none temperror "},
		{"A5 no such domain", good, "a@missing.example", "a@missing.example", false, "none none none "},
	} {
		t.Run(c.name, func(t *testing.T) {
			header, body := letter(t, c.author, c.signed)
			m := New(everything, client(t, zone())).Begin(t.Context(), policy.AuthRequest{Source: c.source, Sender: c.sender, Header: header})
			if m.WantsBody() != c.signed {
				t.Errorf("wants the body: %v", m.WantsBody())
			}
			m.Write([]byte(body))
			a := m.Finish(t.Context())
			if got := short(a); got != c.want {
				t.Errorf("%s, want %s; %+v", got, c.want, a)
			}
		})
	}
}

func short(a policy.Authentication) string {
	var signatures []string
	for _, d := range a.DKIM {
		signatures = append(signatures, string(d.Result))
	}
	if signatures == nil {
		signatures = []string{"-"}
	}
	return strings.Join([]string{string(a.SPF.Result), strings.Join(signatures, ","), string(a.DMARC.Result), a.DMARC.Policy}, " ")
}

// What is switched off is not asked, and not reported.
func TestSwitchedOff(t *testing.T) {
	header, _ := letter(t, "a@author.example", true)
	for _, c := range []struct {
		config Config
		want   string
	}{
		{Config{SPF: true}, "pass -  "},
		{Config{DKIM: true}, " fail  "},
		{Config{DMARC: true}, " - fail reject"},
	} {
		m := New(c.config, client(t, zone())).Begin(t.Context(), policy.AuthRequest{Source: from("198.51.100.7"), Sender: "a@author.example", Header: header})
		if got := short(m.Finish(t.Context())); got != c.want {
			t.Errorf("%+v: %q, want %q", c.config, got, c.want)
		}
	}
}

// A5: without any answer, all is a temporary error, and the message goes on.
func TestA5NoAnswer(t *testing.T) {
	header, _ := letter(t, "a@author.example", true)
	silent := client(t, "author.example TIMEOUT\n_dmarc.author.example TIMEOUT\nk1._domainkey.author.example TIMEOUT\n")
	ctx, cancel := context.WithCancel(t.Context())
	m := New(everything, silent).Begin(ctx, policy.AuthRequest{Source: from("198.51.100.7"), Sender: "a@author.example", Header: header})
	// Nobody waits any longer.
	cancel()
	if got := short(m.Finish(ctx)); got != "temperror temperror temperror " {
		t.Errorf("%q", got)
	}
}

// A sender whose name servers don't answer can't keep DMARC from asking for the
// author's record.
func TestA3SlowSender(t *testing.T) {
	header, _ := letter(t, "a@author.example", false)
	c := New(everything, patientClient(t, zone()+"slow.example TIMEOUT\n", time.Minute))
	c.spfTime = 50 * time.Millisecond
	m := c.Begin(t.Context(), policy.AuthRequest{Source: from("198.51.100.8"), Sender: "x@slow.example", Header: header})
	if a := m.Finish(t.Context()); short(a) != "temperror none fail reject" {
		t.Errorf("%q; %+v", short(a), a)
	}
}

// A4: the fields that tell the results, and who may write them.
func TestA4Report(t *testing.T) {
	a := policy.Authentication{SPF: policy.SPF{Result: policy.AuthPass, Identity: "mailfrom", Domain: "author.example", Sender: "a@author.example", IP: netip.MustParseAddr("198.51.100.7")}}
	v := &policy.Verdict{Gateway: "filter", Source: from("198.51.100.7")}
	both := everything
	both.ReceivedSPF = true
	got := New(both, nil).Report(&a, v)
	want := []policy.Field{
		{Name: "Authentication-Results", Value: "mx.example.com;\n\tspf=pass (source 198.51.100.7 behind gateway filter)\n\tsmtp.remote-ip=198.51.100.7 smtp.mailfrom=author.example"},
		{Name: "Received-SPF", Value: got[len(got)-1].Value},
	}
	if diff := cmp.Diff(want, got); diff != "" || !strings.HasPrefix(got[1].Value, "pass ") {
		t.Errorf("-want +got\n%s", diff)
	}
	if got := New(everything, nil).Report(&a, v); len(got) != 1 {
		t.Errorf("without received_spf: %v", got)
	}
	// As a fallback the source is the gateway itself, which is none.
	v.Source.Outcome = policy.Fallback
	if got := New(everything, nil).Report(&a, v)[0].Value; strings.Contains(got, "remote-ip") {
		t.Errorf("fallback: %s", got)
	}
	for _, c := range []struct {
		field policy.Field
		want  bool
	}{
		{policy.Field{Name: "authentication-RESULTS ", Value: " MX.example.com (really); dmarc=pass"}, true},
		{policy.Field{Name: "Authentication-Results", Value: " mx.example.org; dmarc=pass"}, false},
		{policy.Field{Name: "X-Authentication-Results", Value: " mx.example.com; dmarc=pass"}, false},
		{policy.Field{Name: "Received-SPF", Value: " pass (MX.example.com: forged) receiver=mx.example.com"}, true},
		{policy.Field{Name: "Received-SPF", Value: ` pass client-ip=192.0.2.1; receiver="mx\.example.com"`}, true},
		{policy.Field{Name: "Received-SPF", Value: " pass client-ip=192.0.2.1; receiver=(x)MX.example(y).com.; helo=a.example"}, true},
		{policy.Field{Name: "Received-SPF", Value: " pass (mx.example.org: theirs) receiver=mx.example.org"}, false},
	} {
		if got := New(both, nil).Claims(&c.field); got != c.want {
			t.Errorf("%v: claims %v", c.field, got)
		}
	}
}
