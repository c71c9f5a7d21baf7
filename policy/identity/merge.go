package identity

import (
	"slices"

	"gatemilter/policy"
)

// Merge returns the user in force: who the configuration says he is, or nil where it has
// nothing about him, with the addresses that he has attached himself. An address that the
// configuration gives him stays as that says. Of the others, those count that are active;
// one that the administrator has disabled is there too, and says so. Records are those of
// one login. Neither argument is changed, and the result may share memory with them.
//
// A user that only the database knows is [policy.User].Open; his account's address is one
// of his, as every user's is.
func Merge(configured *policy.User, records []Record) *policy.User {
	merged := configured
	for i := range records {
		r := &records[i]
		if r.State != Active {
			continue
		}
		switch {
		case merged == nil:
			merged = &policy.User{Login: r.Login, Account: r.Account, Open: true, Identities: []policy.Identity{account(r.Account, records)}}
		case merged == configured:
			copied := *configured
			copied.Identities = slices.Clip(copied.Identities) // so that appending copies
			merged = &copied
		}
		if !merged.Has(r.Address) {
			merged.Identities = append(merged.Identities, r.Identity)
		}
	}
	return merged
}

// account returns the identity for a user's own account.
func account(address string, records []Record) policy.Identity {
	i := slices.IndexFunc(records, func(r Record) bool { return r.Address == address && r.State == Active })
	if i < 0 {
		return policy.Identity{Address: address}
	}
	return records[i].Identity
}
