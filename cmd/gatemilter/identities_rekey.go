package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"gatemilter/cmd/internal/daemon"
	"gatemilter/policy/config"
	"gatemilter/policy/identity"
)

// rekey encrypts all passwords with the first key.
func (c *identityCommand) rekey(ctx context.Context, _ []string) error {
	cfg, err := load(c.config, c.io)
	if err != nil {
		return err
	}
	if c.generate && cfg.Identities.Database != "" {
		if err := c.generateKey(cfg); err != nil {
			return err
		}
	}
	s, err := openIdentities(cfg, c.config, true, c.io)
	if err != nil {
		return err
	}
	defer s.close()
	n, err := s.Rekey(ctx, s.by)
	switch {
	case errors.Is(err, identity.ErrPassword):
		return s.tellLost(ctx, n)
	case err != nil:
		return s.explain(err, "", "")
	}
	fmt.Fprintf(c.io.out, "Encrypted anew: %s. All have the first key of %s now; others in it are needed for older backups only.\n", count(n, "password"), daemon.IdentityKeys(cfg.Identities))
	return nil
}

// maxLost is how many passwords that can't be decrypted are shown.
const maxLost = 20

// tellLost says which passwords can't be decrypted, after done others were encrypted anew.
func (s *openStore) tellLost(ctx context.Context, done int) error {
	lost := 0
	for r, err := range s.All(ctx) {
		var bad *identity.RowError
		switch {
		case err != nil && !errors.As(err, &bad):
			return s.explain(err, "", "")
		case errors.Is(err, identity.ErrPassword):
			if lost++; lost <= maxLost {
				fmt.Fprintf(s.messages, "gatemilter: %s: the password of %s for %s can't be decrypted\n", r.Login, r.Address, serverOf(r.Gateway))
			}
		}
	}
	if lost > maxLost {
		fmt.Fprintf(s.messages, "gatemilter: and %d more, see gatemilter identities list\n", lost-maxLost)
	}
	return fmt.Errorf("%s can't be decrypted and stay as they are (encrypted anew: %d): put the keys of that time behind the first one in %s and run this again, or let the users enter the passwords again", count(lost, "password"), done, daemon.IdentityKeys(s.cfg.Identities))
}

// generateKey puts a new key on top of the key file.
func (c *identityCommand) generateKey(cfg *config.Config) error {
	path := cfg.Identities.KeyFile
	switch {
	case !strings.HasPrefix(cfg.Identities.Database, "sqlite:"):
		return errors.New("a new key has to be on every mail server that shares the database before it encrypts: " +
			"write what openssl rand -base64 32 prints as the last line of the key file on each of them, then move it to the top on each, and run gatemilter identities rekey without --generate")
	case daemon.IdentityKeys(cfg.Identities) != path:
		return fmt.Errorf("the keys are a credential of systemd's: put a new line of openssl rand -base64 32 on top of what it is made from, restart gatemilter, and run this without --generate")
	}
	if _, err := keyring(cfg); err != nil {
		return err // what it holds has to be good first
	}
	if err := putOnTop(path, identity.NewKey()); err != nil {
		return fmt.Errorf("the new key: %w", err)
	}
	fmt.Fprintf(c.io.out, "There is a new key in %s: keep a copy of the file with your backup of keys.\n", path)
	return nil
}

// putOnTop writes a key before all others of a file, which at any time is there in full, the old
// or the new one, with the same owner and mode.
func putOnTop(path, key string) error {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	next, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".")
	if err != nil {
		return err
	}
	defer os.Remove(next.Name())
	owner := info.Sys().(*syscall.Stat_t)
	_, err = next.WriteString(withKey(string(old), key))
	err = errors.Join(err, next.Chown(int(owner.Uid), int(owner.Gid)), next.Chmod(info.Mode().Perm()), next.Sync(), next.Close())
	if err == nil {
		err = os.Rename(next.Name(), path)
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// withKey puts a key before the first line that is neither empty nor a comment.
func withKey(text, key string) string {
	at := 0
	for line := range strings.Lines(text) {
		if trimmed := strings.TrimSpace(line); trimmed != "" && trimmed[0] != '#' {
			break
		}
		at += len(line)
	}
	head := text[:at]
	if head != "" && !strings.HasSuffix(head, "\n") {
		head += "\n"
	}
	return head + key + "\n" + text[at:]
}
