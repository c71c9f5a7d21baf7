package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"gatemilter/cmd/internal/lab"
)

// The tests of this file are about what administrators write into sendmail.mc beside our include:
// none of it may be an OK to what gatemilter refuses.

// R5, R9, O4, O10: what the administrator's own rules find good about a connection is not enough, where
// they stand before ours too. His hold as well, and so do his logins at hosts that are no user's.
func TestSendmailOwnRules(t *testing.T) {
	isolated(t, func() {
		clear := newSink(t, nil)
		ca := must(lab.NewCA("Relay CA"))
		relay := newServer(t, lab.SinkConfig{Cert: certified(ca), Logins: map[string]string{"boss": clubsPassword}})
		x := newCrossing(t, fmt.Sprintf("[route strict]\nhost = %s\n[route relay]\nhost = %s\nrequire_ca = no\nverify_hostname = no\n[sender @strict.test]\nroute = strict\n[sender @relay.test]\nroute = relay\n[user dora@lab.test]\n",
			clear.Addr(), relay.Addr())+own("dora@lab.test", "dora@partner.example", clear, "dora", secondPassword), lab.SendmailConfig{
			Features: "FEATURE(`authinfo', `text -z| -k0 -v1 LAB_DIR/etc/authinfo')dnl\ndefine(`confTLS_FALLBACK_TO_CLEAR', `True')dnl\n"})
		x.file("authinfo", fmt.Sprintf("AuthInfo:|\"U:boss\" \"I:boss\" \"P:%s\" \"M:PLAIN\"\n", clubsPassword))
		const forbids = "R$*\t\t$: $&f\nRforbidden@$*\t$#error $@ 4.7.0 $: \"454 the administrator forbids it\"\n"
		for _, rules := range []string{
			"LOCAL_TLS_SERVER\n" + forbids + "R$*\t$@ OK\nLOCAL_TLS_RCPT\nR$*\t$@ OK\n",
			"LOCAL_RULESETS\nSLocal_tls_server\nR$*\t$# OK\nSLocal_tls_rcpt\n" + forbids + "R$*\t$# OK\n",
		} {
			x.rebuild(rules + x.sendmailM4())
			strict, doras, forbidden, fine, own, relayed := x.far(), x.far(), x.far(), x.far(), x.far(), x.far()
			x.mail("x@strict.test", strict)
			x.write("dora@lab.test", "dora@lab.test", by("dora@partner.example", doras), doras)
			x.mail("forbidden@lab.test", forbidden)
			x.mail("bob@lab.test", fine)
			x.write("alice@lab.test", "alice@lab.test", by("alice@partner.example", own), own)
			x.mail("x@relay.test", relayed)
			for to, want := range map[string]string{strict: "require_tls of route strict", doras: "needs TLS", forbidden: "the administrator forbids it"} {
				if reason := x.deferred(to); !strings.Contains(reason, want) {
					t.Errorf("with %q, %s: deferred: %s", rules, to, reason)
				}
			}
			x.idle()
			x.at(fine, "lab", "bob@lab.test")
			x.at(own, "alice", "alice@partner.example")
			if m := taken(relay, relayed); m == nil || m.Login != "boss" {
				t.Errorf("at the relay: %+v", m)
			}
		}
		if all := clear.Taken(); len(all) > 0 {
			t.Errorf("left in clear: %+v", all)
		}
		if i := slices.IndexFunc(x.alice.Attempts(), func(a lab.Attempt) bool { return a.Username != "alice" }); i >= 0 {
			t.Errorf("login at alice's server: %+v", x.alice.Attempts()[i])
		}
	})
}

// O2, O5: the administrator's own rules for recipients decide before routes by sender; before users' own
// servers only those in LOCAL_RULE_0.
func TestSendmailOwnWays(t *testing.T) {
	isolated(t, func() {
		x := newCrossing(t, "", lab.SendmailConfig{})
		administrators := newServer(t, lab.SinkConfig{IP: "127.0.0.77", Port: 25})
		const way = " . > $*\t$#esmtp $@ [127.0.0.77] $: $1 < @ $2 . > $3\n"
		x.rebuild("LOCAL_RULE_0\nR$* < @ $={LabFirst}" + way + "LOCAL_NET_CONFIG\nR$* < @ $={LabLate}" + way +
			"LOCAL_CONFIG\nC{LabFirst} first.example\nC{LabLate} late.example\n" + x.sendmailM4())
		x.mail("bob@lab.test", "bobs@first.example", "bobs@late.example", "bobs@remote.example")
		x.write("alice@lab.test", "alice@partner.example", by("alice@partner.example", "own"), "alices@first.example", "alices@late.example")
		x.idle()
		for _, to := range []string{"bobs@first.example", "bobs@late.example", "alices@first.example"} {
			if !got(administrators, to) {
				t.Errorf("%s: not where the administrator's rule leads", to)
			}
		}
		x.at("bobs@remote.example", "lab", "bob@lab.test")
		x.at("alices@late.example", "alice", "alice@partner.example")
	})
}
