package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"gatemilter/cmd/internal/daemon"
	"gatemilter/policy"
	"gatemilter/policy/config"
	"gatemilter/policy/identity"
)

// withDatabase returns the policy with the users of the database beside those of the
// configuration, as the daemon has them, and what the database has of that login. All users
// count, as one's address is none of another's. Where the database can't be read, the snapshot is,
// as by the daemon; without that, too, nobody knows. A root becomes the owner of the database's
// directory.
func withDatabase(ctx context.Context, cfg *config.Config, p *policy.Policy, login string, io stdio) (all *policy.Policy, his attachedOnes, err error) {
	if cfg.Identities.Database == "" {
		return p, his, nil
	}
	users := make(map[string][]identity.Record)
	if login != "" {
		if users, err = knownUsers(ctx, cfg, io); err != nil {
			return nil, his, err
		}
	}
	directory, leftOut := daemon.UsersOf(cfg, users)
	return p.WithDirectory(directory), attachedOnes{users[policy.CanonicalLogin(login)], leftOut}, nil
}

// knownUsers reads the database, or else the snapshot, and says so.
func knownUsers(ctx context.Context, cfg *config.Config, io stdio) (map[string][]identity.Record, error) {
	advice := "gatemilter doctor says more"
	if os.Geteuid() != 0 {
		advice = "run it as root"
	}
	users := make(map[string][]identity.Record)
	err := databaseUsers(ctx, cfg, users)
	if err == nil {
		return users, nil
	}
	path := cfg.Identities.SnapshotFile
	users, noSnapshot := identity.ReadSnapshot(path)
	if noSnapshot != nil {
		return nil, fmt.Errorf("it is not known what users have attached themselves: %s; nor by %s: %s: %s", visible(err.Error()), path, visible(noSnapshot.Error()), advice)
	}
	fmt.Fprintf(io.err, "gatemilter: this is by %s, as the daemon has it meanwhile: %s: %s\n", path, visible(err.Error()), advice)
	return users, nil
}

// attachedOnes are the addresses that a user has attached, and why some are left out.
type attachedOnes struct {
	records []identity.Record
	leftOut func(login, address string) string
}

// databaseUsers reads all users of the database. It makes none where there is none yet, and needs
// no keys: passwords stay unknown.
func databaseUsers(ctx context.Context, cfg *config.Config, users map[string][]identity.Record) error {
	if path, isFile := strings.CutPrefix(cfg.Identities.Database, "sqlite:"); isFile {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	}
	if err := becomeOwner(stateDirectory(cfg)); err != nil {
		return err
	}
	s, err := identity.New(identity.Config{Database: cfg.Identities.Database})
	if err != nil {
		return err
	}
	defer s.Close()
	for r, err := range s.All(ctx) {
		var bad *identity.RowError
		switch {
		case err != nil && !errors.As(err, &bad):
			return err
		case err == nil || errors.Is(err, identity.ErrPassword):
			users[r.Login] = append(users[r.Login], r)
		}
	}
	return nil
}

// find finds an address among those that a user has attached, and says why it may not count.
func (a attachedOnes) find(address string) (r identity.Record, why string) {
	canonical, records := policy.CanonicalAddress(address), a.records
	for _, name := range []string{canonical, policy.WithoutExtension(canonical)} {
		i := slices.IndexFunc(records, func(r identity.Record) bool { return r.Address == name })
		switch {
		case i < 0:
			continue
		case records[i].Disabled:
			why = "is disabled: gatemilter identities enable allows it again"
		case records[i].State == identity.Pending:
			why = "waits for its code, and does not count yet"
		default:
			if because := a.leftOut(records[i].Login, name); because != "" {
				why = "is " + leftOutFor + because
			}
		}
		return records[i], why
	}
	return r, ""
}
