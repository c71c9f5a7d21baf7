package policy

import (
	"iter"
	"maps"
	"slices"
)

// A Directory is who our users are: by login, and by the addresses as which they may write.
// It is immutable and safe for use by several goroutines. Another one with some users changed
// shares all the rest with it, so that a change costs the same among few users and among
// many, nearly.
type Directory struct {
	byLogin shards[*User]
	// byAddress holds who has an address, disabled or not: mostly one user.
	byAddress shards[[]*User]
}

// NewDirectory returns the directory of these users. They must not be changed any more.
func NewDirectory(users iter.Seq[*User]) *Directory { return new(Directory).with(users) }

// With returns a directory in which these users stand in place of those with the same
// logins. None of them may be twice among them.
func (d *Directory) With(users ...*User) *Directory { return d.with(slices.Values(users)) }

func (d *Directory) with(users iter.Seq[*User]) *Directory {
	c := d.change()
	for u := range users {
		c.remove(u.Login)
		c.add(u)
	}
	return c.Directory
}

// Without returns a directory without the users that have these logins.
func (d *Directory) Without(logins ...string) *Directory {
	c := d.change()
	for _, login := range logins {
		c.remove(login)
	}
	return c.Directory
}

// User returns the user who logs in with that name, or nil.
func (d *Directory) User(login string) *User {
	u, _ := d.byLogin.get(CanonicalLogin(login))
	return u
}

// Claimants returns those who have an address, in canonical form, among their identities,
// disabled ones too. The caller must not change what it gets.
func (d *Directory) Claimants(canonical string) []*User {
	users, _ := d.byAddress.get(canonical)
	return users
}

// Len is how many users there are.
func (d *Directory) Len() int { return d.byLogin.n }

// Users returns all users, in no order.
func (d *Directory) Users() iter.Seq[*User] {
	return func(yield func(*User) bool) {
		if d.byLogin.maps == nil {
			return
		}
		for _, shard := range d.byLogin.maps {
			for _, u := range shard {
				if !yield(u) {
					return
				}
			}
		}
	}
}

// A directoryChange is a directory that is being made of another one.
type directoryChange struct {
	*Directory
	// fresh says that it is made of an empty one, so that it shares nothing.
	fresh     bool
	logins    shardsChange[*User]
	addresses shardsChange[[]*User]
}

func (d *Directory) change() *directoryChange {
	next := *d
	return &directoryChange{&next, d.Len() == 0, shardsChange[*User]{shards: &next.byLogin}, shardsChange[[]*User]{shards: &next.byAddress}}
}

func (c *directoryChange) add(u *User) {
	c.logins.set(u.Login, u)
	for _, i := range u.Identities {
		claimants, _ := c.byAddress.get(i.Address)
		if !c.fresh {
			claimants = slices.Clip(claimants) // so that appending copies
		}
		c.addresses.set(i.Address, append(claimants, u))
	}
}

func (c *directoryChange) remove(login string) {
	u, ok := c.byLogin.get(login)
	if !ok {
		return
	}
	c.logins.remove(login)
	for _, i := range u.Identities {
		claimants, _ := c.byAddress.get(i.Address)
		others := slices.DeleteFunc(slices.Clone(claimants), func(other *User) bool { return other == u })
		if len(others) == 0 {
			c.addresses.remove(i.Address)
			continue
		}
		c.addresses.set(i.Address, others)
	}
}

// shardCount is among how many maps the entries of one are spread. A change copies one of
// them, and the list of all: with 100,000 users, some 10 KB each.
const shardCount = 1024

// shards are a map in pieces.
type shards[V any] struct {
	maps *[shardCount]map[string]V // nil: there are no entries
	n    int
}

func (s *shards[V]) get(key string) (V, bool) {
	if s.maps == nil {
		var none V
		return none, false
	}
	v, ok := s.maps[shardOf(key)][key]
	return v, ok
}

// shardOf is FNV-1a.
func shardOf(key string) uint32 {
	h := uint32(2166136261)
	for i := range len(key) {
		h = (h ^ uint32(key[i])) * 16777619
	}
	return (h ^ h>>16) % shardCount
}

// A shardsChange changes shards that share their pieces with others.
type shardsChange[V any] struct {
	*shards[V]
	// copied are the pieces that are shared no more.
	copied *[shardCount]bool
}

// piece returns the piece for a key, as one that may be changed.
func (c *shardsChange[V]) piece(key string) map[string]V {
	if c.copied == nil {
		c.copied = new([shardCount]bool)
		all := new([shardCount]map[string]V)
		if c.maps != nil {
			*all = *c.maps
		}
		c.maps = all
	}
	at := shardOf(key)
	if !c.copied[at] {
		c.copied[at] = true
		if c.maps[at] = maps.Clone(c.maps[at]); c.maps[at] == nil {
			c.maps[at] = make(map[string]V)
		}
	}
	return c.maps[at]
}

func (c *shardsChange[V]) set(key string, value V) {
	piece := c.piece(key)
	before := len(piece)
	piece[key] = value
	c.n += len(piece) - before
}

func (c *shardsChange[V]) remove(key string) {
	piece := c.piece(key)
	before := len(piece)
	delete(piece, key)
	c.n += len(piece) - before
}
