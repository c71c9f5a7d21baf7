package lab

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A DKIMKey is a private key as PEM, and the TXT record with the public one as a line of a zone.
type DKIMKey struct{ Private, Record string }

// NewRSAKey makes a key with OpenDKIM's own tool, of the package opendkim-tools, which it installs if need be.
func NewRSAKey(ctx context.Context, domain, selector string, bits int) (DKIMKey, error) {
	if err := NeedPackages(ctx, func(string, ...any) {}, "opendkim-tools"); err != nil {
		return DKIMKey{}, err
	}
	dir, err := os.MkdirTemp("", "lab-dkim-")
	if err != nil {
		return DKIMKey{}, err
	}
	defer os.RemoveAll(dir)
	err = run(command(ctx, program("opendkim-genkey"), "--bits="+strconv.Itoa(bits), "--domain="+domain, "--selector="+selector,
		"--append-domain", "--directory="+dir), nil)
	if err != nil {
		return DKIMKey{}, err
	}
	private, err := os.ReadFile(filepath.Join(dir, selector+".private"))
	if err != nil {
		return DKIMKey{}, err
	}
	record, err := os.ReadFile(filepath.Join(dir, selector+".txt"))
	return DKIMKey{string(private), strings.Join(strings.Fields(string(record)), " ")}, err
}

// NewEd25519Key makes a key of RFC 8463, of which the tool knows nothing.
func NewEd25519Key(domain, selector string) (DKIMKey, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return DKIMKey{}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return DKIMKey{}, err
	}
	return DKIMKey{
		Private: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		Record:  fmt.Sprintf("%s._domainkey.%s TXT %q", selector, domain, "v=DKIM1; k=ed25519; p="+base64.StdEncoding.EncodeToString(public)),
	}, nil
}
