package policy

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func inOrder(int) int { return 0 }

// R3, R4: primaries come before secondaries; brackets keep the mail server from
// looking for MX hosts.
func TestNexthops(t *testing.T) {
	hosts := Route{
		Primary:   []Host{{"a.example", 25, 50}, {"192.0.2.1", 587, 30}, {"2001:db8::1", 2525, 20}},
		Secondary: []Host{{"b.example", 25, 100}},
	}
	domains := Route{Primary: []Host{{"a.example", 25, 60}, {"b.example", 587, 40}}, MXLookup: true}
	last := func(n int) int { return n - 1 }
	for _, test := range []struct {
		route  Route
		random func(int) int
		want   []string
	}{
		{hosts, inOrder, []string{"[a.example]:25", "[192.0.2.1]:587", "[2001:db8::1]:2525", "[b.example]:25"}},
		{hosts, last, []string{"[2001:db8::1]:2525", "[a.example]:25", "[192.0.2.1]:587", "[b.example]:25"}},
		{domains, inOrder, []string{"a.example:25", "b.example:587"}},
		{domains, last, []string{"b.example:587", "a.example:25"}},
	} {
		before := slices.Clone(test.route.Primary)
		if got := test.route.Nexthops(test.random); !slices.Equal(got, test.want) {
			t.Errorf("%q, want %q", got, test.want)
		}
		if !slices.Equal(test.route.Primary, before) {
			t.Error("the draw has changed the route")
		}
	}
}

// R3: over many messages, each order of the hosts comes as often as a draw without
// replacement makes it. The bound is chi-square's for p = 0.001.
func TestR3Shares(t *testing.T) {
	const draws = 100_000
	bound := map[int]float64{1: 10.83, 5: 20.52, 23: 49.73}
	for _, loads := range [][]int{{99, 1}, {70, 20, 10}, {1, 1, 98}, {40, 30, 20, 10}} {
		random := rand.New(rand.NewPCG(1, 2))
		r := Route{Secondary: []Host{{"z.example", 25, 100}}}
		for i, load := range loads {
			r.Primary = append(r.Primary, Host{string(rune('a'+i)) + ".example", 25, load})
		}
		got, first := make(map[string]float64), make(map[string]int)
		for range draws {
			hops := r.Nexthops(random.IntN)
			got[strings.Join(hops, ",")]++
			first[hops[0]]++
		}
		chi, orders := 0.0, permutations(r.Primary)
		for _, order := range orders {
			hops, want := nexthopsOf(&r, order), draws*chance(order)
			chi += (got[hops] - want) * (got[hops] - want) / want
			delete(got, hops)
		}
		if len(got) > 0 {
			t.Errorf("%v: there are other orders: %v", loads, got)
		}
		limit, ok := bound[len(orders)-1]
		if !ok || chi > limit {
			t.Errorf("%v: chi-square is %.1f, above %.1f", loads, chi, limit)
		}
		for _, h := range r.Primary {
			share := 100 * float64(first[r.Nexthop(h)]) / draws
			if math.Abs(share-float64(h.Load)) > 0.6 {
				t.Errorf("%v: %s is first for %.2f %% of the mail, not %d %%", loads, h.Name, share, h.Load)
			}
		}
	}
}

// chance is the probability of an order of hosts.
func chance(order []Host) float64 {
	p, left := 1.0, 100
	for _, h := range order {
		p *= float64(h.Load) / float64(left)
		left -= h.Load
	}
	return p
}

func nexthopsOf(r *Route, order []Host) string {
	drawn := Route{Primary: order, Secondary: r.Secondary}
	return strings.Join(drawn.Nexthops(inOrder), ",")
}

func permutations(hosts []Host) [][]Host {
	if len(hosts) == 1 {
		return [][]Host{hosts}
	}
	var all [][]Host
	for i := range hosts {
		rest := slices.Concat(hosts[:i], hosts[i+1:])
		for _, order := range permutations(rest) {
			all = append(all, append([]Host{hosts[i]}, order...))
		}
	}
	return all
}

func TestProbed(t *testing.T) {
	for demand, want := range map[TLSDemand]bool{
		{}:               false,
		{Required: true}: false,
		{Required: true, CA: true, Hostname: true}:                   false,
		{Required: true, CA: true}:                                   true,
		{Required: true, Hostname: true}:                             true,
		{Required: true, CA: true, Hostname: true, CAFile: "/a.pem"}: true,
	} {
		if got := demand.Probed(); got != want {
			t.Errorf("%+v: %v", demand, got)
		}
	}
}
