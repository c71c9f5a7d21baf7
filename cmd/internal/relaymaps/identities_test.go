package relaymaps

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The tables of Postfix's SASL_README ("Configuring Sender-Dependent SASL authentication"), and
// what administrators write.
const (
	readmeRelayhosts = `
# /etc/postfix/sender_relay:
    # Per-sender provider; see also /etc/postfix/sasl_passwd.
user1@example.com               [mail.example.com]:submission
user2@example.org               [mail.example.org]
`
	readmePasswords = `
# /etc/postfix/sasl_passwd:
    # Per-sender authentication; see also /etc/postfix/sender_relay.
user1@example.com               username1:password1
user2@example.org               username2:password2
    # Login information for the default relayhost.
[mail.isp.example]              username:password
    # Alternative form:
    # [mail.isp.example]:submission username:password
`
	gluedRelayhosts = `Alice@Partner.example  [smtp.partner.example]:587
alice@club.example     [mail.club.example]:smtps
bob@gmail.example      smtp.gmail.example:submission
carol@v6.example       [2001:db8::25]:2525
dave@v6.example        [IPv6:2001:db8::26]
eve@partner.example    [smtp.partner.example]:587
frank@example.com      DUNNO
`
	gluedPasswords = `[smtp.partner.example]:587   shared@partner.example:pass:word with blanks
[mail.club.example]:465      alice:hunter2
smtp.gmail.example           bob@gmail.example:hunter3
[2001:db8::25]:2525          carol:hunter4
@v6.example                  dave:hunter5
eve@partner.example          eve:hunter6
[unused.example]             nobody:hunter7
`
	gluedOwners = `alice@partner.example  alice@example.com
alice@club.example     alice@example.com
bob@gmail.example      bob, Carol@example.com
@v6.example            carol@example.com
eve@partner.example    eve@example.com
`
)

func table(t *testing.T, name, text string) *Table {
	t.Helper()
	made, problems, err := Read(name, strings.NewReader(text))
	if err != nil || len(problems) > 0 {
		t.Fatalf("%s: %v, %v", name, problems, err)
	}
	return made
}

// shownFound shows what was found, with passwords.
func shownFound(found []Found) (lines []string) {
	for _, f := range found {
		line := fmt.Sprintf("%s:%d %s has %s by %s %s as %s with %s, %s", f.File, f.Line, f.Login, f.Address, f.Gateway.Nexthop(), f.Gateway.TLS, f.Gateway.Username, f.Gateway.Password.Reveal(), f.State)
		if f.Note != "" {
			line += "; " + f.Note
		}
		lines = append(lines, line)
	}
	return lines
}

func one(t *testing.T, login string) Owners {
	t.Helper()
	owner, err := OneOwner(login)
	if err != nil {
		t.Fatal(err)
	}
	return owner
}

// U6: the tables of Postfix's documentation become identities.
func TestU6PostfixsOwnExample(t *testing.T) {
	found, skipped, problems := Identities(table(t, "relay", readmeRelayhosts), table(t, "passwd", readmePasswords), one(t, "Alice@example.com"))
	want := []string{
		"relay:4 alice@example.com has user1@example.com by [mail.example.com]:587 starttls as username1 with password1, active",
		"relay:5 alice@example.com has user2@example.org by [mail.example.org]:25 starttls as username2 with password2, active",
	}
	if diff := cmp.Diff(want, shownFound(found)); diff != "" || len(problems) > 0 {
		t.Errorf("-want +got\n%s%v", diff, problems)
	}
	if want := []Skipped{{"passwd", 7, `"[mail.isp.example]" is not used for any address here`}}; !cmp.Equal(want, skipped) {
		t.Errorf("skipped %v", skipped)
	}
}

// U6: logins are found in Postfix's order, hosts in all their forms, and owners in their table.
func TestU6WhatAdministratorsWrite(t *testing.T) {
	found, skipped, problems := Identities(table(t, "relay", gluedRelayhosts), table(t, "passwd", gluedPasswords), OwnersIn(table(t, "owners", gluedOwners)))
	const mx = "; without brackets, Postfix asks the DNS for the MX hosts of smtp.gmail.example: now it is the host itself"
	want := []string{
		"relay:1 alice@example.com has alice@partner.example by [smtp.partner.example]:587 starttls as shared@partner.example with pass:word with blanks, active",
		"relay:2 alice@example.com has alice@club.example by [mail.club.example]:465 implicit as alice with hunter2, active",
		"relay:3 bob has bob@gmail.example by [smtp.gmail.example]:587 starttls as bob@gmail.example with hunter3, active" + mx,
		"relay:3 carol@example.com has bob@gmail.example by [smtp.gmail.example]:587 starttls as bob@gmail.example with hunter3, active" + mx,
		"relay:4 carol@example.com has carol@v6.example by [2001:db8::25]:2525 starttls as dave with hunter5, active",
		"relay:5 carol@example.com has dave@v6.example by [2001:db8::26]:25 starttls as dave with hunter5, active",
		"relay:6 eve@example.com has eve@partner.example by [smtp.partner.example]:587 starttls as eve with hunter6, active",
	}
	if diff := cmp.Diff(want, shownFound(found)); diff != "" || len(problems) > 0 {
		t.Errorf("-want +got\n%s%v", diff, problems)
	}
	if want := []Skipped{
		{"relay", 7, "it names no server of its own (DUNNO), so its mail leaves like all other"},
		{"passwd", 4, `"[2001:db8::25]:2525" is not used for any address here`},
		{"passwd", 7, `"[unused.example]" is not used for any address here`},
	}; !cmp.Equal(want, skipped) {
		t.Errorf("skipped %v", skipped)
	}
}

// U6: what can't be an identity is said with its line and what to do, and no password shows, even
// where somebody has confused the files.
func TestU6ProblemsOfIdentities(t *testing.T) {
	const passwords = "[h.example]:587 alice:hunter2\n[h.example]:25 alice\n[i.example]:25 :hunter2\n[j.example]:25 alice:\n"
	for relay, want := range map[string]string{
		"@x.example [h.example]:587":                                `relay:1: "@x.example" is for a whole domain, whose addresses are not one user's: write a line for each address, or a section [sender @x.example] with a route into the configuration`,
		"alice [h.example]:587":                                     `relay:1: "alice" is no address: write it in full, as in user@example.com`,
		"a@x.example [h.example]:587, [i]":                          "relay:1: it has several hosts: write the one at which the user has his account",
		"a@x.example [h.example":                                    `relay:1: "[h.example" is no host: write it as in [smtp.partner.example]:587`,
		"a@x.example [h.example]587":                                `relay:1: "[h.example]587" is no host: write it as in [smtp.partner.example]:587`,
		"a@x.example [h.example]:":                                  `relay:1: "[h.example]:" is no host: write it as in [smtp.partner.example]:587`,
		"a@x.example [h.example]:pop3":                              `relay:1: "[h.example]:pop3" has a port that is not known here: write it as a number, such as 587`,
		"a@x.example [h.example]:26":                                `relay:1: "[h.example]:26" has the port 26, at which no user's server may be: write 25, 465, 587, or from 1024 to 65535`,
		"a@x.example smtp:[h.example]:587":                          `relay:1: what stands behind "a@x.example" is no host with a port: write it without a transport, as in [smtp.partner.example]:587`,
		"a@x.example alice:hunter2":                                 `relay:1: what stands behind "a@x.example" is no host with a port: write it without a transport, as in [smtp.partner.example]:587`,
		"a@x.example alice:hunter2:hunter2":                         `relay:1: what stands behind "a@x.example" is no host with a port: write it without a transport, as in [smtp.partner.example]:587`,
		"a@x.example [h_h.example]:587":                             `relay:1: "h_h.example" is no host: "_" can't be in a domain name; write letters, digits, - and points`,
		"a@x.example [g.example]:587":                               "relay:1: passwd has no login for it: write a line a@x.example USER:PASSWORD there",
		"a@x.example [h.example]":                                   "relay:1: its login (passwd:2): there is no colon in it: write USER:PASSWORD",
		"a@x.example [i.example]":                                   "relay:1: its login (passwd:3): username: there is none: write USER:PASSWORD",
		"a@x.example [j.example]":                                   "relay:1: its login (passwd:4): password: there is none: write USER:PASSWORD",
		"b@x.example [h.example]:587":                               `relay:1: "b@x.example" is nobody's in owners: write a line for it there, the address and behind it the login`,
		"c@x.example [h.example]:587":                               "relay:1: owners:2 names no owner of it: write the login behind the address",
		"d@x.example [h.example]:587":                               `relay:1: its owner (owners:3): "<dave>" is no login: write it alone, without <, > and quotes`,
		"a@x.example [h.example]:587\na@x.EXAMPLE. [h.example]:587": `relay:2: "a@x.example." is no address, "x.example." behind the @ is not a domain: it ends with a point; write x.example`,
	} {
		_, _, problems := Identities(table(t, "relay", relay), table(t, "passwd", passwords), OwnersIn(table(t, "owners", "a@x.example a\nc@x.example ,\nd@x.example <dave>\n")))
		if len(problems) != 1 || problems[0].Error() != want {
			t.Errorf("%s:\n%v, want\n%s", relay, problems, want)
		}
		if strings.Contains(fmt.Sprint(problems), "hunter") {
			t.Errorf("%s: a password shows: %v", relay, problems)
		}
	}
	_, _, problems := Identities(table(t, "relay", "a@bücher.example [h.example]:587\na@xn--bcher-kva.example [h.example]:587\n"), table(t, "passwd", passwords), one(t, "a"))
	if len(problems) != 1 || problems[0].Error() != `relay:2: "a@xn--bcher-kva.example" is the address in line 1, written in another way: remove one of them` {
		t.Errorf("%v", problems)
	}
}
