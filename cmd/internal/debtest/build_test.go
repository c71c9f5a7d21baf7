package debtest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
)

// built is where the package of this test binary is; the first test that needs it builds it.
var built struct {
	sync.Once
	dir string
	deb string
}

func TestMain(m *testing.M) {
	status := m.Run()
	os.RemoveAll(built.dir)
	os.Exit(status)
}

// build returns the path of the package that "make deb" makes of these sources.
func build(t *testing.T) string {
	t.Helper()
	needTools(t)
	built.Do(func() {
		var err error
		if built.dir, err = os.MkdirTemp("", "debtest"); err != nil {
			t.Fatal(err)
		}
		cmd := command(t, "make", "deb", "DEB_OUTPUT="+built.dir)
		cmd.Dir = "../../.."
		run(t, cmd)
		debs, err := filepath.Glob(filepath.Join(built.dir, "*.deb"))
		if err != nil || len(debs) != 1 {
			t.Fatalf("make deb made %q, %v; want one package", debs, err)
		}
		built.deb = debs[0]
	})
	if built.deb == "" {
		t.Fatal("there is no package: see the test that built it first")
	}
	return built.deb
}

// later returns a copy of a package with a suffix to its version, and with what edit changes in its unpacked tree.
func later(t *testing.T, deb, suffix string, edit func(tree string)) string {
	t.Helper()
	dir := t.TempDir()
	tree, result := filepath.Join(dir, "tree"), filepath.Join(dir, "later.deb")
	run(t, command(t, "dpkg-deb", "--raw-extract", deb, tree))
	control := filepath.Join(tree, "DEBIAN", "control")
	text, err := os.ReadFile(control)
	if err != nil {
		t.Fatal(err)
	}
	text = regexp.MustCompile(`(?m)^Version: .*`).ReplaceAll(text, []byte("${0}"+suffix))
	if err := os.WriteFile(control, text, 0o644); err != nil {
		t.Fatal(err)
	}
	if edit != nil {
		edit(tree)
	}
	run(t, command(t, "dpkg-deb", "-Znone", "--build", tree, result))
	return result
}

// command is a command on this machine, that ends with the test.
func command(t *testing.T, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive")
	return cmd
}

// run returns what a command prints, of which the test fails if the command does.
func run(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%q: %v\n%s", cmd.Args, err, out.String())
	}
	return out.String()
}
