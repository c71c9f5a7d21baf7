package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatemilter/policy/identity"
)

// withIdentities is an examination of a configuration with a database, all of whose files are as
// they should be.
func withIdentities(t *testing.T) (x *examination, database, key, snapshot string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "state")
	database, key, snapshot = filepath.Join(dir, "identities.db"), filepath.Join(dir, "identities.key"), filepath.Join(dir, "identities.snapshot")
	err := errors.Join(os.Mkdir(dir, 0o700), identity.CreateKeyFile(key), os.WriteFile(database, nil, 0o600), os.WriteFile(snapshot, nil, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	x = examinationOf(t, fmt.Sprintf("[identities]\ndatabase = sqlite:%s\nkey_file = %s\nsnapshot_file = %s\n", database, key, snapshot))
	x.Identities = func(context.Context) (Stock, error) { return Stock{Active: 3, Ports: map[uint16]int{587: 3}}, nil }
	x.daemon = &Account{Name: "root", UID: uint32(os.Geteuid())}
	return x, database, key, snapshot
}

// Each fault of the database, its keys and its copy is found, and the fix, where it is a command of
// the shell, makes all well again.
func TestU6FaultsOfTheDatabase(t *testing.T) {
	for name, c := range map[string]struct {
		commit func(x *examination, database, key, snapshot string) error
		what   string
		state  State
		found  string
	}{
		"none": {func(*examination, string, string, string) error { return nil }, "", OK, ""},
		"key for all": {func(_ *examination, _, key, _ string) error { return os.Chmod(key, 0o644) },
			"key_file", Fail, "can be read by every user of this host"},
		"no key": {func(_ *examination, _, key, _ string) error { return os.Remove(key) },
			"key_file", Fail, "there is no key file"},
		"bad key": {func(_ *examination, _, key, _ string) error { return os.WriteFile(key, []byte("hunter2\n"), 0o600) },
			"key_file", Fail, "line 1 is no key"},
		"key not the daemon's": {func(x *examination, _, key, _ string) error {
			x.daemon = &stranger
			return nil
		}, "key_file", Fail, "can't read it"},
		"database for all": {func(_ *examination, database, _, _ string) error { return os.Chmod(database, 0o644) },
			"database", Fail, "every user of this host can use it"},
		"directory for all": {func(_ *examination, database, _, _ string) error { return os.Chmod(filepath.Dir(database), 0o777) },
			"key_file", Fail, "every user of this host can replace it"},
		"root's log": {func(_ *examination, database, _, _ string) error {
			return errors.Join(os.WriteFile(database+"-wal", nil, 0o600), os.Chown(database+"-wal", 12345, 12345))
		}, "database", Fail, "identities.db-wal is 12345:12345 0600, and not gatemilter's user root's"},
		"no database": {func(_ *examination, database, _, _ string) error { return os.Remove(database) },
			"database", Warn, "is not there yet"},
		"away": {func(x *examination, _, _, _ string) error {
			x.Identities = func(context.Context) (Stock, error) {
				return Stock{}, errors.New("a newer gatemilter has changed its tables")
			}
			return nil
		}, "database", Fail, "a newer gatemilter has changed its tables"},
		"lost": {func(x *examination, _, _, _ string) error {
			x.Identities = func(context.Context) (Stock, error) { return Stock{Active: 3, Lost: 2}, nil }
			return nil
		}, "passwords", Fail, "2 can't be decrypted"},
		"left out": {func(x *examination, _, _, _ string) error {
			x.Identities = func(context.Context) (Stock, error) { return Stock{Active: 3, LeftOut: 2}, nil }
			return nil
		}, "left out", Warn, "2 of the active can't be used beside others"},
		"bad": {func(x *examination, _, _, _ string) error {
			x.Identities = func(context.Context) (Stock, error) { return Stock{Bad: 1}, nil }
			return nil
		}, "rows", Fail, "1 are not used"},
		"port": {func(x *examination, _, _, _ string) error {
			x.Identities = func(context.Context) (Stock, error) { return Stock{Ports: map[uint16]int{2525: 4}}, nil }
			return nil
		}, "ports", Warn, "4 servers have port 2525"},
		"no snapshot": {func(_ *examination, _, _, snapshot string) error { return os.Remove(snapshot) },
			"snapshot", Warn, "is not there"},
		"snapshot for all": {func(_ *examination, _, _, snapshot string) error { return os.Chmod(snapshot, 0o604) },
			"snapshot", Fail, "every user of this host can use it"},
		"root's snapshot": {func(_ *examination, _, _, snapshot string) error { return os.Chown(snapshot, 12345, 12345) },
			"snapshot", Fail, "not gatemilter's user root's"},
	} {
		x, database, key, snapshot := withIdentities(t)
		if err := c.commit(x, database, key, snapshot); err != nil {
			t.Fatal(err)
		}
		var bad []Check
		for _, check := range x.identities(t.Context()) {
			if check.State != OK {
				bad = append(bad, check)
			}
			if check.State != OK && check.Fix == "" || strings.Contains(fmt.Sprint(check), "hunter") {
				t.Errorf("%s: %+v", name, check)
			}
		}
		switch {
		case c.what == "" && len(bad) == 0:
		case len(bad) == 0 || !strings.Contains(bad[0].What, c.what) || bad[0].State != c.state || !strings.Contains(bad[0].Found, c.found):
			t.Errorf("%s: %+v; want %s, %s, %s", name, bad, c.what, c.state, c.found)
		}
	}
	if got := examinationOf(t, "[server]\n").identities(t.Context()); got != nil {
		t.Errorf("without a database: %+v", got)
	}
}

// A database on another host is not asked offline.
func TestU6DatabaseElsewhere(t *testing.T) {
	x, _, key, snapshot := withIdentities(t)
	elsewhere := examinationOf(t, fmt.Sprintf("[identities]\ndatabase = postgres://mail@db.example/mail?sslmode=verify-full\nkey_file = %s\nsnapshot_file = %s\n", key, snapshot))
	elsewhere.daemon, elsewhere.Offline = x.daemon, true
	elsewhere.Identities = func(context.Context) (Stock, error) {
		t.Error("it is asked")
		return Stock{}, nil
	}
	if got := elsewhere.identities(t.Context()); len(got) != 2 || got[0].State != OK || got[1].State != OK {
		t.Errorf("%+v", got)
	}
	elsewhere.Offline = false
	elsewhere.Identities = func(context.Context) (Stock, error) { return Stock{}, errors.New("no route to host") }
	if got := elsewhere.identities(t.Context()); len(got) != 3 || got[1].State != Fail || !strings.Contains(got[1].Fix, "passfile") {
		t.Errorf("%+v", got)
	}
}
