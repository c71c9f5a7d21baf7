package milter

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"gatemilter/policy"
)

// The tests of this file drive the session as the connection does, and look at what
// it answers and reports.

var comparers = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmpopts.IgnoreFields(Record{}, "Verdict", "Duration"),
	cmpopts.EquateErrors(),
}

// visit is one SMTP session with a policy that has one gateway, 192.0.2.2, for
// example.com.
type visit struct {
	t        *testing.T
	sessions *Sessions
	session  Session
	macros   *Macros
	records  []Record
}

func newVisit(t *testing.T, mode policy.Mode) *visit {
	p := policy.New(policy.Settings{Mode: mode, Gateways: []policy.Gateway{{
		Name:             "filter",
		Addresses:        []netip.Prefix{netip.MustParsePrefix("192.0.2.2/32")},
		Domains:          []string{"example.com"},
		DetectExternalIP: true,
		RejectOther:      true,
		MinTLS:           policy.TLSOther,
	}}})
	k := &visit{t: t, macros: new(Macros)}
	k.sessions = &Sessions{Rules: func() Rules { return Rules{Policy: p} }, Report: func(r *Record) { k.records = append(k.records, *r) }}
	k.session = k.sessions.New()
	return k
}

// macro gives the session a macro packet: stage letter, then names and values.
func (k *visit) macro(stage string, pairs ...string) {
	k.t.Helper()
	data := stage
	if len(pairs) > 0 {
		data += strings.Join(pairs, "\x00") + "\x00"
	}
	if err := k.macros.set([]byte(data)); err != nil {
		k.t.Fatal(err)
	}
}

func (k *visit) connect(ip, name string) {
	k.session.Connect(Peer{Name: name, Addr: netip.AddrPortFrom(netip.MustParseAddr(ip), 4711)}, k.macros)
	k.session.Helo("helo.example")
}

func (k *visit) mail(sender string) policy.Reply { return k.session.Mail(Envelope{Address: sender}) }
func (k *visit) rcpt(to string) policy.Reply     { return k.session.Rcpt(Envelope{Address: to}) }

// end sends header and body and finishes the message.
func (k *visit) end(fields ...policy.Field) Outcome {
	for _, f := range fields {
		k.session.Header(f.Name, f.Value)
	}
	k.session.EndOfHeader()
	o := k.session.EndOfMessage(context.Background())
	k.session.Done(o.Reply, nil)
	return o
}

// TLS comes with HELO on Postfix; on Sendmail a client may go on without another
// HELO after STARTTLS, so it is asked for at MAIL too.
func TestSessionTLS(t *testing.T) {
	for _, c := range []struct {
		name  string
		stage string
		pairs []string
		want  int
	}{
		{"in clear", "H", nil, 530},
		{"Postfix", "H", []string{"{tls_version}", "TLSv1.3"}, 0},
		{"Sendmail", "M", []string{"{tls_version}", "TLSv1.2"}, 0},
		{"a version of the future", "H", []string{"{tls_version}", "TLSv9"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := newVisit(t, policy.Enforce)
			k.connect("192.0.2.2", "gw.example")
			k.macro(c.stage, c.pairs...)
			if got := k.mail("a@outside.example"); got.Code != c.want {
				t.Errorf("reply %v, want %d", got, c.want)
			}
		})
	}
}

// I23: a certificate counts only if the mail server verified it.
func TestI23CertificateName(t *testing.T) {
	for _, c := range []struct {
		name  string
		pairs []string
		want  string
	}{
		{"Postfix sends verified ones only", []string{"v", "Postfix 3.7.11", "{cert_subject}", "gw.example"}, "gw.example"},
		{"Postfix, none", []string{"v", "Postfix 3.7.11"}, ""},
		{"Sendmail, verified", []string{"v", "8.17.1", "{verify}", "OK", "{cn_subject}", "gw.example", "{cert_subject}", "/CN=gw.example"}, "gw.example"},
		{"Sendmail, not verified", []string{"v", "8.17.1", "{verify}", "FAIL", "{cn_subject}", "gw.example", "{cert_subject}", "/CN=gw.example"}, ""},
		{"Sendmail, none", []string{"v", "8.17.1", "{verify}", "NO"}, ""},
		{"neither says", []string{"v", "Exim", "{cert_subject}", "gw.example"}, ""},
	} {
		m := new(Macros)
		if err := m.set([]byte("C" + strings.Join(c.pairs, "\x00") + "\x00")); err != nil {
			t.Fatal(err)
		}
		if got := certificateName(m); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// A record for each message, whatever its end; none is left over from the one
// before.
func TestSessionRecords(t *testing.T) {
	k := newVisit(t, policy.Enforce)
	k.connect("198.51.100.1", "client.example")
	client := policy.Client{IP: netip.MustParseAddr("198.51.100.1"), Name: "client.example", HELO: "helo.example"}

	k.mail("one@outside.example")
	if r := k.rcpt("user@example.com"); r.Code != 550 {
		t.Errorf("around the gateway: %v", r)
	}
	k.session.Abort()

	k.macro("M", "i", "QUEUE2", "{auth_authen}", "alice")
	k.mail("two@example.com")
	k.rcpt("user@example.com")
	k.end(policy.Field{Name: "Subject", Value: "hello"})

	k.macro("M", "i", "QUEUE3")
	k.mail("")
	k.rcpt("user@free.example")
	k.session.Abort()

	k.mail("four@outside.example")
	k.rcpt("user@free.example")
	k.session.EndOfHeader()
	k.session.Done(policy.Reply{Code: 552, Enhanced: "5.3.4", Text: "too large"}, errLimit)

	want := []Record{
		{Client: client, Sender: "one@outside.example", Stage: StageRcpt},
		{Client: client, Sender: "two@example.com", Stage: StageEnd, QueueID: "QUEUE2", Login: "alice"},
		{Client: client, Stage: StageAborted, QueueID: "QUEUE3"},
		{Client: client, Sender: "four@outside.example", Stage: StageEnd, QueueID: "QUEUE3", Failure: errLimit, Answer: policy.Reply{Code: 552, Enhanced: "5.3.4", Text: "too large"}},
	}
	if diff := cmp.Diff(want, k.records, comparers); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	var verdicts []string
	for _, r := range k.records {
		verdicts = append(verdicts, r.Verdict.Action.String()+" "+r.Verdict.Direction.String())
	}
	if diff := cmp.Diff([]string{"reject inbound", "accept outbound", "accept inbound", "accept inbound"}, verdicts); diff != "" {
		t.Errorf("verdicts: -want +got\n%s", diff)
	}
}

var errLimit = errors.New("limit")

// The header of one message is not that of the next.
func TestSessionHeaderOfEachMessage(t *testing.T) {
	k := newVisit(t, policy.Enforce)
	k.connect("198.51.100.1", "")
	for i, want := range []int{2, 0, 1} {
		k.mail("a@outside.example")
		k.rcpt("user@free.example")
		var fields []policy.Field
		for range want {
			fields = append(fields, policy.Field{Name: "X-Spam-Flag", Value: "NO"})
		}
		if got := len(k.end(fields...).Edits); got != want {
			t.Errorf("message %d: %d edits, want %d", i, got, want)
		}
	}
}

// S8: nothing is refused or changed, all is reported.
func TestS8SessionObserve(t *testing.T) {
	k := newVisit(t, policy.Observe)
	k.connect("192.0.2.2", "gw.example")
	if r := k.mail("a@outside.example"); r.Code != 0 {
		t.Errorf("MAIL: %v", r)
	}
	if r := k.rcpt("user@example.com"); r.Code != 0 {
		t.Errorf("RCPT: %v", r)
	}
	if diff := cmp.Diff(Outcome{}, k.end(policy.Field{Name: "X-Spam-Flag", Value: "NO"})); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if got := k.records[0].Verdict; got.Action != policy.Reject || got.Reply.Code != 530 {
		t.Errorf("verdict %+v", got)
	}
}

// I24: hosts that are named like a gateway's.
func TestI24GatewayNames(t *testing.T) {
	p := newVisit(t, policy.Enforce).sessions.Rules().Policy
	var names gatewayNames
	see := func(ip, name string) string {
		return names.see(p, &policy.Client{IP: netip.MustParseAddr(ip), Name: name})
	}
	if got := see("198.51.100.1", "new.filter.example"); got != "" {
		t.Errorf("before any gateway was seen: %q", got)
	}
	see("192.0.2.2", "gw1.eu.filter.example")
	for name, want := range map[string]string{
		"new.filter.example":  "filter",
		"NEW.FILTER.example.": "filter",
		"filter.example":      "filter",
		"notfilter.example":   "",
		"example":             "",
		"":                    "",
	} {
		if got := see("198.51.100.1", name); got != want {
			t.Errorf("%q resembles %q, want %q", name, got, want)
		}
	}
	// Names of hosts in a shared cloud say nothing.
	see("192.0.2.2", "ec2-192-0-2-2.compute-1.amazonaws.com")
	if got := see("198.51.100.1", "ec2-198-51-100-1.compute-1.amazonaws.com"); got != "" {
		t.Errorf("a neighbour in the cloud resembles %q", got)
	}
	for i := range 2 * maxNames {
		see("192.0.2.2", "gw.filter"+string(rune('a'+i))+".example")
	}
	if got := len(names.domains["filter"]); got != maxNames {
		t.Errorf("%d names are kept, want %d", got, maxNames)
	}
}

// S8: what is too large to be examined is refused, unless nothing would be done
// about it anyway.
func TestOverflow(t *testing.T) {
	refusal := policy.Reply{Code: 552, Enhanced: "5.3.4", Text: "too large"}
	for _, c := range []struct {
		name  string
		mode  policy.Mode
		ip    string
		login string
		want  policy.Reply
	}{
		{"enforce", policy.Enforce, "198.51.100.1", "", refusal},
		{"observe", policy.Observe, "198.51.100.1", "", policy.Reply{}},
		{"our own user", policy.Enforce, "198.51.100.1", "alice", refusal},
		{"this host", policy.Enforce, "127.0.0.1", "", policy.Reply{}},
	} {
		k := newVisit(t, c.mode)
		k.connect(c.ip, "")
		k.macro("M", "{auth_authen}", c.login)
		k.mail("a@outside.example")
		if got := k.session.Overflow(refusal); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// I10: what the mail server resolved the recipient to decides, not what it looks
// like.
func TestI10ResolvedRecipient(t *testing.T) {
	k := newVisit(t, policy.Enforce)
	k.connect("198.51.100.1", "")
	k.mail("a@outside.example")
	for _, c := range []struct {
		typed, resolved string
		want            int
	}{
		{"user@example.com", "user@example.com", 550},
		{"user%example.com", "user@example.com", 550},
		{"user%example.com@free.example", "user@example.com", 550},
		{"user@free.example", "user@free.example", 0},
		{`"odd user"@free.example`, `odd user@free.example`, 0},
	} {
		k.macro("R", "{rcpt_addr}", c.resolved)
		if got := k.rcpt(c.typed); got.Code != c.want {
			t.Errorf("%s, resolved to %s: %v, want %d", c.typed, c.resolved, got, c.want)
		}
	}
}

// I10: Sendmail tells of a local user no domain, and of a virtual one where he leads to; so it is
// what was typed that decides, and in doubt every gateway.
func TestI10SendmailRecipient(t *testing.T) {
	k := newVisit(t, policy.Enforce)
	k.macro("C", "v", "8.17.1.9")
	k.connect("198.51.100.1", "")
	k.mail("a@outside.example")
	for _, c := range []struct {
		typed, resolved string
		want            int
	}{
		{"user@example.com", "user", 550},
		{"user@example.com", "virtual@free.example", 550},
		{"user@free.example", "user", 0},
		{"user@free.example", "virtual@example.com", 0},
		{"user%example.com@free.example", "user", 550},
		{"user", "user", 550},
		{"user@[127.0.0.1]", "user", 550},
	} {
		k.macro("R", "{rcpt_addr}", c.resolved, "{rcpt_mailer}", "local")
		if got := k.rcpt(c.typed); got.Code != c.want {
			t.Errorf("%s, resolved to %s: %v, want %d", c.typed, c.resolved, got, c.want)
		}
	}
}

// O4, O5: Sendmail chooses the way by the envelope sender and the login, so it is told no other,
// and looks at the recipients anew where the sender changes.
func TestSendmailWay(t *testing.T) {
	partner := &policy.UserGateway{Host: "smtp.partner.example", Port: 587}
	alice := &policy.User{Login: "alice+x@lab.test", Account: "alice@lab.test", Identities: []policy.Identity{
		{Address: "alice@lab.test"}, {Address: "alice@partner.example", Gateway: partner}, {Address: "sales@lab.test", Gateway: partner}}}
	p := policy.New(policy.Settings{Outbound: policy.Outbound{Users: map[string]*policy.User{alice.Login: alice},
		Domains: map[string]bool{"lab.test": true}, AllowUserGateways: true}})
	far := Envelope{Address: "far@remote.example", Raw: "<far@remote.example>", Args: []string{"NOTIFY=NEVER"}}
	newSender := func(address string) []policy.Edit { return []policy.Edit{{Op: policy.ChangeSender, Value: address}} }
	const way = "gatemilter-user:[smtp.partner.example]:587"
	field := []policy.Edit{{Op: policy.AddField, Name: policy.RouteField, Value: way}, {Op: policy.DeleteField, Name: policy.RouteField, Index: 1}}
	for _, c := range []struct {
		version, sender, from string
		want                  Outcome
	}{
		{"8.17.1.9", "alice@partner.example", "alice@partner.example", Outcome{}},
		{"8.17.1.9", "alice@lab.test", "alice@partner.example", Outcome{Edits: newSender("alice@partner.example"), Readdress: []Envelope{far}}},
		{"8.17.1.9", "alice@partner.example", "alice@lab.test", Outcome{Edits: newSender("alice@lab.test"), Readdress: []Envelope{far}}},
		{"8.17.1.9", "sales@lab.test", "alice@lab.test", Outcome{Edits: newSender("alice@lab.test"), Readdress: []Envelope{far}}},
		{"8.17.1.9", "alice@lab.test", "alice@lab.test", Outcome{}},
		{"Postfix 3.7.11", "alice@partner.example", "alice@partner.example", Outcome{Edits: field}},
		{"Postfix 3.7.11", "alice@lab.test", "alice@partner.example", Outcome{Edits: append(newSender("alice@partner.example"), field...)}},
	} {
		k := &visit{t: t, macros: new(Macros)}
		k.session = (&Sessions{Rules: func() Rules { return Rules{Policy: p} }, Report: func(*Record) {}}).New()
		k.macro("C", "v", c.version)
		k.connect("192.0.2.1", "")
		login := "alice+x@lab.test"
		if c.version == "8.17.1.9" {
			login = "alice+2Bx@lab.test"
		}
		k.macro("M", "{auth_authen}", login)
		k.mail(c.sender)
		k.session.Rcpt(far)
		got := k.end(policy.Field{Name: "From", Value: " " + c.from})
		if len(got.Edits) == 0 {
			got.Edits = nil
		}
		got.QuarantineReason = ""
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%+v: -want +got\n%s", c, diff)
		}
	}
}

// The names of gateways that are configured no longer are forgotten.
func TestI24NamesOfFormerGateways(t *testing.T) {
	var names gatewayNames
	gateways := func(list ...string) *policy.Policy {
		var s policy.Settings
		for _, name := range list {
			s.Gateways = append(s.Gateways, policy.Gateway{Name: name, Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.2/32")}})
		}
		return policy.New(s)
	}
	host := policy.Client{IP: netip.MustParseAddr("192.0.2.2"), Name: "mx.filter.example"}
	stranger := policy.Client{IP: netip.MustParseAddr("198.51.100.9"), Name: "mx9.filter.example"}
	before, after, none := gateways("old"), gateways("new"), gateways()
	names.see(before, &host)
	same(t, "before", []string{names.see(before, &stranger)}, "old")
	same(t, "no gateway", []string{names.see(none, &stranger)}, "")
	names.see(after, &host)
	same(t, "renamed", []string{names.see(after, &stranger)}, "new")
}
