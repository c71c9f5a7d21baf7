package identity

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"gatemilter/policy"
)

// benchIdentities is how many records the benchmark's database has: one for each user, with a
// server of his own, of one of a hundred providers.
const benchIdentities = 100_000

func benchRecords() []Record {
	records := make([]Record, benchIdentities)
	for i := range records {
		address := fmt.Sprintf("user%d@partner%d.example", i, i%100)
		r := active(fmt.Sprintf("user%d@example.com", i), address)
		r.Gateway.Host, r.Gateway.Password = fmt.Sprintf("smtp.partner%d.example", i%100), policy.NewSecret(fmt.Sprint("secret", i))
		records[i] = r
	}
	return records
}

// BenchmarkIdentities: what a daemon does with 100,000 records at its start, and when one
// changes, beside reading the same rows and nothing else.
func BenchmarkIdentities(b *testing.B) {
	for _, database := range []string{sqliteDatabase(b), postgresDatabase(b)} {
		name, _, _ := strings.Cut(database, ":")
		s := newStore(b, Config{Database: database})
		began := time.Now()
		_, _, err := s.Import(context.Background(), admin, benchRecords(), false)
		must(b, err)
		b.Logf("%s: importing %d records took %v", name, benchIdentities, time.Since(began).Round(time.Millisecond))
		b.Run(name+"/select", func(b *testing.B) { benchSelect(b, s) })
		b.Run(name+"/load", func(b *testing.B) { benchLoad(b, s) })
		b.Run(name+"/change", func(b *testing.B) { benchChange(b, s) })
		b.Run(name+"/snapshot", func(b *testing.B) {
			for b.Loop() {
				must(b, s.writeSnapshot(context.Background(), discard{}))
			}
		})
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// benchSelect reads all columns of all rows.
func benchSelect(b *testing.B, s *Store) {
	db, err := s.use(b.Context())
	must(b, err)
	for b.Loop() {
		rows, err := db.QueryContext(b.Context(), "SELECT "+columns+" FROM identities ORDER BY login, address")
		must(b, err)
		var w row
		n := 0
		for ; rows.Next(); n++ {
			must(b, rows.Scan(w.fields()...))
		}
		if must(b, rows.Err()); n != benchIdentities {
			b.Fatalf("%d rows", n)
		}
	}
}

// benchLoad loads all records, as Follow does first, and weighs them.
func benchLoad(b *testing.B, s *Store) {
	var kept map[string][]Record
	w := &watcher{store: s, snapshots: newSnapshots(s, "", Follower{}), follower: Follower{Users: func(_ bool, users map[string][]Record) { kept = users }}.complete()}
	db, err := s.use(b.Context())
	must(b, err)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for b.Loop() {
		kept = nil
		must(b, w.loadAll(b.Context(), db))
	}
	b.ReportMetric(float64(heap()-before)/benchIdentities, "B/identity")
	if len(kept) != benchIdentities {
		b.Fatalf("%d users", len(kept))
	}
}

// benchChange changes one record until the follower knows it.
func benchChange(b *testing.B, s *Store) {
	told := make(chan string, 1)
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Follow(ctx, "", Follower{Users: func(whole bool, users map[string][]Record) {
			if whole {
				told <- ""
			}
			for _, records := range users {
				if !whole {
					told <- records[0].Name
				}
			}
		}})
	}()
	<-told
	const login, address = "user77@example.com", "user77@partner77.example"
	n := 0
	for b.Loop() {
		n++
		old, err := s.Get(ctx, login, address)
		must(b, err)
		changed := old
		changed.Name = fmt.Sprint("Name ", n)
		must(b, s.Change(ctx, alice, old, changed))
		if name := <-told; name != changed.Name {
			b.Fatalf("told %q", name)
		}
	}
	cancel()
	<-done
}
