package daemon

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"gatemilter/milter/lookup"
	"gatemilter/policy"
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
			took[users] = b.Elapsed() / time.Duration(b.N)
			if few := took[10]; few > 0 {
				b.ReportMetric(float64(took[users])/float64(few), "x-of-few-users")
			}
		})
	}
}
