package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"gatemilter/cmd/internal/lab"
	"gatemilter/milter/lookup"
	"gatemilter/policy"
	"gatemilter/policy/identity"
)

// manyUsers writes a configuration with that many users, each with an address at a
// server of his own, into files of 5,000, and returns the path of the main one.
func manyUsers(b *testing.B, users int) string {
	b.Helper()
	dir := b.TempDir()
	files := map[string]string{"gatemilter.conf": "[server]\nmta_user = 4711\ninclude = users/*.conf\n[outbound]\nallow_user_gateways = yes\n"}
	var text strings.Builder
	for n := range users {
		fmt.Fprintf(&text, "[user user%d@example.com]\n[user-gateway user%d@example.com u%d@partner%d.example]\nserver = smtp.partner%d.example\nusername = u%d\npassword = secret %d\n", n, n, n, n%1000, n%1000, n, n)
		if n%5000 == 4999 || n == users-1 {
			files[fmt.Sprintf("users/%d.conf", n)] = text.String()
			text.Reset()
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "users"), 0o700); err != nil {
		b.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	return filepath.Join(dir, "gatemilter.conf")
}

// The time and the memory that a configuration takes, beside one with a tenth of the users:
// both should be ten times as much, and no more.
func BenchmarkLoadUserGateways(b *testing.B) {
	for _, users := range []int{10_000, 100_000} {
		b.Run(fmt.Sprintf("users=%d", users), func(b *testing.B) {
			path := manyUsers(b, users)
			var kept *generation
			for b.Loop() {
				var err error
				if kept, err = read(path); err != nil {
					b.Fatal(err)
				}
			}
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			if kept.users.users.Len() != users {
				b.Fatal(kept.users.users.Len())
			}
			kept = nil
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(before.HeapInuse-after.HeapInuse)/(1<<20), "MiB")
			b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N)/float64(users)*1e6, "ns/user")
		})
	}
}

// manyIdentities fills a SQLite database with the users that manyUsers has in files.
func manyIdentities(b *testing.B, users int) place {
	b.Helper()
	p := place{b, b.TempDir(), ""}
	p.database = "sqlite:" + p.file("identities.db")
	if err := identity.CreateKeyFile(p.file("identities.key")); err != nil {
		b.Fatal(err)
	}
	p.write()
	records := make([]identity.Record, 0, users)
	for _, list := range manyRecords(users) {
		records = append(records, list...)
	}
	s := p.command()
	if _, _, err := s.Import(b.Context(), "bench", records, false); err != nil {
		b.Fatal(err)
	}
	return p
}

// The time until a daemon that starts knows all identities of its database, and the memory that
// they take: as BenchmarkLoadUserGateways has it for files.
func BenchmarkLoadIdentities(b *testing.B) {
	for _, users := range []int{10_000, 100_000} {
		b.Run(fmt.Sprintf("users=%d", users), func(b *testing.B) {
			p := manyIdentities(b, users)
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			started := 0
			for b.Loop() {
				started++
				d, _ := p.start()
				<-d.identities.followed.told
				if n := d.current.Load().users.users.Len(); n != users+2 {
					b.Fatal(n)
				}
				d.unfollow()
			}
			// They stay in memory as long as the benchmark.
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric((float64(after.HeapInuse)-float64(before.HeapInuse))/(1<<20)/float64(started), "MiB")
			b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N)/float64(users)*1e6, "ns/user")
		})
	}
}

// What one change costs the daemon once it is told, among few and among many users; and how long it
// takes from the command to be in force.
func BenchmarkIdentityChange(b *testing.B) {
	for _, users := range []int{1000, 100_000} {
		log, _ := observedLog()
		g := &generation{config: parseConfig(b, selfService)}
		d := &daemon{log: log}
		d.current.Store(g)
		d.identitiesChanged(true, manyRecords(users))
		b.Run(fmt.Sprintf("told/users=%d", users), func(b *testing.B) {
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				n++
				login := fmt.Sprintf("user%d@example.com", n%users)
				d.identitiesChanged(false, map[string][]identity.Record{login: {attached(login, fmt.Sprintf("n%d@partner.example", n), "smtp.partner.example", 0, 1)}})
			}
		})
	}
	b.Run("in-force/users=100000", func(b *testing.B) {
		p := manyIdentities(b, 100_000)
		d, _ := p.start()
		<-d.identities.followed.told
		s := p.command()
		for b.Loop() {
			const login, address = "user4711@example.com", "u4711@partner711.example"
			if err := errors.Join(s.Disable(b.Context(), "bench", login, address), s.Enable(b.Context(), "bench", login, address)); err != nil {
				b.Fatal(err)
			}
			want := d.current.Load()
			if err := lab.Until(b.Context(), "the change to be in force", func() bool { return d.current.Load() != want }); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// What a delivery asks for, among few and among many users: the ratio should be near 1.
func BenchmarkUserLogin(b *testing.B) {
	took := map[int]time.Duration{}
	for _, users := range []int{10, 100_000} {
		b.Run(fmt.Sprintf("users=%d", users), func(b *testing.B) {
			g, err := read(manyUsers(b, users))
			if err != nil {
				b.Fatal(err)
			}
			d := &daemon{probe: everything}
			d.current.Store(g)
			took[users] = askLogins(b, d, users)
			if few := took[10]; few > 0 {
				b.ReportMetric(float64(took[users])/float64(few), "x-of-few-users")
			}
		})
	}
	b.Run("users=100000/database", func(b *testing.B) {
		log, _ := observedLog()
		d := &daemon{probe: everything, log: log}
		d.identities.roster.guard = func([]netip.Prefix) prober { return everything }
		d.current.Store(&generation{config: parseConfig(b, selfService), users: userServers{users: new(policy.Directory)}})
		d.identitiesChanged(true, manyRecords(100_000))
		b.ReportMetric(float64(askLogins(b, d, 100_000))/float64(took[100_000]), "x-of-files")
	})
}

// askLogins asks as deliveries do, and returns how long one takes.
func askLogins(b *testing.B, d *daemon, users int) time.Duration {
	tables := d.tables()
	tls, login := tables[UserTLSTable(policy.UserTransport(false, 0))], tables[UserLoginTable(policy.UserTransport(false, 0))]
	peer := lookup.Peer{PID: 4711}
	type delivery struct {
		nexthop, sender string
		login           lookup.Answer
	}
	deliveries := make([]delivery, min(users, 1000))
	for i := range deliveries {
		n := i * (users / len(deliveries))
		deliveries[i] = delivery{fmt.Sprintf("[smtp.partner%d.example]:587", n%1000), fmt.Sprintf("u%d@partner%d.example", n, n%1000),
			lookup.OK(fmt.Sprintf("u%d:secret %d", n, n))}
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		next := &deliveries[i%len(deliveries)]
		i++
		tls.Lookup(context.Background(), peer, next.nexthop)
		if a := login.Lookup(context.Background(), peer, next.sender); a != next.login {
			b.Fatal(a)
		}
	}
	return b.Elapsed() / time.Duration(b.N)
}
