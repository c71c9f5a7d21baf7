package policy

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// manyUsers are users with an address each, beside their account's.
func manyUsers(n int) func(func(*User) bool) {
	return func(yield func(*User) bool) {
		for i := range n {
			if !yield(userNumber(i, "partner.example")) {
				return
			}
		}
	}
}

func userNumber(i int, domain string) *User {
	login := fmt.Sprintf("user%d@example.com", i)
	return &User{Login: login, Account: login, Open: true, Identities: []Identity{{Address: login}, {Address: fmt.Sprintf("u%d@%s", i, domain)}}}
}

// U4: a directory and all that are made of it agree with plain maps, whatever changes, and none
// changes another.
func TestDirectoryAgreesWithMaps(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	type state struct {
		*Directory
		users map[string]*User
	}
	states := []state{{NewDirectory(manyUsers(0)), map[string]*User{}}}
	for range 400 {
		from := states[random.IntN(len(states))]
		next := state{from.Directory, map[string]*User{}}
		for login, u := range from.users {
			next.users[login] = u
		}
		var changed []*User
		var gone []string
		for range random.IntN(4) {
			i := random.IntN(30)
			u := userNumber(i, []string{"a.example", "b.example"}[random.IntN(2)])
			u.Identities = append(u.Identities, Identity{Address: fmt.Sprintf("team%d@partner.example", random.IntN(3))})
			if slices.ContainsFunc(changed, func(other *User) bool { return other.Login == u.Login }) {
				continue
			}
			changed, next.users[u.Login] = append(changed, u), u
		}
		next.Directory = next.With(changed...)
		for range random.IntN(3) {
			login := userNumber(random.IntN(30), "").Login
			gone = append(gone, login)
			delete(next.users, login)
		}
		next.Directory = next.Without(gone...)
		states = append(states, next)
	}
	for n, s := range states {
		if s.Len() != len(s.users) {
			t.Fatalf("state %d has %d users, want %d", n, s.Len(), len(s.users))
		}
		claims := make(map[string][]*User)
		seen := 0
		for u := range s.Users() {
			seen++
			if s.users[u.Login] != u || s.User(strings.ToUpper(u.Login)) != u {
				t.Fatalf("state %d: %+v", n, u)
			}
			for _, i := range u.Identities {
				claims[i.Address] = append(claims[i.Address], u)
			}
		}
		if seen != s.Len() || s.byAddress.n != len(claims) {
			t.Fatalf("state %d: %d users, %d addresses; want %d, %d", n, seen, s.byAddress.n, s.Len(), len(claims))
		}
		for address, users := range claims {
			got := s.Claimants(address)
			if len(got) != len(users) || slices.ContainsFunc(users, func(u *User) bool { return !slices.Contains(got, u) }) {
				t.Fatalf("state %d: %s is of %v, want %v", n, address, got, users)
			}
		}
	}
}

// U4: a change among 100,000 users copies some KB, and not all of them.
func TestChangeSharesTheRest(t *testing.T) {
	d := NewDirectory(manyUsers(100_000))
	changed := userNumber(4711, "other.example")
	const changes = 1000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range changes {
		d.With(changed)
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / changes; each > 128<<10 {
		t.Errorf("a change copies %d octets", each)
	}
	next := d.With(changed)
	shared := 0
	for i := range shardCount {
		if fmt.Sprintf("%p", d.byLogin.maps[i]) == fmt.Sprintf("%p", next.byLogin.maps[i]) {
			shared++
		}
	}
	if shared != shardCount-1 {
		t.Errorf("%d of %d pieces are shared", shared, shardCount)
	}
	if next.Claimants("u4711@partner.example") != nil || len(next.Claimants("u4711@other.example")) != 1 || len(d.Claimants("u4711@partner.example")) != 1 {
		t.Error("the change is not where it should be")
	}
}

// What one change costs among few and among many users.
func BenchmarkDirectoryChange(b *testing.B) {
	for _, users := range []int{1000, 100_000} {
		b.Run(fmt.Sprintf("users=%d", users), func(b *testing.B) {
			d := NewDirectory(manyUsers(users))
			changed := userNumber(471, "other.example")
			b.ReportAllocs()
			for b.Loop() {
				d = d.With(changed)
			}
		})
	}
}
