package config

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// caFile reads the path of a file with certificates. The file itself is looked at
// by checkCAFiles.
func (f fields) caFile() string {
	path := f.text(caFileKey)
	switch {
	case path == "":
	case hintFor(path, "") != "":
		f.problem(caFileKey, "%s is no path: %s", quote(path), hintFor(path, ""))
	case !filepath.IsAbs(path):
		f.problem(caFileKey, "%s is no absolute path: begin it with /, as in /etc/gatemilter/relay-ca.pem", quote(path))
	case filepath.Clean(path) != path:
		f.problem(caFileKey, "%s is not written plainly: write %s", quote(path), quote(filepath.Clean(path)))
	}
	return path
}

// checkCAFiles looks whether the certificates of each route can be used.
func checkCAFiles(routes []*route) {
	for _, r := range routes {
		path := r.TLS.CAFile
		if !r.TLS.CA || !filepath.IsAbs(path) {
			continue // there is none, or it has its problem already
		}
		data, err := readFile(path)
		if err == nil {
			err = checkCertificates(data)
		}
		if err != nil {
			r.problem(caFileKey, "%s %s", quote(path), err)
		}
	}
}

// checkCertificates takes PEM (RFC 7468) with certificates in it. Other text, and
// other PEM blocks, may be there too.
func checkCertificates(data []byte) error {
	if len(data) > maxFileSize {
		return fmt.Errorf("is larger than %d octets: write only the authorities into it that this route needs", maxFileSize)
	}
	found := 0
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return errors.New("has a private key in it, which does not belong there: write only certificates into it")
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		found++
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return fmt.Errorf("has a certificate, number %d, that can't be read: %w; get it again from its authority", found, err)
		}
	}
	if found == 0 {
		return errors.New("has no certificate in PEM form (-----BEGIN CERTIFICATE-----): convert it with openssl x509 -inform der")
	}
	return nil
}
