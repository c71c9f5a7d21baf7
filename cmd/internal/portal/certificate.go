package portal

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"
)

// lookEvery is how often the files of a certificate are looked at.
const lookEvery = time.Second

// A keyPair is a certificate with its key, read again when the files change: certificates
// are renewed every few weeks, and nobody should have to think of it.
type keyPair struct {
	certificate, key string
	report           func(error)

	mu     sync.Mutex
	pair   *tls.Certificate
	seen   [2]fileState
	looked time.Time
}

// A fileState tells a file from what it was.
type fileState struct {
	changed time.Time
	size    int64
}

func loadKeyPair(certificate, key string, report func(error)) (*keyPair, error) {
	k := &keyPair{certificate: certificate, key: key, report: report}
	if err := k.load(); err != nil {
		return nil, fmt.Errorf("the portal's certificate can't be used: %w", err)
	}
	return k, nil
}

// load reads the files as they are now.
func (k *keyPair) load() error {
	k.looked, k.seen = time.Now(), k.states()
	pair, err := tls.LoadX509KeyPair(k.certificate, k.key)
	if err != nil {
		return err
	}
	k.pair = &pair
	return nil
}

func (k *keyPair) states() (states [2]fileState) {
	for i, name := range []string{k.certificate, k.key} {
		if info, err := os.Stat(name); err == nil {
			states[i] = fileState{info.ModTime(), info.Size()}
		}
	}
	return states
}

// get returns the certificate for a handshake: the last one that could be used.
func (k *keyPair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Since(k.looked) < lookEvery {
		return k.pair, nil
	}
	k.looked = time.Now()
	if k.states() != k.seen {
		if err := k.load(); err != nil {
			k.report(fmt.Errorf("the portal's new certificate can't be used, the one from before stays: %w", err))
		}
	}
	return k.pair, nil
}
