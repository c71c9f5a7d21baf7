package identity

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatemilter/policy"
)

// saverEnv makes of the test binary a program that saves without end: it names the database
// and the key file.
const saverEnv = "GATEMILTER_TEST_SAVER"

// version is the record that is saved for the n-th time. Each part of it tells n.
func version(n int) Record {
	r := active(alice, partner)
	r.Name = fmt.Sprint("version ", n)
	r.Gateway = &policy.UserGateway{Host: fmt.Sprintf("smtp%d.partner.example", n), Port: uint16(1024 + n%60000), Username: fmt.Sprint("user", n), Password: policy.NewSecret(fmt.Sprint("password", n))}
	return r
}

// saveForEver saves versions, and prints the number of each that is saved.
func saveForEver() {
	database, keyFile, _ := strings.Cut(os.Getenv(saverEnv), " ")
	fail := func(err error) {
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	keys, err := LoadKeyring(keyFile)
	fail(err)
	s, err := Open(context.Background(), Config{Database: database, Keys: keys})
	fail(err)
	old, err := s.Get(context.Background(), alice, partner)
	fail(err)
	n, err := strconv.Atoi(strings.TrimPrefix(old.Name, "version "))
	fail(err)
	for {
		n++
		fail(s.Change(context.Background(), "saver", old, version(n)))
		old, err = s.Get(context.Background(), alice, partner)
		fail(err)
		fmt.Println(n)
	}
}

// A process that is killed while it saves leaves each record as it was before or after, whole,
// with the history that belongs to it; and nothing is lost of which it was told that it is
// saved.
func TestKilled(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		keys := newKeyring(t)
		s := newStore(t, Config{Database: database, Keys: keys})
		must(t, s.Add(t.Context(), alice, version(0)))
		must(t, s.Close())
		for range 12 {
			saved := saveAndKill(t, database, keys.path)
			s := newStore(t, Config{Database: database, Keys: keys})
			got, last := latest(t, s)
			n, err := strconv.Atoi(strings.TrimPrefix(got.Name, "version "))
			must(t, err)
			want := version(n)
			if n != saved && n != saved+1 {
				t.Errorf("version %d is there, and %d was said to be saved", n, saved)
			}
			if got.Gateway.Host != want.Gateway.Host || got.Gateway.Port != want.Gateway.Port || got.Gateway.Username != want.Gateway.Username || got.Gateway.Password.Reveal() != want.Gateway.Password.Reveal() {
				t.Errorf("half a record: %+v %+v", got, got.Gateway)
			}
			if last.ID != int64(n+1) {
				t.Errorf("version %d with the change %+v", n, last)
			}
			must(t, s.Close())
		}
	})
}

// latest returns the record and the last change. PostgreSQL may still be at what the killed process has asked for last.
func latest(t *testing.T, s *Store) (Record, Change) {
	t.Helper()
	for {
		before, err := s.History(t.Context(), "", "", 1)
		must(t, err)
		r, err := s.Get(t.Context(), alice, partner)
		must(t, err)
		after, err := s.History(t.Context(), "", "", 1)
		if must(t, err); before[0].ID == after[0].ID {
			return r, after[0]
		}
	}
}

// saveAndKill lets a process save, kills it at some point, and returns the last version that
// it said was saved.
func saveAndKill(t *testing.T, database, keyFile string) (saved int) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), saverEnv+"="+database+" "+keyFile)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	var killing <-chan time.Time
	lines := make(chan string)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
	}()
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				cmd.Wait()
				return saved
			}
			if saved, err = strconv.Atoi(line); err != nil {
				t.Fatal(line)
			}
			if killing == nil { // it saves: at any moment from now on
				killing = time.After(time.Duration(rand.IntN(int(20 * time.Millisecond))))
			}
		case <-killing:
			must(t, cmd.Process.Kill())
		}
	}
}

// A save is one transaction: what fails in the middle leaves nothing.
func TestRolledBack(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		s := newStore(t, Config{Database: database})
		must(t, s.Add(t.Context(), alice, active(alice, partner)))
		execute(t, s, "ALTER TABLE changes RENAME TO taken")
		wantError(t, s.Remove(t.Context(), alice, alice, partner), ErrUnavailable)
		execute(t, s, "ALTER TABLE taken RENAME TO changes")
		if _, err := s.Get(t.Context(), alice, partner); err != nil {
			t.Errorf("it is removed, and nobody knows: %v", err)
		}
	})
}

func sqliteDatabase(t testing.TB) string {
	return "sqlite:" + filepath.Join(t.TempDir(), "identities.db")
}
