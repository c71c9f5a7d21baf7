package daemon

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"gatemilter/policy"
	"gatemilter/policy/config"
	"gatemilter/policy/identity"
)

// selfService is a configuration with a database, whose users are Alice, with a server of hers for
// the team's address, and Bob, with one without TLS.
const selfService = `[server]
mta_user = 4711
authserv_id = mx.home.example
[outbound]
domains = home.example
allow_user_gateways = yes
user_gateway_slots = 2
[identities]
database = sqlite:/nowhere/identities.db
[user alice@home.example]
[user-gateway alice@home.example team@partner.example]
server = smtp.partner.example
password = pa
[user bob@home.example]
[user-gateway bob@home.example bob@old.example]
server = mail.old.example:25
tls = none
password = old
`

func parseConfig(t testing.TB, text string) *config.Config {
	t.Helper()
	c, err := config.Parse("x", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// attached is an active identity with a server, made in that minute.
func attached(login, address, server string, slot, minute int) identity.Record {
	host, port, _ := strings.Cut(server, ":")
	g := &policy.UserGateway{Host: host, Port: 587, Username: address, Password: policy.NewSecret("p"), Slot: slot}
	if port == "465" {
		g.Port, g.TLS = 465, policy.ImplicitTLS
	} else if port == "25" {
		g.Port = 25
	}
	return identity.Record{Login: login, Account: login, Identity: policy.Identity{Address: address, Gateway: g}, State: identity.Active, Created: time.Unix(int64(minute)*60, 0)}
}

func disabled(r identity.Record) identity.Record { r.Disabled = true; return r }
func pending(r identity.Record) identity.Record  { r.State = identity.Pending; return r }

func byLogin(records ...identity.Record) map[string][]identity.Record {
	users := make(map[string][]identity.Record)
	for _, r := range records {
		users[r.Login] = append(users[r.Login], r)
	}
	return users
}

// inForce writes the identities with servers as "LOGIN ADDRESS TRANSPORT", or "-" before those that
// are disabled.
func inForce(d *policy.Directory) (list []string) {
	for u := range d.Users() {
		for _, i := range u.Identities {
			if i.Gateway == nil {
				continue
			}
			text := u.Login + " " + i.Address + " " + strings.TrimPrefix(i.Gateway.Transport(), "gatemilter-")
			if i.Disabled {
				text = "-" + text
			}
			list = append(list, strings.ReplaceAll(text, "@home.example", ""))
		}
	}
	slices.Sort(list)
	return list
}

// O4, U4: what is in the database is in force beside the configuration; of two that the mail server
// could not tell apart, the configuration's is, or else the earlier.
func TestO4LeftOut(t *testing.T) {
	const team = "team@partner.example"
	configured := []string{"alice team@partner.example user", "bob bob@old.example user"}
	for _, c := range []struct {
		what    string
		records []identity.Record
		want    []string // beside the configuration's
		why     []string
	}{
		{"nobody else has the address", []identity.Record{attached("dora@home.example", "dora@club.example", "mail.club.example", 0, 1)}, []string{"dora dora@club.example user"}, nil},
		{"another slot", []identity.Record{attached("dora@home.example", team, "mail.club.example", 1, 1)}, []string{"dora team@partner.example user-1"}, nil},
		{"another transport", []identity.Record{attached("dora@home.example", team, "mail.club.example:465", 0, 1)}, []string{"dora team@partner.example users"}, nil},
		{"the configuration's slot", []identity.Record{attached("dora@home.example", team, "mail.club.example", 0, 1)}, []string{"-dora team@partner.example user"},
			[]string{"dora@home.example team@partner.example: [user-gateway alice@home.example team@partner.example] has a server for the address too, in the same slot, 0: give one of them another slot"}},
		{"the earlier one's slot", []identity.Record{attached("dora@home.example", team, "mail.club.example", 1, 2), attached("erin@home.example", team, "mail.club.example", 1, 1)},
			[]string{"-dora team@partner.example user-1", "erin team@partner.example user-1"},
			[]string{"dora@home.example team@partner.example: erin@home.example has a server for the address too, in the same slot, 1, and had it before: raise user_gateway_slots, remove this identity and add it again"}},
		{"who is disabled is in nobody's way", []identity.Record{attached("dora@home.example", team, "mail.club.example", 1, 2), disabled(attached("erin@home.example", team, "mail.club.example", 1, 1))},
			[]string{"dora team@partner.example user-1", "-erin team@partner.example user-1"}, nil},
		{"nor is who has entered no code", []identity.Record{attached("dora@home.example", team, "mail.club.example", 1, 2), pending(attached("erin@home.example", team, "mail.club.example", 1, 1))},
			[]string{"dora team@partner.example user-1"}, nil},
		{"too high a slot", []identity.Record{attached("dora@home.example", team, "mail.club.example", 2, 1)}, []string{"-dora team@partner.example user-2"},
			[]string{"dora@home.example team@partner.example: it has the slot 2, and there are transports for 2 users with the same address: write user_gateway_slots = 3 and run mta-setup"}},
		{"a host without TLS", []identity.Record{attached("dora@home.example", "dora@old.example", "mail.old.example:25", 0, 1)}, []string{"-dora dora@old.example user"},
			[]string{"dora@home.example dora@old.example: [mail.old.example]:25 is used by a section [user-gateway] with tls = none, and the mail server knows one demand for each host"}},
		{"at another port", []identity.Record{attached("dora@home.example", "dora@old.example", "mail.old.example", 0, 1)}, []string{"dora dora@old.example user"}, nil},
		{"of a user of the configuration", []identity.Record{attached("alice@home.example", "alice@club.example", "mail.club.example", 0, 1)}, []string{"alice alice@club.example user"}, nil},
		{"who has the address there: that is in force", []identity.Record{attached("alice@home.example", team, "mail.club.example", 0, 1)}, nil, nil},
	} {
		cfg := parseConfig(t, selfService)
		var whole, stepwise roster
		whole.load(byLogin(c.records...))
		whole.configure(cfg)
		stepwise.load(map[string][]identity.Record{})
		stepwise.configure(cfg)
		for login, records := range byLogin(c.records...) {
			stepwise.change(map[string][]identity.Record{login: records})()
		}
		want := slices.Sorted(slices.Values(slices.Concat(configured, c.want)))
		for how, r := range map[string]*roster{"whole": &whole, "stepwise": &stepwise} {
			if diff := cmp.Diff(want, inForce(r.users)); diff != "" {
				t.Errorf("%s, %s: -want +got\n%s", c.what, how, diff)
			}
			var why []string
			for name, text := range r.left {
				why = append(why, name.login+" "+name.address+": "+text)
			}
			if diff := cmp.Diff(c.why, why); diff != "" {
				t.Errorf("%s, %s: -want +got\n%s", c.what, how, diff)
			}
		}
	}
}

// O3: where servers of users are not allowed, none is in another's way.
func TestO3NobodyIsLeftOut(t *testing.T) {
	cfg := parseConfig(t, strings.Replace(selfService, "gateways = yes", "gateways = no", 1))
	d, leftOut := UsersOf(cfg, byLogin(attached("dora@home.example", "team@partner.example", "mail.club.example", 0, 1), attached("erin@home.example", "erin@old.example", "mail.old.example:25", 7, 1)))
	if got := inForce(d); slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "-") }) || len(got) != 4 {
		t.Errorf("in force: %v", got)
	}
	if why := leftOut("dora@home.example", "team@partner.example"); why != "" {
		t.Errorf("left out: %s", why)
	}
}

// O4: who asks for an identity by name is told why it is left out.
func TestO4WhyLeftOut(t *testing.T) {
	_, leftOut := UsersOf(parseConfig(t, selfService), byLogin(attached("dora@home.example", "team@partner.example", "mail.club.example", 0, 1)))
	if why := leftOut("dora@home.example", "team@partner.example"); !strings.HasSuffix(why, "in the same slot, 0: give one of them another slot") {
		t.Errorf("left out: %s", why)
	}
	if why := leftOut("dora@home.example", "dora@home.example"); why != "" {
		t.Errorf("the account's: %s", why)
	}
}

// U4: after any changes, in whatever steps, what is in force is what it would be if all had been
// loaded at once; and so are the hosts, of which the looks stay.
func TestU4RosterStepByStep(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 11))
	cfg := parseConfig(t, selfService)
	var stepwise roster
	stepwise.load(map[string][]identity.Record{})
	stepwise.configure(cfg)
	records := make(map[string][]identity.Record)
	logins := []string{"alice@home.example", "bob@home.example", "dora@home.example", "erin@home.example", "frank@home.example"}
	addresses := []string{"team@partner.example", "x@club.example", "y@club.example", "alice@home.example"}
	servers := []string{"mail.club.example", "mail.club.example:465", "mail.old.example:25", "smtp.partner.example"}
	for step := range 3000 {
		changes := make(map[string][]identity.Record)
		for range 1 + random.IntN(2) {
			login := logins[random.IntN(len(logins))]
			var list []identity.Record
			for _, address := range addresses {
				if random.IntN(2) == 0 {
					continue
				}
				r := attached(login, address, servers[random.IntN(len(servers))], random.IntN(3), random.IntN(3))
				switch random.IntN(6) {
				case 0:
					r = disabled(r)
				case 1:
					r = pending(r)
				case 2:
					r.Gateway = nil
				}
				list = append(list, r)
			}
			changes[login] = list
		}
		for login, list := range changes {
			if records[login] = list; len(list) == 0 {
				delete(records, login)
			}
		}
		stepwise.change(changes)()
		if step%100 == 0 { // a reload
			stepwise.configure(cfg)
		}
		var whole roster
		whole.load(maps.Clone(records))
		whole.configure(cfg)
		if diff := cmp.Diff(sortedUsers(whole.users), sortedUsers(stepwise.users), cmp.AllowUnexported(policy.Secret{})); diff != "" {
			t.Fatalf("step %d: -at once +stepwise\n%s", step, diff)
		}
		if diff := cmp.Diff(whole.left, stepwise.left, cmp.AllowUnexported(identityName{}), cmpopts.EquateEmpty()); diff != "" || whole.counts != stepwise.counts {
			t.Fatalf("step %d: -at once +stepwise\n%s%+v %+v", step, diff, whole.counts, stepwise.counts)
		}
		servers := func(h *openHosts) map[serverKey]int {
			n := make(map[serverKey]int)
			for key, host := range h.hosts {
				n[key] = host.servers
			}
			return n
		}
		if diff := cmp.Diff(servers(whole.hosts), servers(stepwise.hosts), cmp.AllowUnexported(serverKey{})); diff != "" {
			t.Fatalf("step %d: -at once +stepwise\n%s", step, diff)
		}
		if got := inForce(stepwise.users); slices.Contains(got, "-alice team@partner.example user") {
			t.Fatalf("step %d: the configuration is left out: %v", step, got)
		}
	}
}

func sortedUsers(d *policy.Directory) []policy.User {
	var users []policy.User
	for u := range d.Users() {
		users = append(users, *u)
	}
	slices.SortFunc(users, func(a, b policy.User) int { return strings.Compare(a.Login, b.Login) })
	return users
}

// What has been seen of a host stays known while others come and go, also by a reload; unless what
// may be reached is another.
func TestOpenHostsKeepLooks(t *testing.T) {
	cfg := parseConfig(t, selfService)
	var r roster
	r.load(byLogin(attached("dora@home.example", "dora@club.example", "mail.club.example", 0, 1)))
	r.configure(cfg)
	key := serverKey{"gatemilter-user", "[mail.club.example]:587"}
	host := r.hosts.of(key)
	if host == nil || host.name != "mail.club.example" || host.port != 587 || host.tls != policy.STARTTLS {
		t.Fatalf("host %+v", host)
	}
	r.change(byLogin(attached("erin@home.example", "erin@club.example", "mail.club.example", 0, 1)))()
	r.change(map[string][]identity.Record{"dora@home.example": nil})()
	r.configure(cfg)
	if r.hosts.of(key) != host {
		t.Error("the host is looked at again after others came and went")
	}
	other := parseConfig(t, selfService+"[portal]\nallowed_networks = 127.0.0.1\n")
	if r.configure(other); r.hosts.of(key) == host {
		t.Error("what was seen counts under other conditions")
	}
	r.change(map[string][]identity.Record{"erin@home.example": nil})()
	if r.hosts.of(key) != nil || len(r.hosts.hosts) != 0 {
		t.Error("a host of nobody's is there")
	}
	v6 := attached("dora@home.example", "dora@club.example", "", 0, 1)
	v6.Gateway.Host, v6.Gateway.Port, v6.Gateway.TLS, v6.Gateway.Slot = "2001:db8::1", 2465, policy.ImplicitTLS, 1
	r.change(byLogin(v6))()
	if host := r.hosts.of(keyOf(v6.Gateway)); host == nil || host.name != "2001:db8::1" || host.port != 2465 || host.tls != policy.ImplicitTLS {
		t.Errorf("host %+v", host)
	}
}

// U4: a change among 100,000 users costs what it costs among few, not a rebuild.
func TestU4ChangeIsCheap(t *testing.T) {
	cfg := parseConfig(t, selfService)
	var r roster
	r.load(manyRecords(100_000))
	r.configure(cfg)
	const changes = 1000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for n := range changes {
		login := fmt.Sprintf("user%d@example.com", n)
		r.change(map[string][]identity.Record{login: {attached(login, fmt.Sprintf("u%d@partner.example", n), "smtp.partner.example", 0, 1)}})()
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / changes; each > 256<<10 {
		t.Errorf("a change allocates %d octets", each)
	}
}

// manyRecords are those of that many users, as manyUsers has them.
func manyRecords(users int) map[string][]identity.Record {
	all := make(map[string][]identity.Record, users)
	for n := range users {
		login := fmt.Sprintf("user%d@example.com", n)
		r := attached(login, fmt.Sprintf("u%d@partner%d.example", n, n%1000), fmt.Sprintf("smtp.partner%d.example", n%1000), 0, 1)
		r.Gateway.Username, r.Gateway.Password = fmt.Sprintf("u%d", n), policy.NewSecret(fmt.Sprintf("secret %d", n))
		all[login] = []identity.Record{r}
	}
	return all
}
