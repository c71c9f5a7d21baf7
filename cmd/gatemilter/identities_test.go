package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatemilter/cmd/internal/lab"
	"gatemilter/policy/identity"
)

// identityHost is a configuration with a database, and what is written into it.
type identityHost struct {
	t              *testing.T
	dir, path, key string
}

func newIdentityHost(t *testing.T, more string) *identityHost {
	t.Helper()
	dir := t.TempDir()
	h := &identityHost{t, dir, filepath.Join(dir, "gatemilter.conf"), filepath.Join(dir, "identities.key")}
	if err := identity.CreateKeyFile(h.key); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("[outbound]\nallow_user_gateways = yes\n[identities]\ndatabase = sqlite:%s/state/identities.db\nkey_file = %s\n%s", dir, h.key, more)
	if err := errors.Join(os.WriteFile(h.path, []byte(text), 0o600), os.Mkdir(filepath.Join(dir, "state"), 0o700)); err != nil {
		t.Fatal(err)
	}
	return h
}

// run runs an action and returns all that it says, and whether it was done.
func (h *identityHost) run(stdin string, args ...string) (said string, done bool) {
	h.t.Helper()
	cmd := exec.CommandContext(h.t.Context(), "gatemilter", append([]string{"identities"}, append(args, "--config", h.path)...)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		h.t.Fatal(err)
	}
	return string(out), err == nil
}

// U2, U6: the login is tried on the way that mail takes, and only there the password is shown.
func TestU6AddTriesTheLogin(t *testing.T) {
	ca, stranger := must(lab.NewCA("Test CA")), must(lab.NewCA("Another CA"))
	trust(t, ca)
	logins := map[string]string{"alice": alicesPassword}
	good := newServer(t, lab.SinkConfig{Cert: certified(ca), Logins: logins})
	untrusted := newServer(t, lab.SinkConfig{Cert: certified(stranger), Logins: logins})
	implicit := newServer(t, lab.SinkConfig{Cert: certified(ca), Logins: logins, Implicit: true})
	inside := newIdentityHost(t, "")
	h := newIdentityHost(t, "[portal]\nallowed_networks = 127.0.0.0/8\n")
	for _, c := range []struct {
		h        *identityHost
		name     string
		server   *lab.Sink
		password string
		more     []string
		done     bool
		says     string
	}{
		{h, "wrong", good, "wrong", nil, false, "the server refuses the login: 535 5.7.8: correct user name and password, or ask who runs it whether programs need a password of their own there"},
		{h, "untrusted", untrusted, alicesPassword, nil, false, "says more; --untested adds it nevertheless"},
		{h, "tls", good, alicesPassword, []string{"--tls", "implicit"}, false, "can't be used: "},
		{inside, "inside", good, alicesPassword, nil, false, "127.0.0.1 is not an address of the public Internet: write its network as allowed_networks into [portal]"},
		{h, "good", good, alicesPassword, nil, true, "alice@example.com may write as good@partner.example, by " + good.Addr().String() + ", which took the login."},
		{h, "implicit", implicit, alicesPassword, []string{"--tls", "implicit"}, true, "may write as implicit@partner.example"},
	} {
		args := append([]string{"add", "alice@example.com", c.name + "@partner.example", "--server", c.server.Addr().String(), "--username", "alice", "--password-file", "-"}, c.more...)
		said, done := c.h.run(c.password+"\n", args...)
		if done != c.done || !strings.Contains(said, c.says) || strings.Contains(said, alicesPassword) {
			t.Errorf("%s: %v, %s; want %v, %s", c.name, done, said, c.done, c.says)
		}
		list, _ := c.h.run("", "list", c.name+"@partner.example")
		if strings.Contains(list, "active") != c.done {
			t.Errorf("%s: it is listed as %s", c.name, list)
		}
	}
}

// U4, U6: what is in a file moves to a PostgreSQL that several mail servers share; there, a new key
// is told to all of them before it is used; and while the server is away, that is said.
func TestU6MovesToPostgres(t *testing.T) {
	if err := lab.NeedPostgres(t.Context(), t.Logf); err != nil {
		t.Fatal(err)
	}
	p, err := lab.StartPostgres(t.Context(), lab.PostgresConfig{Password: "hunter9"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	from, to := newIdentityHost(t, ""), newIdentityHost(t, "")
	text := strings.Replace(string(must(os.ReadFile(to.path))), "sqlite:"+to.dir+"/state/identities.db", p.URL()+"\nsnapshot_file = "+to.dir+"/state/snapshot", 1)
	if err := os.WriteFile(to.path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	all := filepath.Join(from.dir, "all.jsonl")
	for _, c := range []struct {
		h     *identityHost
		stdin string
		args  []string
		says  string
	}{
		{from, "hunter2\n", []string{"add", "alice@example.com", "alice@partner.example", "--server", "smtp.partner.example", "--password-file", "-", "--untested"}, "may write as"},
		{from, "", []string{"export", "--with-passwords", all}, ""},
		{to, "", []string{"import", all}, "1 added, 0 replaced, 0 as they were"},
		{to, "", []string{"list"}, "alice@partner.example  smtp.partner.example:587  active"},
		{to, "", []string{"show", "alice@example.com"}, "imported"},
		{to, "", []string{"disable", "alice@example.com", "alice@partner.example"}, "may no longer write as"},
	} {
		if said, done := c.h.run(c.stdin, c.args...); !done || !strings.Contains(said, c.says) || strings.Contains(said, "hunter") {
			t.Fatalf("%q: %v, %s; want %s", c.args, done, said, c.says)
		}
	}
	// The new key is last on all servers, then first on all, then the only one.
	old, key := string(must(os.ReadFile(to.key))), identity.NewKey()+"\n"
	for _, step := range []struct{ keys, says string }{{old + key, "Encrypted anew: 0 passwords."}, {key + old, "Encrypted anew: 1 password."}, {key, "Encrypted anew: 0 passwords."}} {
		if err := os.WriteFile(to.key, []byte(step.keys), 0o600); err != nil {
			t.Fatal(err)
		}
		if said, done := to.run("", "rekey"); !done || !strings.Contains(said, step.says) {
			t.Errorf("%v, %s; want %s", done, said, step.says)
		}
	}
	after := filepath.Join(to.dir, "after.jsonl")
	if said, done := to.run("", "export", "--with-passwords", after); !done || !bytes.Contains(must(os.ReadFile(after)), []byte("hunter2")) {
		t.Errorf("%v, %s", done, said)
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	said, done := to.run("", "enable", "alice@example.com", "alice@partner.example")
	if want := "the database can't be used at present: "; done || !strings.Contains(said, want) || !strings.Contains(said, moreByDoctor) || strings.Contains(said, "hunter") {
		t.Errorf("%v, %s; want %s", done, said, want)
	}
}

// What root does in a database that belongs to another user, that user does.
func TestU6RootBecomesTheOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("files of other users need root: run as root")
	}
	const uid, gid = 12345, 12346
	h := newIdentityHost(t, "")
	state := filepath.Join(h.dir, "state")
	for dir := h.dir; dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(state, uid, gid); err != nil {
		t.Fatal(err)
	}
	// Input, key and output are root's.
	input, output := filepath.Join(h.dir, "input"), filepath.Join(h.dir, "output")
	line := `{"login":"alice@example.com","address":"alice@partner.example","server":"smtp.partner.example:587","tls":"starttls","password":"hunter2"}` + "\n"
	if err := os.WriteFile(input, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"import", input}, {"rekey", "--generate"}, {"export", "--with-passwords", output}} {
		if said, done := h.run("", args...); !done {
			t.Fatalf("%q: %s", args, said)
		}
	}
	if text := must(os.ReadFile(output)); !bytes.Contains(text, []byte("hunter2")) {
		t.Errorf("it has exported %s", text)
	}
	for _, path := range must(filepath.Glob(filepath.Join(state, "*"))) {
		if owner := must(os.Stat(path)).Sys().(*syscall.Stat_t); owner.Uid != uid || owner.Gid != gid {
			t.Errorf("%s belongs to %d:%d", path, owner.Uid, owner.Gid)
		}
	}
	for _, path := range []string{h.key, output} {
		if owner := must(os.Stat(path)).Sys().(*syscall.Stat_t); owner.Uid != 0 {
			t.Errorf("%s belongs to %d", path, owner.Uid)
		}
	}
	if err := os.Chown(filepath.Join(state, "identities.db"), 0, 0); err != nil {
		t.Fatal(err)
	}
	said, done := h.run("", "list")
	if want := "identities.db belongs to the user root, and its directory to 12345: run chown 12345: " + state; done || !strings.Contains(said, want) {
		t.Errorf("%v, %s; want %s", done, said, want)
	}
	if err := os.RemoveAll(state); err != nil {
		t.Fatal(err)
	}
	said, done = h.run("", "list")
	if want := "there is no directory " + state + " for the database: start the daemon, which makes it"; done || !strings.Contains(said, want) {
		t.Errorf("%v, %s; want %s", done, said, want)
	}
}

// A new key stands before all others, and the rest of the file stays.
func TestWithKey(t *testing.T) {
	for text, want := range map[string]string{
		"":                      "new\n",
		"old\n":                 "new\nold\n",
		"old":                   "new\nold",
		"# comment\n\nold\nz\n": "# comment\n\nnew\nold\nz\n",
		"# comment":             "# comment\nnew\n",
		"old\n# comment\n":      "new\nold\n# comment\n",
	} {
		if diff := cmp.Diff(want, withKey(text, "new")); diff != "" {
			t.Errorf("%q: -want +got\n%s", text, diff)
		}
	}
}

// The key file keeps its owner and mode, a link to it stays one, and nothing is left beside it.
func TestPutOnTop(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "real.key"), filepath.Join(dir, "link.key")
	err := errors.Join(os.WriteFile(file, []byte("old\n"), 0o640), os.Chown(file, os.Geteuid(), 12346), os.Symlink(file, link))
	if err != nil {
		t.Fatal(err)
	}
	if err := putOnTop(link, "new"); err != nil {
		t.Fatal(err)
	}
	info := must(os.Stat(file))
	owner := info.Sys().(*syscall.Stat_t)
	if text := must(os.ReadFile(file)); string(text) != "new\nold\n" || info.Mode() != 0o640 || owner.Gid != 12346 {
		t.Errorf("%q, %s, group %d", text, info.Mode(), owner.Gid)
	}
	if target := must(os.Readlink(link)); target != file || len(must(os.ReadDir(dir))) != 2 {
		t.Errorf("the link leads to %s; %v", target, must(os.ReadDir(dir)))
	}
	if err := putOnTop(filepath.Join(dir, "missing"), "new"); err == nil {
		t.Error("no error for a file that is not there")
	}
}
