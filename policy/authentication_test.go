package policy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// A judge is a Checker whose results are known beforehand.
type judge struct {
	says Authentication
	// asked is what it was asked, body what it was given.
	asked   AuthRequest
	body    bytes.Buffer
	aborted bool
}

func (j *judge) Begin(_ context.Context, r AuthRequest) Authenticator { j.asked = r; return j }
func (j *judge) Report(a *Authentication, v *Verdict) []Field {
	return []Field{{"Authentication-Results", "mx; dmarc=" + string(a.DMARC.Result)}, {"Received-SPF", string(a.SPF.Result)}}
}
func (j *judge) Claims(f *Field) bool {
	return f.Is("Authentication-Results") && strings.Contains(f.Value, "mx;")
}
func (j *judge) WantsBody() bool                           { return true }
func (j *judge) Write(p []byte)                            { j.body.Write(p) }
func (j *judge) Finish(ctx context.Context) Authentication { return j.says }
func (j *judge) Abort()                                    { j.aborted = true }

func dmarc(result AuthResult, policy string) Authentication {
	return Authentication{SPF: SPF{Result: AuthNone}, DMARC: DMARC{Result: result, Policy: policy, RecordDomain: "author.example"}}
}

// A3: with dmarc = enforce, what the author's domain asks for is done, and never
// more.
func TestA3EnforceDMARC(t *testing.T) {
	mode := func(m DMARCMode) func(*Settings) { return func(s *Settings) { s.DMARC = m } }
	gateways := func(m DMARCMode) func(*Settings) { return with(func(g *Gateway) { g.DMARC = &m }) }
	enforce := mode(DMARCEnforce)
	const (
		passed = "accept from external 198.51.100.99; insert Received-SPF: none; insert Authentication-Results: mx; dmarc="
		spam   = "accept from external 198.51.100.99 spam; insert Received-SPF: none; insert Authentication-Results: mx; dmarc="
		tagged = "; add X-Spam-Flag: YES; add X-Spam-Status: Yes, dmarc=fail | not-from-gateway source-external dmarc-quarantine"
	)
	for _, c := range []struct {
		name     string
		settings Settings
		message  Message
		says     Authentication
		want     string
	}{
		{"reject", ours(enforce), mail(outside), dmarc(AuthFail, "reject"),
			"reject 550 5.7.1 from external 198.51.100.99 | not-from-gateway source-external dmarc-reject"},
		{"quarantine", ours(enforce), mail(outside), dmarc(AuthFail, "quarantine"), spam + "fail" + tagged},
		{"none", ours(enforce), mail(outside), dmarc(AuthFail, "none"), passed + "fail | not-from-gateway source-external"},
		{"pass", ours(enforce), mail(outside), dmarc(AuthPass, "reject"), passed + "pass | not-from-gateway source-external"},
		{"A5 temperror", ours(enforce), mail(outside), dmarc(AuthTempError, "reject"), passed + "temperror | not-from-gateway source-external"},
		{"no single author", ours(enforce), mail(outside), dmarc(AuthPermError, ""), spam + "permerror" + strings.Replace(tagged, "dmarc=fail", "dmarc=permerror", 1)},
		{"several From fields", ours(enforce), mail(outside, "From: a@author.example", "from : b@other.example"), dmarc(AuthPermError, ""),
			"reject 550 5.7.1 from external 198.51.100.99 | not-from-gateway source-external dmarc-reject"},
		{"a mark of somebody else's", Settings{DMARC: DMARCEnforce}, mail(outside, "X-Spam-Flag: NO"), dmarc(AuthFail, "quarantine"),
			"accept from external 198.51.100.99 spam; delete X-Spam-Flag 1; insert Received-SPF: none; insert Authentication-Results: mx; dmarc=fail; add X-Spam-Flag: YES; add X-Spam-Status: Yes, dmarc=fail | source-external dmarc-quarantine forged-field-removed"},
		{"report", ours(mode(DMARCReport)), mail(outside), dmarc(AuthFail, "reject"), passed + "fail | not-from-gateway source-external"},
		{"exempt", ours(enforce), mail(outside).login("alice"), dmarc(AuthFail, "reject"), "accept outbound | exempt-login"},
		{"through a gateway", ours(enforce), mail(fromGateway, hopOutside), dmarc(AuthFail, "reject"),
			"reject 550 5.7.1 via filter from external 198.51.100.7 | from-gateway source-external dmarc-reject"},
		{"through a gateway that changes messages", ours(enforce, gateways(DMARCReport)), mail(fromGateway, hopOutside), dmarc(AuthFail, "reject"),
			"accept via filter from external 198.51.100.7; insert Received-SPF: none; insert Authentication-Results: mx; dmarc=fail | from-gateway source-external"},
		{"only through this gateway", ours(gateways(DMARCEnforce)), mail(fromGateway, hopOutside), dmarc(AuthFail, "reject"),
			"reject 550 5.7.1 via filter from external 198.51.100.7 | from-gateway source-external dmarc-reject"},
		{"quarantine by the gateway's spam action", ours(enforce, spamHeader("^X-Spam:"), spamAction(SpamQuarantine)), mail(fromGateway, hopOutside), dmarc(AuthFail, "quarantine"),
			"quarantine via filter from external 198.51.100.7 spam; insert Received-SPF: none; insert Authentication-Results: mx; dmarc=fail; add X-Spam-Flag: YES; add X-Spam-Status: Yes, gateway=filter dmarc=fail | from-gateway source-external spam-not-tagged dmarc-quarantine"},
		{"reject counts more than spam", ours(enforce, spamHeader("^X-Spam:"), spamAction(SpamDiscard)), mail(fromGateway, hopOutside, "X-Spam: yes"), dmarc(AuthFail, "reject"),
			"reject 550 5.7.1 via filter from external 198.51.100.7 spam | from-gateway source-external spam-tagged dmarc-reject"},
		{"I19 an allowlisted source is not spam", ours(enforce, allow("198.51.100.0/24")), mail(outside), dmarc(AuthFail, "quarantine"),
			passed + "fail | not-from-gateway source-external dmarc-quarantine allowlisted"},
		{"I19 but is refused", ours(enforce, allow("198.51.100.0/24")), mail(outside), dmarc(AuthFail, "reject"),
			"reject 550 5.7.1 from external 198.51.100.99 | not-from-gateway source-external dmarc-reject"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := told(New(c.settings).Evaluate(context.Background(), &c.message, &judge{says: c.says})); got != c.want {
				t.Errorf("\n got %s\nwant %s", got, c.want)
			}
		})
	}
}

// A1, I20: what is authenticated is the source, never the gateway.
func TestA1AuthRequest(t *testing.T) {
	m := mail(fromGateway, hopGateway, hopOutside, "From: author@outside.example")
	m.Body = strings.NewReader("Hello.\r\n")
	j := new(judge)
	v := New(ours()).Evaluate(context.Background(), &m, j)
	want := AuthRequest{Source: v.Source, Sender: "sender@outside.example", Header: m.Header}
	if diff := cmp.Diff(want, j.asked, cmp.Comparer(func(a, b Hop) bool { return a == b }), cmp.Comparer(func(a, b Source) bool { return a.IP == b.IP && a.HELO == b.HELO && a.Outcome == b.Outcome })); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if v.Source.IP.String() != "198.51.100.7" || v.Source.HELO != "mail.outside.example" {
		t.Errorf("source %v", v.Source)
	}
	if j.body.String() != "Hello.\r\n" {
		t.Errorf("body %q", j.body.String())
	}
}

// A4: what claims to be a report of ours is removed, all of it, and ours is put on
// top.
func TestA4ForgedReports(t *testing.T) {
	m := mail(outside, "Authentication-Results: mx; dmarc=pass", "Subject: x", "authentication-results: other; spf=pass", "AUTHENTICATION-RESULTS: mx; spf=pass")
	const want = "accept from external 198.51.100.99; delete AUTHENTICATION-RESULTS 3; delete Authentication-Results 1; insert Received-SPF: none; insert Authentication-Results: mx; dmarc=fail | source-external forged-field-removed"
	// Also without a gateway.
	if got := told(New(Settings{}).Evaluate(context.Background(), &m, &judge{says: dmarc(AuthFail, "none")})); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

// A4: nor may our own users write such reports.
func TestA4ForgedByUsers(t *testing.T) {
	forged := mail(outside, "Authentication-Results: mx; dmarc=pass", "Subject: x")
	for _, c := range []struct {
		message Message
		want    string
	}{
		{forged.login("alice"), "accept outbound; delete Authentication-Results 1 | exempt-login forged-field-removed"},
		{mail("127.0.0.1", "Authentication-Results: mx; dmarc=pass"), "accept exempt | exempt-local"},
	} {
		j := new(judge)
		if got := told(New(ours()).Evaluate(context.Background(), &c.message, j)); got != c.want || j.asked.Header != nil {
			t.Errorf("\n got %s\nwant %s", got, c.want)
		}
	}
}

// A body that can't be read decides nothing.
func TestBodyUnreadable(t *testing.T) {
	m := mail(outside)
	m.Body = io.MultiReader(strings.NewReader("Hello."), iotest.ErrReader(errors.New("disk")))
	j := &judge{says: dmarc(AuthPass, "")}
	const want = "tempfail 451 4.3.0 from external 198.51.100.99 | not-from-gateway source-external body-unreadable"
	if got := told(New(ours()).Evaluate(context.Background(), &m, j)); got != want || !j.aborted {
		t.Errorf("\n got %s\nwant %s; aborted %v", got, want, j.aborted)
	}
}
