package identity

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"gatemilter/policy"
)

// How long a code counts, how often one may try, and how many characters it has: of 5 bits
// each, so that five tries out of 2^50 are none.
const (
	codeLife   = 15 * time.Minute
	codeTries  = 5
	codeLength = 10
)

// codeAlphabet are the digits and letters that nobody takes for one another (Crockford's
// base 32).
const codeAlphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// NewCode returns a new code that proves that the address is the user's, in the form
// AB3DE-F6HJK, to be sent there. Older ones count no more.
func (s *Store) NewCode(ctx context.Context, by, login, address string) (string, error) {
	login, address = policy.CanonicalLogin(login), policy.CanonicalAddress(address)
	code := newCode()
	err := s.change(ctx, s.times.call, by, func(ctx context.Context, t *tx) error {
		if _, err := t.pending(ctx, login, address); err != nil {
			return err
		}
		hash, err := s.config.Keys.hashCode(login, address, code)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		_, err = t.exec(ctx, `INSERT INTO codes (login, address, hash, expires, tries) VALUES ($1, $2, $3, $4, 0)
			ON CONFLICT (login, address) DO UPDATE SET hash = excluded.hash, expires = excluded.expires, tries = 0`,
			login, address, hash, t.later(codeLife))
		if err != nil {
			return err
		}
		return t.note(ctx, CodeSent, login, address, "")
	})
	if err != nil {
		return "", err
	}
	return code[:codeLength/2] + "-" + code[codeLength/2:], nil
}

func newCode() string {
	octets := make([]byte, codeLength)
	rand.Read(octets) // never fails
	for i, o := range octets {
		octets[i] = codeAlphabet[int(o)%len(codeAlphabet)] // 256 is a multiple of 32
	}
	return string(octets)
}

// normalizeCode returns what somebody has meant by what he has typed, or "" where that is no
// code.
func normalizeCode(s string) string {
	if len(s) > 4*codeLength {
		return ""
	}
	code := strings.Map(func(r rune) rune {
		switch {
		case r == ' ' || r == '-' || r == '\t' || r == '\r' || r == '\n':
			return -1
		case 'a' <= r && r <= 'z':
			r -= 'a' - 'A'
		}
		switch r {
		case 'O':
			return '0'
		case 'I', 'L':
			return '1'
		}
		return r
	}, s)
	if len(code) != codeLength || strings.Trim(code, codeAlphabet) != "" {
		return ""
	}
	return code
}

// Confirm makes a record active if the code is the one that was sent last, not later than 15
// minutes ago, and is among the first five tries. A record that is active stays so.
func (s *Store) Confirm(ctx context.Context, by, login, address, code string) (Record, error) {
	login, address = policy.CanonicalLogin(login), policy.CanonicalAddress(address)
	hash, err := s.tryCode(ctx, login, address)
	if errors.Is(err, ErrActive) {
		return s.Get(ctx, login, address)
	}
	if err == nil {
		err = s.config.Keys.checkCode(hash, login, address, normalizeCode(code))
	}
	if err != nil {
		return Record{}, err
	}
	err = s.change(ctx, s.times.call, by, func(ctx context.Context, t *tx) error { return s.activate(ctx, t, login, address, hash) })
	if err != nil {
		return Record{}, err
	}
	return s.Get(ctx, login, address)
}

// tryCode counts a try, before anybody compares, and returns the code's hash if it was one of
// those that are allowed.
func (s *Store) tryCode(ctx context.Context, login, address string) (hash []byte, err error) {
	err = s.change(ctx, s.times.call, "", func(ctx context.Context, t *tx) error {
		if _, err := t.pending(ctx, login, address); err != nil {
			return err
		}
		err := t.QueryRowContext(ctx, t.kind.sql(`UPDATE codes SET tries = tries + 1
			WHERE login = $1 AND address = $2 AND tries < $3 AND expires > $4 RETURNING hash`),
			login, address, codeTries, t.at.UnixMicro()).Scan(&hash)
		if errors.Is(err, sql.ErrNoRows) {
			err = ErrCodeExpired
		}
		return err
	})
	return hash, err
}

// activate makes a record active whose code was right, unless there is a newer code.
func (s *Store) activate(ctx context.Context, t *tx, login, address string, hash []byte) error {
	was, err := t.pending(ctx, login, address)
	switch {
	case errors.Is(err, ErrActive):
		return nil // by the same code, at the same time
	case err != nil:
		return err
	}
	n, err := t.exec(ctx, "DELETE FROM codes WHERE login = $1 AND address = $2 AND hash = $3", login, address, hash)
	switch {
	case err != nil:
		return err
	case n == 0:
		return ErrCodeExpired
	}
	w := was
	w.State = Active.String()
	if err := s.giveSlot(ctx, t, &w); err != nil {
		return err
	}
	if err := t.touch(ctx, &was, &w); err != nil {
		return err
	}
	return t.note(ctx, Confirmed, login, address, "server "+server(&w))
}
