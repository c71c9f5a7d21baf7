package main

import (
	"os"
	"path/filepath"
	"testing"

	"gatemilter/cmd/internal/lab"
)

// startPostfix starts a Postfix for one test, which shows its log if it fails.
func startPostfix(t testing.TB, c lab.Config) *lab.Postfix {
	t.Helper()
	if err := lab.NeedPostfix(t.Context(), t.Logf); err != nil {
		t.Fatal(err)
	}
	p, err := lab.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("maillog:\n%s", p.Log())
		}
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// writeCA returns the path of a file with the authority's certificate.
func writeCA(t testing.TB, ca *lab.CA) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, ca.PEM(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
