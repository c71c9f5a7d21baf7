package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"gatemilter/cmd/internal/lab"
	"gatemilter/policy/identity"
)

// The tests of this file send mail of users whose addresses are in a database to a real mail
// server, and look at what arrives at servers of the users' own.

// A state is a directory for a database of identities, and what the configuration says of it.
type state struct {
	t   *testing.T
	dir string
}

func newState(t *testing.T) state {
	t.Helper()
	s := state{t, must(os.MkdirTemp("", "state-"))} // the name of a test is too long for a socket's path
	t.Cleanup(func() { os.RemoveAll(s.dir) })
	if err := identity.CreateKeyFile(s.key()); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s state) key() string   { return filepath.Join(s.dir, "identities.key") }
func (s state) admin() string { return filepath.Join(s.dir, "admin.sock") }

// settings are those of the sections [identities] and [portal]: users' servers are on loopback,
// and at these ports.
func (s state) settings(database string, servers ...*lab.Sink) string {
	if database == "" {
		database = "sqlite:" + filepath.Join(s.dir, "identities.db")
	}
	var ports []string
	for _, server := range servers {
		ports = append(ports, fmt.Sprint(server.Addr().Port()))
	}
	return fmt.Sprintf("[identities]\ndatabase = %s\nkey_file = %s\nsnapshot_file = %s\n[portal]\nallowed_networks = 127.0.0.0/8\nports = %s\n",
		database, s.key(), filepath.Join(s.dir, "snapshot"), strings.Join(ports, ", "))
}

// identities runs the command of that name.
func (r *relay) identities(stdin string, args ...string) (out string) {
	r.t.Helper()
	cmd := exec.Command("gatemilter", append([]string{"identities", args[0], "--config", r.config()}, args[1:]...)...)
	cmd.Stdin = strings.NewReader(stdin)
	text, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("identities %q: %v\n%s", args, err, text)
	}
	return string(text)
}

// attach puts an address into the database.
func (r *relay) attach(login, address string, s *lab.Sink, username, password string) {
	r.t.Helper()
	r.identities(password+"\n", "add", login, address, "--server", s.Addr().String(), "--username", username, "--password-file", "-")
}

// inForce waits until so many addresses of the database are in force, and so many disabled: what
// the metrics say.
func (s state) inForce(active, disabled int) {
	s.t.Helper()
	s.shows(fmt.Sprintf(`gatemilter_identities{state="active"} %d`, active))
	s.shows(fmt.Sprintf(`gatemilter_identities{state="disabled"} %d`, disabled))
}

// shows waits until a line is among the metrics.
func (s state) shows(line string) {
	s.t.Helper()
	err := lab.Until(s.t.Context(), line, func() bool { return strings.Contains(s.metrics(), "\n"+line+"\n") })
	if err != nil {
		s.t.Fatalf("%v:\n%s", err, s.metrics())
	}
}

// metrics are those of a daemon with the setting admin.
func (s state) metrics() string {
	s.t.Helper()
	return must(lab.Metrics(s.t.Context(), s.admin()))
}

// U4, U6, U8, O4-O8: an address in the database is one like an address in the configuration: mail
// as it leaves by its server, with its login. A change is in force at once; what the
// administrator disables is refused; and without the database all goes on.
func TestIdentitiesInDatabase(t *testing.T) { onBoth(t, testIdentitiesInDatabase) }

func testIdentitiesInDatabase(t *testing.T, on string) {
	ca := must(lab.NewCA("Partner CA"))
	partner := newServer(t, lab.SinkConfig{Cert: certified(ca), Logins: map[string]string{"alice": alicesPassword, "bob": bobsPassword}})
	club := newServer(t, lab.SinkConfig{Cert: certified(ca), Logins: map[string]string{"a.club": clubsPassword}})
	gateway := newSink(t, nil)
	trust(t, ca)
	s := newState(t)
	r := newRelayOn(t, on, "admin = unix:"+s.admin()+"\n"+inClear("gateway", gateway)+"[outbound]\ngateway = gateway\nallow_user_gateways = yes\nuser_gateway_slots = 2\ndomains = lab.test\n"+
		"[user bob]\naddresses = bob@lab.test\n"+s.settings("", partner, club), impatient)
	send := func(login, as string) string {
		to := r.far()
		if reply := r.write(login, login, by(as, to), to); !reply.OK() {
			t.Errorf("%s as %s: %v", login, as, reply)
		}
		return to
	}
	arrives := func(to string, at *lab.Sink, account, sender string) {
		t.Helper()
		r.arrives(to, at)
		if m := taken(at, to); m.Login != account || m.From != sender {
			t.Errorf("arrived as %+v, want login %q and sender %q", m, account, sender)
		}
	}

	arrives(send("alice@lab.test", "alice@partner.example"), gateway, "", "alice@lab.test")
	r.attach("alice@lab.test", "alice@partner.example", partner, "alice", alicesPassword)
	s.inForce(1, 0)
	arrives(send("alice@lab.test", "alice@partner.example"), partner, "alice", "alice@partner.example")
	arrives(send("alice@lab.test", "alice@lab.test"), gateway, "", "alice@lab.test")

	// O4: somebody else's address too, and another server for another address.
	r.attach("bob", "alice@partner.example", partner, "bob", bobsPassword)
	r.attach("alice@lab.test", "alice@club.example", club, "a.club", clubsPassword)
	s.inForce(3, 0)
	arrives(send("alice@lab.test", "alice@club.example"), club, "a.club", "alice@club.example")
	to := r.far()
	r.write("bob", "bob@lab.test", by("alice@partner.example", to), to)
	arrives(to, partner, "bob", "alice@partner.example")
	arrives(send("alice@lab.test", "alice@partner.example"), partner, "alice", "alice@partner.example")
	if reply := r.write("carol@lab.test", "carol@lab.test", by("alice@club.example", "not hers"), r.far()); reply.Code != 553 {
		t.Errorf("an address of Alice's: %v", reply)
	}

	// U6: disabled, nobody may write as it; enabled, it is as before.
	r.identities("", "disable", "alice@lab.test", "alice@club.example")
	s.inForce(2, 1)
	if reply := r.write("alice@lab.test", "alice@lab.test", by("alice@club.example", "disabled"), r.far()); reply.Code != 553 {
		t.Errorf("a disabled address: %v", reply)
	}
	r.identities("", "enable", "alice@lab.test", "alice@club.example")
	s.inForce(3, 0)
	arrives(send("alice@lab.test", "alice@club.example"), club, "a.club", "alice@club.example")

	// U8: neither the loss of the database, nor a restart then, changes what mail does.
	r.daemon.stop(syscall.SIGTERM)
	for _, f := range must(filepath.Glob(filepath.Join(s.dir, "identities.db*"))) {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(s.dir, "identities.db"), 0o700); err != nil { // so that it can't be made anew
		t.Fatal(err)
	}
	r.daemon = startProcess(t, r.config())
	r.daemon.wait(t, "that the database is away", func(e entry) bool {
		return strings.HasPrefix(fmt.Sprint(e["message"]), "the database of identities can't be used")
	})
	arrives(send("alice@lab.test", "alice@club.example"), club, "a.club", "alice@club.example")
	r.checkSecrets()
}

// U4, U8: what is changed on one mail server holds on another that shares the PostgreSQL. While that
// is away, mail goes on on both, also on one that is started meanwhile; nothing can be changed, which
// is said. When it is back, so are changes.
func TestIdentitiesOnTwoServers(t *testing.T) {
	if err := lab.NeedPostgres(t.Context(), t.Logf); err != nil {
		t.Fatal(err)
	}
	database := must(lab.StartPostgres(t.Context(), lab.PostgresConfig{Password: "open sesame"}))
	t.Cleanup(func() { database.Close() })
	ca := must(lab.NewCA("Partner CA"))
	partner := newServer(t, lab.SinkConfig{Cert: certified(ca), Logins: map[string]string{"alice": alicesPassword, "bob": bobsPassword}})
	trust(t, ca)
	shared := newState(t)
	var servers [2]*relay
	var states [2]state
	for i := range servers {
		states[i] = newState(t)
		if err := os.WriteFile(states[i].key(), must(os.ReadFile(shared.key())), 0o600); err != nil {
			t.Fatal(err)
		}
		servers[i] = newRelay(t, "admin = unix:"+states[i].admin()+"\n[outbound]\nallow_user_gateways = yes\ndomains = lab.test\n"+states[i].settings(database.URL(), partner), impatient)
	}
	leaves := func(r *relay, login, as, account string) {
		t.Helper()
		to := r.far()
		if reply := r.write(login, login, by(as, to), to); !reply.OK() {
			t.Errorf("%s as %s: %v", login, as, reply)
		}
		r.arrives(to, partner)
		if m := taken(partner, to); m.Login != account || m.From != as {
			t.Errorf("arrived as %+v", m)
		}
	}
	servers[1].sent = 1000 // so that the recipients differ

	servers[0].attach("alice@lab.test", "alice@partner.example", partner, "alice", alicesPassword)
	for i, r := range servers {
		states[i].inForce(1, 0)
		leaves(r, "alice@lab.test", "alice@partner.example", "alice")
	}
	servers[1].attach("bob@lab.test", "bob@partner.example", partner, "bob", bobsPassword)
	states[0].inForce(2, 0)
	leaves(servers[0], "bob@lab.test", "bob@partner.example", "bob")

	if err := database.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, s := range states {
		s.shows("gatemilter_identities_database_up 0")
	}
	servers[0].daemon.stop(syscall.SIGTERM)
	servers[0].daemon = startProcess(t, servers[0].config())
	for _, r := range servers {
		leaves(r, "alice@lab.test", "alice@partner.example", "alice")
	}
	out, err := exec.Command("gatemilter", "identities", "disable", "--config", servers[0].config(), "bob@lab.test", "bob@partner.example").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "can't be used at present") {
		t.Errorf("a change without the database: %v\n%s", err, out)
	}

	if err := database.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, s := range states {
		s.shows("gatemilter_identities_database_up 1")
	}
	servers[0].identities("", "disable", "bob@lab.test", "bob@partner.example")
	for i, r := range servers {
		states[i].inForce(1, 1)
		if reply := r.write("bob@lab.test", "bob@lab.test", by("bob@partner.example", "disabled"), r.far()); reply.Code != 553 {
			t.Errorf("a disabled address: %v", reply)
		}
		r.checkSecrets()
	}
}
