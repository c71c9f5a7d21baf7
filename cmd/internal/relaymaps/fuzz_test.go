package relaymaps

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"gatemilter/policy/config"
	"gatemilter/policy/identity"
)

// FuzzRead looks for tables of which entries are not what they should be, or that read as others
// when they are written out.
func FuzzRead(f *testing.F) {
	for _, text := range odd {
		f.Add([]byte(text))
	}
	f.Add([]byte("a b\xff\n\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		table, problems, err := Read("t", bytes.NewReader(data))
		if err != nil {
			return
		}
		lines, before := bytes.Count(data, []byte("\n"))+1, 0
		var again strings.Builder
		for _, e := range table.Entries {
			if e.Key == "" || e.Value == "" || e.Key != lower(e.Key) || strings.Trim(e.Value, blanks) != e.Value || len(e.Key)+len(e.Value) > MaxLine {
				t.Errorf("%+v", e)
			}
			if e.Line <= before || e.Line > lines {
				t.Errorf("%+v is behind line %d, of %d", e, before, lines)
			}
			before = e.Line
			if found, ok := table.Lookup(e.Key); !ok || found != e {
				t.Errorf("%+v is found as %+v", e, found)
			}
			fmt.Fprintf(&again, "%s %s\n", e.Key, e.Value)
		}
		for _, p := range problems {
			if p.Line < 1 || p.Line > lines {
				t.Errorf("%v, of %d lines", p, lines)
			}
		}
		second, problems, err := Read("t", strings.NewReader(again.String()))
		if err != nil || len(problems) > 0 || len(second.Entries) != len(table.Entries) {
			t.Fatalf("written out as %q, it has %v, %v", again.String(), problems, err)
		}
		for i, e := range second.Entries {
			if e.Key != table.Entries[i].Key || e.Value != table.Entries[i].Value {
				t.Errorf("%+v, written out and read again, is %+v", table.Entries[i], e)
			}
		}
	})
}

// FuzzIdentities looks for identities that a configuration could not have, and for texts in which
// a password shows.
func FuzzIdentities(f *testing.F) {
	f.Add(readmeRelayhosts, readmePasswords, "")
	f.Add(gluedRelayhosts, gluedPasswords, gluedOwners)
	f.Add("a@x.example [h.example]:26\na@y.example alice:hunter2\n", "[h.example] alice\n", "a@x.example ,\n")
	f.Fuzz(func(t *testing.T, relayText, passwordText, ownerText string) {
		read := func(name, text string) *Table {
			table, _, err := Read(name, strings.NewReader(text))
			if err == nil {
				return table
			}
			if !strings.Contains(text, "\x00") && strings.Count(text, "\n") < MaxEntries {
				t.Errorf("%s is not read: %v", name, err)
			}
			return &Table{Name: name} // of what is no text, nothing counts
		}
		relay, passwords, owners := read("relay", relayText), read("passwd", passwordText), read("owners", ownerText)
		everybody := OwnersIn(owners)
		if ownerText == "" {
			everybody = oneOwner("alice")
		}
		found, skipped, problems := Identities(relay, passwords, everybody)
		who := make(map[string]bool)
		for _, i := range found {
			address, err := config.ParseAddress(i.Address)
			if err != nil || address != i.Address {
				t.Errorf("the address %q reads as %q, %v", i.Address, address, err)
			}
			if login, err := config.ParseLogin(i.Login); err != nil || login != i.Login {
				t.Errorf("the login %q reads as %q, %v", i.Login, login, err)
			}
			g := i.Gateway
			server := g.Nexthop()
			if !strings.Contains(g.Host, ":") {
				server = strings.NewReplacer("[", "", "]", "").Replace(server)
			}
			if host, port, err := config.ParseUserServer(server, g.TLS); err != nil || host != g.Host || port != g.Port {
				t.Errorf("the server %s reads as %s port %d, %v", server, host, port, err)
			}
			if err := identity.CheckUsername(g.Username); err != nil {
				t.Error(err)
			}
			if err := identity.CheckPassword(g.Password); err != nil {
				t.Error(err)
			}
			if key := i.Login + " " + i.Address; who[key] {
				t.Errorf("%s twice", key)
			} else {
				who[key] = true
			}
		}
		said := fmt.Sprint(skipped, problems)
		for _, e := range passwords.Entries {
			_, password, _ := strings.Cut(e.Value, ":")
			if len(password) < 12 || strings.Contains(relayText+ownerText, password) || strings.Contains(fmt.Sprint(e.Key, keysOf(passwords)), password) {
				continue // it may well be something else
			}
			if strings.Contains(said, password) {
				t.Errorf("the password %q shows in %s", password, said)
			}
		}
	})
}

func keysOf(t *Table) (keys []string) {
	for _, e := range t.Entries {
		keys = append(keys, e.Key)
	}
	return keys
}
