package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// layers says which of our packages each package may import: policy decides, milter
// talks to the mail server, cmd is the program. "all" is everything.
var layers = map[string]string{
	"policy/received":          "",
	"policy":                   "policy/received",
	"policy/config":            "policy",
	"policy/identity":          "policy",
	"policy/auth/dns":          "",
	"policy/auth/dnstest":      "",
	"policy/auth/spf":          "policy",
	"policy/auth/dkim":         "policy",
	"policy/auth/dmarc":        "policy",
	"policy/auth/authres":      "policy",
	"policy/auth":              "policy policy/auth/dns policy/auth/spf policy/auth/dkim policy/auth/dmarc policy/auth/authres",
	"milter":                   "policy milter/accept",
	"milter/accept":            "",
	"milter/accept/accepttest": "",
	"milter/lookup":            "milter/accept",
	"milter/tlsprobe":          "policy",
	"cmd/internal/lab":         "",
	"cmd/internal/lab/browser": "cmd/internal/lab",
	"cmd/internal/labpostgres": "cmd/internal/lab",
	"cmd/internal/web":         "",
	"cmd/internal/visible":     "",
	"cmd/internal/admin":       "milter milter/accept milter/lookup policy policy/auth/dns policy/config cmd/internal/visible cmd/internal/web",
	"cmd/internal/portal":      "milter/tlsprobe policy policy/config policy/identity cmd/internal/visible cmd/internal/web",
	"cmd/internal/relaymaps":   "policy policy/config policy/identity",
	"cmd/internal/daemon":      "all",
	"cmd/internal/demo":        "all",
	"cmd/internal/postfix":     "policy policy/config cmd/internal/daemon",
	"cmd/internal/sendmail":    "milter milter/tlsprobe policy policy/config",
	"cmd/internal/verify":      "policy milter/tlsprobe",
	"cmd/internal/doctor":      "all",
	"cmd/internal/manual":      "policy policy/config",
	"cmd/gatemilter":           "all",
}

// pure are the packages that have no effects: no files, network, clock, chance or
// log of their own.
var (
	pure    = []string{"policy", "policy/received", "policy/auth/authres"}
	effects = []string{"os", "net", "net/http", "time", "math/rand", "math/rand/v2", "log", "log/slog", "go.uber.org/zap"}
)

func TestImports(t *testing.T) {
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		pkg := filepath.ToSlash(must(filepath.Rel(root, filepath.Dir(path))))
		allowed, known := layers[pkg]
		if !known {
			t.Errorf("%s: the package is not in the list of layers", path)
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			name := must(strconv.Unquote(spec.Path.Value))
			ours, isOurs := strings.CutPrefix(name, "gatemilter/")
			switch {
			case isOurs && allowed != "all" && !slices.Contains(strings.Fields(allowed), ours):
				t.Errorf("%s imports %s", path, name)
			case slices.Contains(pure, pkg) && slices.Contains(effects, name):
				t.Errorf("%s imports %s: decisions have no effects", path, name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
