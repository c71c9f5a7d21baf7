package config

import (
	"cmp"
	"slices"
	"strings"

	"gatemilter/policy"
)

// A Change is one setting that has another value in one configuration than in another.
type Change struct {
	// Section is its title, Key its key.
	Section, Key string
	// Old and New are the values in force, as written or by default; "" is none. Secrets
	// are masked: they may look the same.
	Old, New string
}

// Changes returns what is different in c from an older configuration, setting by setting,
// in the order of the manual and of the files; sections that are gone come last.
func (c *Config) Changes(old *Config) []Change {
	before := make(map[string]*section, len(old.sections))
	for _, sec := range old.sections {
		before[sec.id()] = sec
	}
	var changes []Change
	for _, sec := range c.sections {
		changes = append(changes, compareSections(before[sec.id()], sec)...)
		delete(before, sec.id())
	}
	for _, sec := range old.sections {
		if _, gone := before[sec.id()]; gone {
			changes = append(changes, compareSections(sec, nil)...)
		}
	}
	return append(changes, c.changedPasswords(old)...)
}

// compareSections compares a section before and after; either may be nil.
func compareSections(before, after *section) (changes []Change) {
	title := cmp.Or(after, before)
	spec, _ := definition(title.kind)
	for _, key := range spec.Keys {
		old, now := valueIn(before, spec, key), valueIn(after, spec, key)
		if old == now {
			continue
		}
		changes = append(changes, Change{title.title(), key.Name, mask(key, old), mask(key, now)})
	}
	return changes
}

// valueIn returns the value of a key in a section, which may be nil, or what holds by
// default.
func valueIn(sec *section, spec SectionSpec, key KeySpec) string {
	if sec == nil {
		return ""
	}
	return fields{nil, spec, sec}.text(key.Name)
}

func mask(key KeySpec, value string) string {
	if key.Secret && value != "" {
		return policy.SecretMask
	}
	return value
}

// changedPasswords finds passwords that are others in the same files as before.
func (c *Config) changedPasswords(old *Config) (changes []Change) {
	before := make(map[string]*section)
	for _, sec := range old.sections {
		before[sec.id()] = sec
	}
	for _, sec := range c.sections {
		path, ok := sec.first(passwordFileKey)
		other, was := before[sec.id()]
		if !ok || !was {
			continue
		}
		if same, _ := other.first(passwordFileKey); same.value != path.value || c.password(sec) == old.password(other) {
			continue
		}
		changes = append(changes, Change{sec.title(), passwordFileKey, path.value, path.value + " (with another password in it)"})
	}
	return changes
}

// password is that of a section [user-gateway].
func (c *Config) password(sec *section) string {
	address, _ := parseAddress(sec.address)
	u := c.Settings.Outbound.Users[policy.CanonicalLogin(sec.name)]
	if u == nil {
		return ""
	}
	i := slices.IndexFunc(u.Identities, func(i policy.Identity) bool { return i.Address == address && i.Gateway != nil })
	if i < 0 {
		return ""
	}
	return u.Identities[i].Gateway.Password.Reveal()
}

// id tells sections apart.
func (s *section) id() string { return strings.ToLower(s.kind + " " + s.fullName()) }
