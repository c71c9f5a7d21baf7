package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"gatemilter/cmd/internal/admin"
	"gatemilter/policy/config"
	"gatemilter/policy/identity"
)

// firstAnswer is how long the start waits for the database: those who log in need not be told to
// try again later, mostly, and one that does not answer holds nobody up.
const firstAnswer = 500 * time.Millisecond

// identities follow the database: what it has is in the roster, and in force with the next
// generation.
type identities struct {
	// roster is for whoever holds daemon.changing.
	roster roster

	mu       sync.Mutex
	followed *following // nil: there is no database
	synced   time.Time  // when what is known was last known to be what the database has
	down     error      // why the database can't be used
	since    time.Time  // when that began
	// bad counts the rows that could not be used since Users was last called.
	bad int
}

// A following is a store and what follows it.
type following struct {
	config config.Identities
	store  *identity.Store
	// told is closed when it is known what is in the database, or that it is away.
	told chan struct{}
	once sync.Once
	stop context.CancelFunc
	done chan struct{}
}

// IdentityKeys returns the file with the keys of a database: the systemd credential identities.key
// if there is one, or what the configuration names.
func IdentityKeys(c config.Identities) string {
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" {
		credential := filepath.Join(dir, "identities.key")
		if _, err := os.Stat(credential); err == nil {
			return credential
		}
	}
	return c.KeyFile
}

// IdentitySlots says which slots identities of the database may have beside a configuration.
func IdentitySlots(c *config.Config) identity.Slots {
	return identity.Slots{Count: c.Settings.Outbound.Slots, Taken: func(address string) (slots []int) {
		for _, u := range c.Policy.Directory().Claimants(address) {
			for _, i := range u.Identities {
				if i.Address == address && i.Gateway != nil {
					slots = append(slots, i.Gateway.Slot)
				}
			}
		}
		return slots
	}}
}

// checkIdentities says why the name of a database can't be used. It opens nothing.
func checkIdentities(c config.Identities) error {
	if c.Database == "" {
		return nil
	}
	s, err := identity.New(identity.Config{Database: c.Database})
	if err != nil {
		return fmt.Errorf("[identities] database: %w", err)
	}
	return s.Close()
}

// follow follows the database of the configuration in force, unless that is followed already.
func (d *daemon) follow() error {
	c := d.current.Load().config.Identities
	d.identities.mu.Lock()
	before := d.identities.followed
	d.identities.mu.Unlock()
	switch {
	case before == nil && c.Database == "", before != nil && before.config == c:
		return nil
	case before != nil && c.Database != "" && len(d.started.Portal.Listen) > 0:
		return nil // the portal has that store: see needsRestart
	}
	d.unfollow()
	if c.Database == "" {
		return nil
	}
	f := &following{config: c, told: make(chan struct{}), done: make(chan struct{})}
	keys, err := identity.LoadKeyring(IdentityKeys(c))
	if err != nil {
		d.log.identityKeysMissing(err)
	}
	f.store, err = identity.New(identity.Config{
		Database: c.Database, Keys: keys, Report: d.log.identityChanged,
		Slots: func() identity.Slots { return IdentitySlots(d.current.Load().config) },
	})
	if err != nil {
		return fmt.Errorf("[identities] database: %w", err)
	}
	d.identities.mu.Lock()
	d.identities.followed = f
	d.identities.mu.Unlock()
	var ctx context.Context
	ctx, f.stop = context.WithCancel(context.Background())
	go func() {
		defer close(f.done)
		f.store.Follow(ctx, c.SnapshotFile, d.follower(f))
	}()
	return nil
}

// unfollow ends following, and waits for that. What is known stays in force as long as there is a
// configuration with a database.
func (d *daemon) unfollow() {
	d.identities.mu.Lock()
	f := d.identities.followed
	d.identities.followed, d.identities.down, d.identities.synced = nil, nil, time.Time{}
	d.identities.mu.Unlock()
	if f == nil {
		return
	}
	f.stop()
	<-f.done
	f.store.Close()
}

// awaitIdentities waits, but not long, until it is known what is in the database.
func (d *daemon) awaitIdentities(ctx context.Context) {
	d.identities.mu.Lock()
	f := d.identities.followed
	d.identities.mu.Unlock()
	if f == nil {
		return
	}
	select {
	case <-f.told:
	case <-ctx.Done():
	case <-time.After(firstAnswer):
	}
}

// identityStore is the database that is followed, or nil.
func (d *daemon) identityStore() *identity.Store {
	d.identities.mu.Lock()
	defer d.identities.mu.Unlock()
	if d.identities.followed == nil {
		return nil
	}
	return d.identities.followed.store
}

// follower is told what is in the database.
func (d *daemon) follower(f *following) identity.Follower {
	told := func() { f.once.Do(func() { close(f.told) }) }
	state := &d.identities
	return identity.Follower{
		Users: func(whole bool, users map[string][]identity.Record) {
			d.identitiesChanged(whole, users)
			told()
		},
		Down: func(err error) {
			state.mu.Lock()
			state.down, state.since = err, time.Now()
			state.mu.Unlock()
			d.log.databaseDown(err, d.knowsIdentities())
			told()
		},
		Up: func() {
			state.mu.Lock()
			away := time.Since(state.since)
			state.down = nil
			state.mu.Unlock()
			d.log.databaseBack(away)
		},
		Synced: func() {
			state.mu.Lock()
			state.synced = time.Now()
			state.mu.Unlock()
		},
		Bad: d.badIdentity,
	}
}

// maxBad is how many rows that can't be used are logged one by one.
const maxBad = 20

func (d *daemon) badIdentity(err error) {
	var row *identity.RowError
	if !errors.As(err, &row) {
		d.log.snapshotTrouble(err)
		return
	}
	d.identities.mu.Lock()
	d.identities.bad++
	n := d.identities.bad
	d.identities.mu.Unlock()
	if n <= maxBad {
		d.log.badIdentity(row)
	}
}

// identitiesChanged puts records into force: all there are, or those of some users.
func (d *daemon) identitiesChanged(whole bool, users map[string][]identity.Record) {
	d.identities.mu.Lock()
	bad := d.identities.bad
	d.identities.bad = 0
	d.identities.mu.Unlock()

	d.changing.Lock()
	defer d.changing.Unlock()
	r, done := &d.identities.roster, func() {}
	next := *d.current.Load()
	switch {
	case next.config.Identities.Database == "":
		return // a reload has just done away with it
	case whole:
		r.load(users)
		r.configure(next.config)
	default:
		done = r.change(users)
	}
	next.employ(r)
	d.current.Store(&next)
	done()
	if whole {
		d.log.identitiesLoaded(len(users), r.counts, bad)
	}
	d.logLeftOut()
}

// employ makes a roster's users those of the generation, once they are known.
func (g *generation) employ(r *roster) {
	if r.users == nil {
		return
	}
	g.rules.Policy = g.config.Policy.WithDirectory(r.users)
	if g.users.open = r.hosts; g.users.users != nil {
		g.users.users = r.users
	}
}

func (d *daemon) knowsIdentities() bool {
	d.changing.Lock()
	defer d.changing.Unlock()
	return d.identities.roster.users != nil
}

// logLeftOut says which identities are left out since it was last said.
func (d *daemon) logLeftOut() {
	r := &d.identities.roster
	for i, left := range r.news {
		if i == maxChanges {
			d.log.moreLeftOut(len(r.news) - i)
			break
		}
		d.log.leftOut(left)
	}
	r.news = nil
}

// identityState is what the admin pages show.
func (d *daemon) identityState() admin.Identities {
	var s admin.Identities
	d.changing.Lock()
	r := &d.identities.roster
	s.Known, s.LeftOut = r.users != nil, len(r.left)
	s.Active, s.Pending, s.Disabled = r.counts.active-len(r.left), r.counts.pending, r.counts.disabled
	d.changing.Unlock()
	d.identities.mu.Lock()
	defer d.identities.mu.Unlock()
	s.Configured = d.identities.followed != nil
	s.Synced, s.Down, s.Since = d.identities.synced, d.identities.down, d.identities.since
	return s
}
