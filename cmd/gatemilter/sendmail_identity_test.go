package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatemilter/cmd/internal/lab"
	"gatemilter/policy"
	"gatemilter/policy/identity"
)

// U4, O10: an address that a user attaches after sendmail.cf was built goes by his own server, with
// his login, also where its domain is an alias in the DNS: Sendmail does not replace it by the name
// to which that leads, for which nobody has a server.
func TestSendmailAttachedAddress(t *testing.T) {
	isolated(t, func() {
		ca := must(lab.NewCA("Partner CA"))
		cert := must(ca.Issue(lab.Subject{Hosts: []string{"127.0.0.3"}}))
		trust(t, ca)
		partner := newServer(t, lab.SinkConfig{IP: "127.0.0.3", Cert: cert, Logins: map[string]string{"alice": alicesPassword}})
		startIsolatedDNS(t, `partner.example CNAME canon.example
canon.example A 127.0.0.50
remote.example A 127.0.0.50
lab.test A 127.0.0.50
. SOA ns.example. admin.example. 1 3600 600 86400 60
`)
		dir := t.TempDir()
		database, keyFile := "sqlite:"+filepath.Join(dir, "identities.db"), filepath.Join(dir, "identities.key")
		if err := identity.CreateKeyFile(keyFile); err != nil {
			t.Fatal(err)
		}
		settings := fmt.Sprintf("[outbound]\ndomains = lab.test\nallow_user_gateways = yes\n[identities]\ndatabase = %s\nkey_file = %s\nsnapshot_file = %s/snapshot\n[portal]\nports = %d\nallowed_networks = 127.0.0.0/8\n",
			database, keyFile, dir, partner.Addr().Port())
		r := newSendmailRelay(t, settings, lab.SendmailConfig{DNS: true})
		// As it is commonly set: names are replaced by those to which aliases in the DNS lead.
		if err := r.sendmail().Rebuild(t.Context(), r.sendmailM4()+"undefine(`_NO_CANONIFY_')dnl\n"); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(must(os.ReadFile(r.sendmail().CF()))), "$[ $2 $]") {
			t.Fatal("names are not canonified")
		}
		keys := must(identity.LoadKeyring(keyFile))
		store := must(identity.Open(t.Context(), identity.Config{Database: database, Keys: keys}))
		defer store.Close()
		const login, address = "alice@lab.test", "alice@partner.example"
		if err := store.Add(t.Context(), "test", identity.Record{Login: login, Account: login, State: identity.Active, Identity: policy.Identity{
			Address: address, Gateway: &policy.UserGateway{Host: "127.0.0.3", Port: partner.Addr().Port(), Username: "alice", Password: policy.NewSecret(alicesPassword)}}}); err != nil {
			t.Fatal(err)
		}
		// Until the daemon knows of it, it is an address of nobody's.
		to := r.far()
		for tries := 0; taken(partner, to) == nil && tries < 100; tries++ {
			r.write(login, login, by(address, to), to)
			r.idle()
		}
		if m := taken(partner, to); m == nil || m.Login != "alice" || !m.TLS || m.From != address {
			t.Errorf("at the user's server: %+v", m)
		}
		for _, line := range r.complaints() {
			t.Error(line)
		}
	})
}
