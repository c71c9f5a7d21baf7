package milter

import (
	"strings"
	"testing"
)

// The latest stage wins, a stage's macros are replaced as a whole, and those of
// a message end with it.
func TestMacroStages(t *testing.T) {
	d := &diary{watch: []string{"j", "{tls_version}", "{mail_addr}", "{rcpt_addr}", "i"}}
	_, calls, reports := talk(t, d, fullOffer,
		macros('C', "j", "mx", "i", "none"), someConnect,
		macros('H'), helo("clear"), abort,
		macros('H', "{tls_version}", "TLSv1.2"), helo("tls"),
		macros('M', "{mail_addr}", "a"), mail("<a>"),
		macros('R', "{rcpt_addr}", "b"), rcpt("<b>"),
		macros('R', "{rcpt_addr}", "c", "i", "4711"), rcpt("<c>"),
		rcpt("<d>"),
		macros('T', "i", "4711"), data, macros('L', "i", "4711"), field("A", "b"),
		macros('N', "i", "4711"), eoh, macros('B', "i", "4711"), piece("text"), macros('E', "i", "4712"), eom,
		// Sendmail: no ABORT
		macros('M', "{mail_addr}", "e"), mail("<e>"),
		mail("<f>"), abort,
		macros('H', "{tls_version}", "TLSv1.3"), helo("again"), helo("no macros"), quit)
	same(t, "calls", calls,
		`Connect client.example 192.0.2.2:4711 j="mx" {tls_version}="" {mail_addr}="" {rcpt_addr}="" i="none"`,
		`Helo clear j="mx" {tls_version}="" {mail_addr}="" {rcpt_addr}="" i="none"`,
		`Helo tls j="mx" {tls_version}="TLSv1.2" {mail_addr}="" {rcpt_addr}="" i="none"`,
		`Mail <a> j="mx" {tls_version}="TLSv1.2" {mail_addr}="a" {rcpt_addr}="" i="none"`,
		`Rcpt <b> j="mx" {tls_version}="TLSv1.2" {mail_addr}="a" {rcpt_addr}="b" i="none"`,
		`Rcpt <c> j="mx" {tls_version}="TLSv1.2" {mail_addr}="a" {rcpt_addr}="c" i="4711"`,
		`Rcpt <d> j="mx" {tls_version}="TLSv1.2" {mail_addr}="a" {rcpt_addr}="" i="none"`,
		`Header A: b j="mx" {tls_version}="TLSv1.2" {mail_addr}="a" {rcpt_addr}="" i="4711"`,
		`EndOfHeader j="mx" {tls_version}="TLSv1.2" {mail_addr}="a" {rcpt_addr}="" i="4711"`,
		`Body text j="mx" {tls_version}="TLSv1.2" {mail_addr}="a" {rcpt_addr}="" i="4711"`,
		`EndOfMessage j="mx" {tls_version}="TLSv1.2" {mail_addr}="a" {rcpt_addr}="" i="4712"`,
		`Done j="mx" {tls_version}="TLSv1.2" {mail_addr}="a" {rcpt_addr}="" i="4712"`,
		`Mail <e> j="mx" {tls_version}="TLSv1.2" {mail_addr}="e" {rcpt_addr}="" i="none"`,
		`Abort j="mx" {tls_version}="TLSv1.2" {mail_addr}="e" {rcpt_addr}="" i="none"`,
		`Mail <f> j="mx" {tls_version}="TLSv1.2" {mail_addr}="" {rcpt_addr}="" i="none"`,
		`Abort j="mx" {tls_version}="TLSv1.2" {mail_addr}="" {rcpt_addr}="" i="none"`,
		`Helo again j="mx" {tls_version}="TLSv1.3" {mail_addr}="" {rcpt_addr}="" i="none"`,
		`Helo no macros j="mx" {tls_version}="" {mail_addr}="" {rcpt_addr}="" i="none"`,
		`Close j="mx" {tls_version}="" {mail_addr}="" {rcpt_addr}="" i="none"`)
	same(t, "reports", reports)
}

// At rest nothing is left of a message.
func TestMacrosEndWithMessage(t *testing.T) {
	for name, end := range map[string][]byte{"end of message": eom, "ABORT": abort} {
		d := &diary{watch: []string{"{mail_addr}", "{rcpt_addr}"}}
		_, calls, _ := talk(t, d, fullOffer, someConnect,
			macros('M', "{mail_addr}", "a"), mail("<a>"), macros('R', "{rcpt_addr}", "b"), rcpt("<b>"), end, quit)
		same(t, name, calls[len(calls)-1:], `Close {mail_addr}="" {rcpt_addr}=""`)
	}
}

func TestMacroNames(t *testing.T) {
	var m Macros
	for _, data := range []string{"Ci\x001\x00{j}\x002\x00{tls_version}\x00\x00plain\x003\x00i\x004\x00", "Uv\x005\x00", "E"} {
		if err := m.set([]byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"i": "1", "{i}": "1", "j": "2", "{j}": "2", "{tls_version}": "", "tls_version": "", "{plain}": "3", "v": "", "": "", "{}": "",
	} {
		if got := m.Get(name); got != want {
			t.Errorf("%q is %q, want %q", name, got, want)
		}
	}
}

// The memory of a long value is not kept.
func TestMacroMemory(t *testing.T) {
	var m Macros
	long := "Mi\x00" + strings.Repeat("x", maxMacroBytes/2) + "\x00"
	if err := m.set([]byte(long)); err != nil {
		t.Fatal(err)
	}
	m.begin('M')
	m.endMessage()
	if n := cap(m.stages[messageStage]); n != 0 {
		t.Errorf("%d octets are kept", n)
	}
}
