package identity

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/crypto/chacha20poly1305"

	"gatemilter/policy"
)

// A Keyring encrypts the passwords of users' servers (XChaCha20-Poly1305) with the keys of
// a file: the first encrypts, all decrypt. It looks into the file again where that has
// changed, so that a new key needs no restart.
//
// What is encrypted is bound to the user, the address and the server: who can write the
// database, but has no key, can't move a password to another row, or have it sent to
// another host.
//
//	octet  1      the version, 1
//	octets 2–5    which key: the beginning of the key's SHA-256
//	octets 6–29   the nonce
//	the rest      the password, filled up with NUL to hide its length, and the tag
//
// A nil Keyring has no keys.
type Keyring struct {
	path string

	mu    sync.Mutex
	keys  []key
	seen  os.FileInfo // of the file as it was when it was last read
	loads int         // how often it was read well
}

// A key is one of the file's, made into one for each purpose (HKDF, RFC 5869).
type key struct {
	id       keyID
	password cipher.AEAD
	code     *[sha256.Size]byte // a pointer, as fmt does not follow it
}

type keyID [4]byte

// The layout of a sealed password.
const (
	sealVersion = 1
	sealHeader  = 1 + len(keyID{})
	sealPadding = 32
)

var errNoKeys = errors.New("there is no key file that can be read")

// LoadKeyring reads a key file: see [CreateKeyFile]. It refuses one that every user of the
// host can read. The keyring that comes with an error has no keys as long as the file has not
// been corrected.
func LoadKeyring(path string) (*Keyring, error) {
	k := &Keyring{path: path}
	return k, k.load()
}

// load reads the file. Where that fails, the keys stay as they are.
func (k *Keyring) load() error {
	f, err := os.Open(k.path)
	if err != nil {
		return keyFileError(k.path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return keyFileError(k.path, err)
	case info.Mode()&0o004 != 0:
		return fmt.Errorf("key file %q can be read by every user of this host: run chmod o= on it", k.path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return keyFileError(k.path, err)
	}
	secrets, err := parseKeys(string(text))
	if err != nil {
		return fmt.Errorf("key file %q: %w", k.path, err)
	}
	keys := make([]key, len(secrets))
	for i, s := range secrets {
		if keys[i], err = newKey(s); err != nil {
			return fmt.Errorf("key file %q: %w", k.path, err)
		}
	}
	k.keys, k.seen = keys, info
	k.loads++
	return nil
}

func newKey(secret [keySize]byte) (key, error) {
	digest := sha256.Sum256(secret[:])
	k := key{id: keyID(digest[:len(keyID{})])}
	password, err1 := hkdf.Key(sha256.New, secret[:], nil, "gatemilter identity password", chacha20poly1305.KeySize)
	code, err2 := hkdf.Key(sha256.New, secret[:], nil, "gatemilter identity code", sha256.Size)
	aead, err3 := chacha20poly1305.NewX(password)
	k.password, k.code = aead, (*[sha256.Size]byte)(code)
	return k, errors.Join(err1, err2, err3)
}

// refresh reads the file again if it is not the one that was read, and says whether it is
// another now.
func (k *Keyring) refresh() bool {
	if k.keys == nil { // whose permissions may be what was wrong
		return k.load() == nil
	}
	info, err := os.Stat(k.path)
	if err != nil || os.SameFile(info, k.seen) && info.ModTime().Equal(k.seen.ModTime()) && info.Size() == k.seen.Size() {
		return false
	}
	k.seen = info // one that can't be read is tried again when it has changed once more
	return k.load() == nil
}

// loaded is how often the file was read well. It looks whether the file has changed.
func (k *Keyring) loaded() int {
	if k == nil {
		return 0
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refresh()
	return k.loads
}

// first returns the key that encrypts.
func (k *Keyring) first() (key, error) {
	if k == nil {
		return key{}, errNoKeys
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refresh()
	if k.keys == nil {
		return key{}, errNoKeys
	}
	return k.keys[0], nil
}

// find returns the key of that id.
func (k *Keyring) find(id keyID) (key, error) {
	if k == nil {
		return key{}, errNoKeys
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for again := true; again; again = k.refresh() {
		for _, key := range k.keys {
			if key.id == id {
				return key, nil
			}
		}
	}
	if k.keys == nil {
		return key{}, errNoKeys
	}
	return key{}, fmt.Errorf("the key file has no key %x", id)
}

// seal encrypts a password for the row.
func (k *Keyring) seal(w *row, password policy.Secret) ([]byte, error) {
	key, err := k.first()
	if err != nil {
		return nil, err
	}
	text := []byte(password.Reveal())
	text = append(text, make([]byte, (sealPadding-len(text)%sealPadding)%sealPadding)...)
	sealed := append([]byte{sealVersion}, key.id[:]...)
	nonce := make([]byte, key.password.NonceSize())
	rand.Read(nonce) // never fails
	sealed = append(sealed, nonce...)
	return key.password.Seal(sealed, nonce, text, binding(sealed[:sealHeader], w)), nil
}

// open decrypts the password of a row.
func (k *Keyring) open(w *row) (policy.Secret, error) {
	if len(w.Password) < sealHeader+chacha20poly1305.NonceSizeX || w.Password[0] != sealVersion {
		return policy.Secret{}, errors.New("it is not one that was encrypted here")
	}
	key, err := k.find(keyID(w.Password[1:sealHeader]))
	if err != nil {
		return policy.Secret{}, err
	}
	header, rest := w.Password[:sealHeader], w.Password[sealHeader:]
	nonce, text := rest[:chacha20poly1305.NonceSizeX], rest[chacha20poly1305.NonceSizeX:]
	plain, err := key.password.Open(nil, nonce, text, binding(header, w))
	if err != nil {
		return policy.Secret{}, errors.New("it was encrypted for another user, address or server, or was tampered with")
	}
	return policy.NewSecret(strings.TrimRight(string(plain), "\x00")), nil
}

// current says whether a password is encrypted with the first key.
func (k *Keyring) current(w *row) bool {
	key, err := k.first()
	return err == nil && len(w.Password) >= sealHeader && w.Password[0] == sealVersion && keyID(w.Password[1:sealHeader]) == key.id
}

// binding is the associated data of a password: what it is for. Lengths stand before the
// parts, so that no two rows have the same.
func binding(header []byte, w *row) []byte {
	b := append([]byte{}, header...)
	for _, part := range []string{w.Login, w.Address, w.Host, fmt.Sprint(w.Port), w.TLS, w.Username} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(part)))
		b = append(b, part...)
	}
	return b
}

// hashCode returns what is stored of a code: which key, and the code's HMAC under it, bound
// to user and address.
func (k *Keyring) hashCode(login, address, code string) ([]byte, error) {
	key, err := k.first()
	if err != nil {
		return nil, err
	}
	return append(key.id[:], codeMAC(key, login, address, code)...), nil
}

// checkCode compares a code with a stored hash, in constant time.
func (k *Keyring) checkCode(hash []byte, login, address, code string) error {
	if len(hash) != len(keyID{})+sha256.Size {
		return ErrCodeExpired // nobody but a store writes there
	}
	key, err := k.find(keyID(hash[:len(keyID{})]))
	if err != nil {
		return ErrCodeExpired
	}
	if !hmac.Equal(hash[len(keyID{}):], codeMAC(key, login, address, code)) {
		return ErrWrongCode
	}
	return nil
}

func codeMAC(k key, login, address, code string) []byte {
	mac := hmac.New(sha256.New, k.code[:])
	for _, part := range []string{login, address, code} {
		mac.Write(binary.BigEndian.AppendUint32(nil, uint32(len(part))))
		io.WriteString(mac, part)
	}
	return mac.Sum(nil)
}

// String and GoString show no keys.
func (*Keyring) String() string   { return policy.SecretMask }
func (*Keyring) GoString() string { return policy.SecretMask }
