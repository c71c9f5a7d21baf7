package milter

import (
	"testing"

	"gatemilter/policy"
)

// The answer names the macros that we need, in the order of the stages, where
// the MTA takes such a list.
func TestSymbolList(t *testing.T) {
	a, err := agree(fullOffer[lengthSize+commandSize:])
	if err != nil {
		t.Fatal(err)
	}
	want := "\x00\x00\x00\x06\x00\x00\x01\xfd\x00\x16\x35\x80" +
		"\x00\x00\x00\x00j {daemon_name} v _ {client_addr} {client_name} {client_ptr} {if_addr}\x00" +
		"\x00\x00\x00\x01{tls_version} {cipher} {cipher_bits} {verify} {cert_subject} {cert_issuer} {cn_subject}\x00" +
		"\x00\x00\x00\x02i {auth_type} {auth_authen} {mail_addr} {mail_host} {mail_mailer}" +
		" {tls_version} {verify} {cert_subject} {cn_subject} {client_addr} {client_name} {daemon_name}\x00" +
		"\x00\x00\x00\x03{rcpt_addr} {rcpt_host} {rcpt_mailer} i\x00" +
		"\x00\x00\x00\x04i\x00" +
		"\x00\x00\x00\x06i\x00" +
		"\x00\x00\x00\x05i {msg_id}\x00"
	if got := a.answer(); string(got) != string(raw('O', want)) {
		t.Errorf("answer:\n%q\nwant:\n%q", got, raw('O', want))
	}
	a, err = agree(offer(6, 0xff, 0)[lengthSize+commandSize:])
	if got, want := string(a.answer()), string(offer(6, 0xfd, 0)); err != nil || got != want {
		t.Errorf("answer without list: %q, %v, want %q", got, err, want)
	}
}

// What was not offered is neither asked for nor used.
func TestAbilities(t *testing.T) {
	type abilities struct{ add, insert, remove, change, sender, quarantine, readdress bool }
	for _, c := range []struct {
		actions uint32
		want    abilities
	}{
		{0x1ff, abilities{true, true, true, true, true, true, true}},
		{0, abilities{}},
		{0x01, abilities{add: true, insert: true}},
		{0x10, abilities{remove: true, change: true}},
		{0x20, abilities{quarantine: true}},
		{0x40, abilities{sender: true}},
		{0x8e, abilities{readdress: true}},
		{0x0e, abilities{}},
	} {
		agreed, err := agree(offer(6, c.actions, 0)[lengthSize+commandSize:])
		if err != nil {
			t.Fatal(err)
		}
		a := Abilities(agreed.actions)
		got := abilities{a.Edit(policy.AddField), a.Edit(policy.InsertField), a.Edit(policy.DeleteField),
			a.Edit(policy.ChangeField), a.Edit(policy.ChangeSender), a.Quarantine(), a.Readdress()}
		if got != c.want {
			t.Errorf("actions %#x: %+v, want %+v", c.actions, got, c.want)
		}
		if a.Edit(99) {
			t.Errorf("actions %#x allow an unknown edit", c.actions)
		}
	}
}
