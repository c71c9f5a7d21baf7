package identity

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"gatemilter/policy"
)

// A recorder is a follower that remembers what it was told.
type recorder struct {
	mu     sync.Mutex
	users  map[string][]Record
	told   []string // "whole", or the users of a part
	downs  []error
	ups    int
	synced int
	bad    []error
}

func (r *recorder) follower() Follower {
	return Follower{
		Users: func(whole bool, users map[string][]Record) {
			r.mu.Lock()
			defer r.mu.Unlock()
			if whole {
				r.users, r.told = users, append(r.told, "whole")
				return
			}
			r.told = append(r.told, strings.Join(slices.Sorted(maps.Keys(users)), " "))
			for login, records := range users {
				if r.users[login] = records; len(records) == 0 {
					delete(r.users, login)
				}
			}
		},
		Down:   func(err error) { r.mu.Lock(); defer r.mu.Unlock(); r.downs = append(r.downs, err) },
		Up:     func() { r.mu.Lock(); defer r.mu.Unlock(); r.ups++ },
		Synced: func() { r.mu.Lock(); defer r.mu.Unlock(); r.synced++ },
		Bad:    func(err error) { r.mu.Lock(); defer r.mu.Unlock(); r.bad = append(r.bad, err) },
	}
}

// await waits until the condition holds.
func (r *recorder) await(t testing.TB, what string, cond func() bool) {
	t.Helper()
	holds := func() bool { r.mu.Lock(); defer r.mu.Unlock(); return cond() }
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(30 * time.Second); !holds(); {
		select {
		case <-tick.C:
		case <-limit:
			r.mu.Lock()
			defer r.mu.Unlock()
			t.Fatalf("waiting for %s: told %q, down %v, up %d, bad %v, users %v", what, r.told, r.downs, r.ups, r.bad, r.users)
		}
	}
}

func (r *recorder) awaitName(t testing.TB, login, name string) {
	t.Helper()
	r.await(t, login+" to be called "+name, func() bool { return len(r.users[login]) == 1 && r.users[login][0].Name == name })
}

// follow follows until stop is called, or the test ends.
func follow(t testing.TB, s *Store, snapshot string) (r *recorder, stop func()) {
	r = &recorder{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Follow(ctx, snapshot, r.follower())
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return r, stop
}

// rename changes a record's name.
func rename(t testing.TB, s *Store, login, address, name string) {
	t.Helper()
	old, err := s.Get(t.Context(), login, address)
	must(t, err)
	renamed := old
	renamed.Name = name
	must(t, s.Change(t.Context(), login, old, renamed))
}

// U4: two stores of one database, as two processes have: what one changes, the other's
// follower is told, and of nobody else.
func TestFollow(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		keys := newKeyring(t)
		here, there := newStore(t, Config{Database: database, Keys: keys}), newStore(t, Config{Database: database, Keys: keys})
		must(t, here.Add(t.Context(), alice, active(alice, partner)))
		near, _ := follow(t, here, "")
		far, _ := follow(t, there, "")
		for _, r := range []*recorder{near, far} {
			r.await(t, "the first load", func() bool { return r.synced > 0 })
			if !reflect.DeepEqual(r.told, []string{"whole"}) || r.users[alice][0].Gateway.Password.Reveal() != secret {
				t.Errorf("told %q, users %v", r.told, r.users)
			}
		}
		must(t, there.Add(t.Context(), bob, record(bob, "bob@partner.example")))
		rename(t, there, bob, "bob@partner.example", "Bob")
		for _, r := range []*recorder{near, far} {
			r.awaitName(t, bob, "Bob")
		}
		must(t, here.Remove(t.Context(), admin, bob, "bob@partner.example"))
		for _, r := range []*recorder{near, far} {
			r.await(t, "bob to be gone", func() bool { return len(r.users) == 1 })
			for _, told := range r.told[1:] {
				if told != bob {
					t.Errorf("told %q", r.told)
				}
			}
			if r.downs != nil || r.ups != 0 || r.bad != nil {
				t.Errorf("down %v, up %d, bad %v", r.downs, r.ups, r.bad)
			}
		}
	})
}

// Who may notify can't keep a daemon asking all the time.
func TestFollowNotificationStorm(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		s := newStore(t, Config{Database: database})
		r, _ := follow(t, s, "")
		r.await(t, "the first load", func() bool { return r.synced > 0 })
		const storm = 500 * time.Millisecond
		began := time.Now()
		for time.Since(began) < storm {
			if _, isFile := s.kind.(*sqlite); isFile {
				s.kick()
			} else {
				execute(t, s, "NOTIFY "+channel)
			}
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if most := int(time.Since(began)/followPause) + followBurst + 10; r.synced > most {
			t.Errorf("looked %d times, more than %d", r.synced, most)
		}
	})
}

// A change of everything, and very many, are not followed one by one.
func TestFollowMany(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		s := newStore(t, Config{Database: database})
		r, _ := follow(t, s, "")
		r.await(t, "the first load", func() bool { return r.synced > 0 })
		var many []Record
		for i := range maxStep {
			many = append(many, active(fmt.Sprintf("user%d@example.com", i), partner))
		}
		for i := range many {
			many[i].Gateway = nil
		}
		added, changed, err := s.Import(t.Context(), admin, many, false)
		if must(t, err); added != len(many) || changed != 0 {
			t.Errorf("added %d, changed %d", added, changed)
		}
		r.await(t, "all users", func() bool { return len(r.users) == len(many) })
		if !reflect.DeepEqual(r.told, []string{"whole", "whole"}) {
			t.Errorf("told %q", r.told)
		}
	})
}

// U4: a notification that is lost with its connection is made up for by the next one, and by
// the comparison.
func TestFollowLostNotification(t *testing.T) {
	for _, test := range []struct {
		name  string
		times func(*times)
		lost  bool
	}{
		{"connected again", func(n *times) { n.compareServer = time.Hour }, true},
		{"compared", func(n *times) { n.retryMin, n.retryMax, n.compareServer = time.Hour, time.Hour, 20*time.Millisecond }, true},
		{"not lost, but tried all the time", func(n *times) { n.ping, n.compareServer = time.Millisecond, time.Hour }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			database := postgresDatabase(t)
			intervals := defaultTimes
			test.times(&intervals)
			here := newStore(t, Config{Database: withQuery(t, database, "application_name", "listener"), times: &intervals})
			there := newStore(t, Config{Database: database, Keys: here.config.Keys})
			must(t, there.Add(t.Context(), alice, active(alice, partner)))
			r, _ := follow(t, here, "")
			conn, err := pgx.Connect(t.Context(), database)
			must(t, err)
			defer conn.Close(context.Background())
			const listening = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'listener' AND (query LIKE 'LISTEN%' OR query LIKE '-- ping%')"
			var n int
			r.await(t, "the listener", func() bool {
				must(t, conn.QueryRow(t.Context(), "SELECT count(*) "+listening).Scan(&n))
				return n == 1
			})
			if test.lost {
				must(t, conn.QueryRow(t.Context(), "SELECT count(pg_terminate_backend(pid)) "+listening).Scan(&n))
			}
			rename(t, there, alice, partner, "Another")
			r.awaitName(t, alice, "Another")
			if len(r.downs) > 0 {
				t.Errorf("down %v", r.downs)
			}
		})
	}
}

// U8: PostgreSQL is stopped, or killed, and comes back. Meanwhile what is known stays, and
// calls fail soon; afterwards, what another has changed arrives. A daemon that begins
// meanwhile does so with the snapshot.
func TestFollowOutage(t *testing.T) {
	server := ownPostgres(t)
	database := server.do(t, "database gatemilter_test")
	keys := newKeyring(t)
	c := Config{Database: database, Keys: keys}
	here, there := newStore(t, c), newStore(t, c)
	must(t, here.Add(t.Context(), alice, active(alice, partner)))
	snapshot := filepath.Join(t.TempDir(), "identities.snapshot")
	r, _ := follow(t, here, snapshot)
	r.awaitName(t, alice, "Alice Ällis")
	r.await(t, "the snapshot", func() bool { _, err := os.Stat(snapshot); return err == nil })
	for i, end := range []string{"stop", "kill"} {
		server.do(t, end)
		r.await(t, "it to be down", func() bool { return len(r.downs) == i+1 })
		wantError(t, r.downs[i], ErrUnavailable)
		_, err := here.List(t.Context(), alice)
		wantError(t, err, ErrUnavailable)
		wantError(t, here.Remove(t.Context(), alice, alice, partner), ErrUnavailable)
		if !strings.HasPrefix(err.Error(), "the database can't be used at present: ") || strings.Contains(err.Error(), "hunter") || strings.Contains(err.Error(), password) {
			t.Errorf("error %q", err)
		}
		if len(r.users[alice]) != 1 {
			t.Error("what was known is gone")
		}

		late, err := New(c)
		must(t, err)
		begun, stop := follow(t, late, snapshot)
		begun.await(t, "the late one to be down", func() bool { return len(begun.downs) == 1 })
		if got := begun.users[alice]; len(got) != 1 || got[0].Gateway.Password.Reveal() != secret || begun.told[0] != "whole" {
			t.Errorf("the snapshot has %v", begun.users)
		}

		server.do(t, "start")
		name := "Alice " + end
		rename(t, there, alice, partner, name)
		r.awaitName(t, alice, name)
		begun.awaitName(t, alice, name)
		r.await(t, "it to be up", func() bool { return r.ups == i+1 })
		begun.await(t, "the late one to be up", func() bool { return begun.ups == 1 })
		stop()
		must(t, late.Close())
	}
}

// A frozenProxy stands before a server, and can stop to pass on what either side says,
// without a word: as a firewall, or a host that has lost its power.
type frozenProxy struct {
	listener net.Listener
	serving  sync.WaitGroup

	mu     sync.Mutex
	frozen bool
	conns  []net.Conn
}

func newFrozenProxy(t testing.TB, server string) *frozenProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	p := &frozenProxy{listener: l}
	p.serving.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", server)
			if err != nil {
				near.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, near, far)
			p.mu.Unlock()
			p.serving.Go(func() { p.pass(near, far) })
			p.serving.Go(func() { p.pass(far, near) })
		}
	})
	t.Cleanup(func() { l.Close(); p.freeze(false); p.serving.Wait() })
	return p
}

func (p *frozenProxy) pass(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 1<<16)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		p.mu.Lock()
		frozen := p.frozen
		p.mu.Unlock()
		if frozen {
			continue // it is lost
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// freeze begins, or ends with all connections.
func (p *frozenProxy) freeze(frozen bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frozen = frozen
	for _, c := range p.conns {
		if !frozen {
			c.Close()
		}
	}
}

// U8: a server from which nothing is heard any more holds nobody up: neither those who call,
// nor the daemon that begins.
func TestFollowSilence(t *testing.T) {
	database, err := url.Parse(postgresDatabase(t))
	must(t, err)
	proxy := newFrozenProxy(t, database.Host)
	direct := newStore(t, Config{Database: database.String()})
	database.Host = proxy.listener.Addr().String()
	intervals := defaultTimes
	intervals.call, intervals.compareServer = intervals.call/2, intervals.compareServer/100
	c := Config{Database: database.String(), Keys: direct.config.Keys, times: &intervals}
	s := newStore(t, c)
	must(t, direct.Add(t.Context(), alice, active(alice, partner)))
	r, _ := follow(t, s, "")
	r.await(t, "the load", func() bool { return r.synced > 0 })
	proxy.freeze(true)
	r.await(t, "it to be down", func() bool { return len(r.downs) > r.ups })
	_, err = s.List(t.Context(), alice)
	wantError(t, err, ErrUnavailable)
	late, err := New(c)
	must(t, err)
	defer late.Close()
	wantError(t, late.Remove(t.Context(), alice, alice, partner), ErrUnavailable)
	_, stop := follow(t, late, "")
	stop() // nor one that ends
	rename(t, direct, alice, partner, "Another")
	proxy.freeze(false)
	r.awaitName(t, alice, "Another")
	r.await(t, "it to be up", func() bool { return r.ups == len(r.downs) })
}

// A backup that is restored has another history, whether it is shorter, as long, or longer
// than what is known: all is loaded again.
func TestFollowRestored(t *testing.T) {
	for _, since := range []int{0, 1, 5} {
		t.Run(fmt.Sprint(since), func(t *testing.T) {
			onBoth(t, func(t *testing.T, database string) {
				s := newStore(t, Config{Database: database})
				must(t, s.Add(t.Context(), alice, active(alice, partner)))
				execute(t, s, "CREATE TABLE i AS SELECT * FROM identities", "CREATE TABLE c AS SELECT * FROM changes", "CREATE TABLE f AS SELECT * FROM feed")
				must(t, s.Add(t.Context(), bob, active(bob, "bob@partner.example")))
				r, _ := follow(t, s, "")
				r.await(t, "both", func() bool { return len(r.users) == 2 })
				restored := []string{"DELETE FROM identities", "DELETE FROM changes", "DELETE FROM feed",
					"INSERT INTO identities SELECT * FROM i", "INSERT INTO changes SELECT * FROM c", "INSERT INTO feed SELECT * FROM f"}
				for i := range since {
					restored = append(restored,
						fmt.Sprintf("INSERT INTO changes (id, at, by, action, login, address, detail, token) SELECT %d, at, by, action, login, address, detail, 'other' FROM c", i+2),
						fmt.Sprintf("UPDATE feed SET last = %d", i+2))
				}
				execute(t, s, restored...)
				s.kick()
				r.await(t, "only alice", func() bool { return len(r.users) == 1 && len(r.users[alice]) == 1 })
				if r.told[len(r.told)-1] != "whole" {
					t.Errorf("told %q", r.told)
				}
			})
		})
	}
}

// execute runs statements in one transaction, past the store.
func execute(t testing.TB, s *Store, statements ...string) {
	t.Helper()
	db, err := s.use(t.Context())
	must(t, err)
	tx, err := db.BeginTx(t.Context(), nil)
	must(t, err)
	defer tx.Rollback()
	for _, statement := range statements {
		if _, err := tx.ExecContext(t.Context(), s.kind.sql(statement)); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	must(t, tx.Commit())
}

// Who can write the database can't have mail sent to where no store would: such rows are
// reported and left out, the others serve.
func TestFollowBadRows(t *testing.T) {
	bad := map[string]string{
		"a host that is two":      "host = 'a.example]:25,[b.example'",
		"a transport":             "host = 'smtp:evil'",
		"a port of no server":     "port = 80",
		"a port beyond all":       "port = 65536 + 587",
		"no TLS":                  "tls = ''",
		"a user name with a line": "username = 'alice' || chr(10) || 'bob'",
		"a user name with colon":  "username = 'alice:bob'",
		"a slot beyond all":       "slot = 16",
		"a login in capitals":     "login = 'Alice@example.com'",
		"an account that is none": "account = 'alice'",
		"an address with a line":  "address = 'alice@' || chr(13) || 'partner.example'",
		"an address with route":   "address = '@a.example:alice@b.example'",
		"a name with escapes":     "name = chr(27) || '[2J'",
		"a time of no calendar":   "changed = 9223372036854775807",
	}
	onBoth(t, func(t *testing.T, database string) {
		s := newStore(t, Config{Database: database})
		for what, set := range bad {
			t.Run(what, func(t *testing.T) {
				must(t, s.Add(t.Context(), alice, active(alice, partner)))
				must(t, s.Add(t.Context(), bob, active(bob, "bob@partner.example")))
				defer execute(t, s, "DELETE FROM identities")
				if _, isFile := s.kind.(*sqlite); isFile {
					set = strings.ReplaceAll(set, "chr(", "char(")
				}
				execute(t, s, "UPDATE identities SET "+set+" WHERE login = '"+alice+"'")
				r, stop := follow(t, s, "")
				r.await(t, "the load", func() bool { return r.synced > 0 })
				stop()
				var row *RowError
				if len(r.users) != 1 || len(r.users[bob]) != 1 || len(r.bad) != 1 || !errors.As(r.bad[0], &row) || errors.Is(row, ErrPassword) {
					t.Fatalf("users %v, bad %v", r.users, r.bad)
				}
				if strings.ContainsFunc(row.Error(), func(r rune) bool { return r < ' ' || r == 0x7f }) {
					t.Errorf("the error has control characters: %q", row.Error())
				}
				var good, faults int
				for _, err := range s.All(t.Context()) {
					if err != nil {
						faults++
					} else {
						good++
					}
				}
				if good != 1 || faults != 1 {
					t.Errorf("All has %d records and %d errors", good, faults)
				}
			})
		}
	})
}

// U4: what a user has on two hosts is one user, and the configuration's are first.
func TestMerge(t *testing.T) {
	plain := policy.User{Login: alice, Account: alice, Identities: []policy.Identity{{Address: alice}, {Address: "a@example.com"}}}
	other, pending, disabled := active(alice, partner), record(alice, "p@partner.example"), active(alice, "d@partner.example")
	disabled.Disabled = true
	own := active(alice, alice)
	taken := active(alice, "a@example.com")
	for _, test := range []struct {
		name       string
		configured *policy.User
		records    []Record
		want       *policy.User
	}{
		{"nobody", nil, nil, nil},
		{"only pending", nil, []Record{pending}, nil},
		{"only configured", &plain, []Record{pending}, &plain},
		{"both, the configured one first", &plain, []Record{taken, disabled, pending, other},
			&policy.User{Login: alice, Account: alice, Identities: []policy.Identity{{Address: alice}, {Address: "a@example.com"}, disabled.Identity, other.Identity}}},
		{"only the database", nil, []Record{other, pending},
			&policy.User{Login: alice, Account: alice, Open: true, Identities: []policy.Identity{{Address: alice}, other.Identity}}},
		{"the account has a server", nil, []Record{own, other},
			&policy.User{Login: alice, Account: alice, Open: true, Identities: []policy.Identity{own.Identity, other.Identity}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := policy.User{Login: plain.Login, Account: plain.Account, Identities: slices.Clone(plain.Identities)}
			if got := Merge(test.configured, test.records); !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
			if !reflect.DeepEqual(plain, before) {
				t.Errorf("the configured user is now %+v", plain)
			}
		})
	}
}

// U5: keys that can't be read when a follower begins are taken up once they can.
func TestFollowKeysCorrected(t *testing.T) {
	database := sqliteDatabase(t)
	keys := newKeyring(t)
	s := newStore(t, Config{Database: database, Keys: keys})
	must(t, s.Add(t.Context(), alice, active(alice, partner)))
	must(t, os.Chmod(keys.path, 0o644)) // so that everybody can
	none, err := LoadKeyring(keys.path)
	if err == nil {
		t.Fatal("a key file that everybody can read was taken")
	}
	r, stop := follow(t, newStore(t, Config{Database: database, Keys: none}), "")
	defer stop()
	r.await(t, "alice without her password", func() bool {
		return len(r.users[alice]) == 1 && r.users[alice][0].Gateway.Password.Reveal() == "" && len(r.bad) == 1
	})
	wantError(t, r.bad[0], ErrPassword)
	must(t, os.Chmod(keys.path, 0o600))
	r.await(t, "alice with it", func() bool { return r.users[alice][0].Gateway.Password.Reveal() == secret })
}
