package identity

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
)

const (
	keySize = 32
	// maxKeyFile bounds a key file, in octets, and maxKeys its keys.
	maxKeyFile = 64 << 10
	maxKeys    = 100
)

// NewKey returns a new key, as a line of a key file.
func NewKey() string {
	secret := make([]byte, keySize)
	rand.Read(secret) // never fails
	return base64.StdEncoding.EncodeToString(secret)
}

const keyFileHead = `# Keys that encrypt the passwords of users' servers in gatemilter's database: the first
# encrypts, all decrypt. Keep a copy where the database's backup is not. To change the key,
# write a new one above the others, run gatemilter identities rekey, then remove the old.
`

// CreateKeyFile writes a file with a new key, which only its owner can read. It never
// replaces a file.
func CreateKeyFile(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return keyFileError(path, err)
	}
	_, err = f.WriteString(keyFileHead + NewKey() + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		os.Remove(path) // half a key must not be taken for one later
		return keyFileError(path, err)
	}
	return nil
}

// keyFileError says that a key file, as key_file names it, can't be used.
func keyFileError(path string, err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err // which names neither what was tried nor the path again
	}
	return fmt.Errorf("key_file %s: %w", path, err)
}

// parseKeys reads a key file: lines of base64, with 32 octets each. Lines that are empty or
// begin with # mean nothing. An error doesn't show what the line has.
func parseKeys(text string) ([][keySize]byte, error) {
	if len(text) > maxKeyFile {
		return nil, fmt.Errorf("it has more than %d octets, which no key file needs", maxKeyFile)
	}
	var keys [][keySize]byte
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		secret, err := base64.StdEncoding.Strict().DecodeString(line)
		switch {
		case err != nil || len(secret) != keySize:
			return nil, fmt.Errorf("line %d is no key: a key is 32 random octets in base64, as openssl rand -base64 32 writes them", n)
		case slices.Contains(keys, [keySize]byte(secret)):
			return nil, fmt.Errorf("line %d has a key that stands above already: remove one of them", n)
		case len(keys) == maxKeys:
			return nil, fmt.Errorf("there are more than %d keys: remove old ones after rekey", maxKeys)
		}
		keys = append(keys, [keySize]byte(secret))
	}
	if len(keys) == 0 {
		return nil, errors.New("it has no key: write one into it, as openssl rand -base64 32 makes them")
	}
	return keys, nil
}
