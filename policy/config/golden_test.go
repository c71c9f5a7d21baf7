package config_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatemilter/policy/config"
)

const testdata = "../../testdata/config"

// inCopy makes a copy of a testdata directory the current one, and returns the
// path of the original. The files in the copy can be read by their owner only, whatever
// they were checked out with.
func inCopy(t *testing.T, name string) (from string) {
	t.Helper()
	from, err := filepath.Abs(filepath.Join(testdata, name))
	if err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	err = fs.WalkDir(os.DirFS(from), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(from, path))
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Join(to, filepath.Dir(path)), 0o700); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, path), data, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(to)
	return from
}

// cases returns the names of all NAME.conf in the current directory, each of which
// has an expectation beside it, and the reverse.
func cases(t *testing.T, expectation string) []string {
	t.Helper()
	var names []string
	for _, pair := range [][2]string{{".conf", expectation}, {expectation, ".conf"}} {
		files, err := filepath.Glob("*" + pair[0])
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			name := strings.TrimSuffix(file, pair[0])
			if _, err := os.Stat(name + pair[1]); err != nil {
				t.Errorf("%s has no %s beside it", file, name+pair[1])
			} else if pair[0] == ".conf" {
				names = append(names, name)
			}
		}
	}
	return names
}

// compareFile compares with an expectation. UPDATE_GOLDEN=1 writes it anew: read
// the difference before you keep it.
func compareFile(t *testing.T, name, got string) {
	t.Helper()
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\n%s\nwant:\n%s", name, got, want)
	}
}

// S2: each bad file is refused with all its errors, and with no others.
func TestBadFiles(t *testing.T) {
	original := inCopy(t, "bad")
	names := cases(t, ".err")
	if len(names) < 100 {
		t.Errorf("%d cases, want at least 100", len(names))
	}
	for _, name := range names {
		c, err := config.Load(name + ".conf")
		if err == nil {
			t.Errorf("%s.conf is accepted:\n%s", name, c)
			continue
		}
		compareFile(t, filepath.Join(original, name+".err"), err.Error()+"\n")
	}
}

// Each good file is read as its expectation says: the warnings, then what is in
// force.
func TestGoodFiles(t *testing.T) {
	original := inCopy(t, "good")
	for _, name := range cases(t, ".out") {
		c, err := config.Load(name + ".conf")
		if err != nil {
			t.Errorf("%s.conf is refused:\n%v", name, err)
			continue
		}
		compareFile(t, filepath.Join(original, name+".out"), show(c))
	}
}

func show(c *config.Config) string {
	var b strings.Builder
	for _, w := range c.Warnings {
		b.WriteString(w.Warning() + "\n")
	}
	b.WriteString(c.String())
	return b.String()
}
