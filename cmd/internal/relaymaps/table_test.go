package relaymaps

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatemilter/cmd/internal/lab"
)

// odd are texts of tables, each of which postmap(1) reads too.
var odd = map[string]string{
	"usual":         "# comment\n\nalice@example.com [smtp.a.example]:587\nbob@example.com\t[b.example]\n",
	"continued":     "alice@example.com\n  [smtp.a.example]:587\n\tmore\n",
	"interrupted":   "alice@example.com\n# comment\n\n   # another\n  [smtp.a.example]:587\nbob@example.com x\n",
	"quoted":        "\"a b\"@x.example v \"w\" # no comment\nx\\ y z\n\"a \\\" b\" c\n",
	"case":          "Alice@EXAMPLE.com Value\n",
	"ends":          "alice@example.com   v  \t \r\nbob@example.com w",
	"twice":         "a@x.example 1\na@x.example 1\nA@x.example 2\n",
	"no value":      "alice@example.com\nbob@example.com x\n",
	"leading blank": " alice@example.com x\nbob@example.com y\n",
	"open quote":    "\"alice x\nbob@example.com y\n",
	"odd blanks":    "alice@example.com\vx\nbob@example.com\fy\n",
	"no-break":      "alice@example.com\u00a0x y\n",
	"empty":         "",
}

// A table reads as Postfix reads it: what it leaves out with a warning, we have a problem with.
func TestTablesReadAsPostmapReadsThem(t *testing.T) {
	if err := lab.NeedPostfix(t.Context(), t.Logf); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("main.cf", "compatibility_level = 3.6\n")
	for name, text := range odd {
		path := write("table", text)
		// It waits until a file is complete, which an old one is.
		if old := time.Now().Add(-time.Minute); os.Chtimes(path, old, old) != nil {
			t.Fatal("no times")
		}
		var out, warnings bytes.Buffer
		cmd := exec.CommandContext(t.Context(), "/usr/sbin/postmap", "-c", dir, "-s", "texthash:"+path)
		cmd.Stdout, cmd.Stderr = &out, &warnings
		if err := cmd.Run(); err != nil && out.Len()+warnings.Len() > 0 {
			t.Fatalf("%s: %v\n%s", name, err, warnings.String())
		}
		var want, got []string
		for line := range strings.Lines(out.String()) {
			want = append(want, strings.TrimSuffix(line, "\n"))
		}
		table, problems, err := Read(path, strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range table.Entries {
			got = append(got, e.Key+"\t"+e.Value)
		}
		slices.Sort(want)
		slices.Sort(got)
		// It warns of equal lines too.
		warned := strings.Contains(warnings.String(), "warning: ")
		if !slices.Equal(got, want) || len(problems) > 0 != warned {
			t.Errorf("%s: %q with problems %v; postmap has %q and says %s", name, got, problems, want, warnings.String())
		}
	}
}

// What can't be used is said with its line and what to do, and without the line, which may be a
// login.
func TestProblemsOfTables(t *testing.T) {
	for text, want := range map[string]string{
		"\n\nhunter2\n":            "t:3: it has a key and no value, or the other way round: write both, with a blank between them",
		"[h]:587: alice:hunter2\n": "t:1: its key ends with a colon, as in a file of aliases: write it without",
		"\"a hunter2\n":            `t:1: a quote in the key is not closed: close it, or write \" for one that is meant`,
		"# x\n hunter2\n":          "t:2: it begins with a blank, as what goes on with the line before, and there is none: remove the blank",
		"x y\nx z\n":               `t:2: "x" is in line 1 already, which is the one that Postfix uses: remove one of them`,
		"a hunter2\xff\n":          "t:1: it is not UTF-8 text: save the file as UTF-8",
		"a hunter2" + strings.Repeat("x", MaxLine):   "t:1: it has more than 65536 octets: shorten it",
		"a b\n" + strings.Repeat(" hunter2\n", 9000): "t:1: it has more than 65536 octets: shorten it",
	} {
		table, problems, err := Read("t", strings.NewReader(text))
		if err != nil || len(problems) != 1 || problems[0].Error() != want {
			t.Errorf("%.30q: %v, %v; want %s", text, problems, err, want)
		}
		if err == nil && len(table.Entries) > 1 {
			t.Errorf("%.30q: %+v", text, table.Entries)
		}
	}
	if _, _, err := Read("t", strings.NewReader("a\x00b c\n")); err == nil || err.Error() != "t: it is not text: name the file from which postmap made it, without .db or .lmdb" {
		t.Errorf("binary: %v", err)
	}
}

// A path may be written as in main.cf.
func TestOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "relayhosts")
	if err := os.WriteFile(path, []byte("a@x.example [h.example]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"", "hash:", "texthash:", "lmdb:"} {
		table, _, err := Open(kind + path)
		if err != nil || table.Name != path || len(table.Entries) != 1 {
			t.Errorf("%s: %+v, %v", kind, table, err)
		}
	}
	if _, _, err := Open("mysql:" + path); err == nil || !strings.Contains(err.Error(), "is no table in a text file") {
		t.Errorf("mysql: %v", err)
	}
	if _, _, err := Open(path + ".missing"); err == nil {
		t.Error("no error for a missing file")
	}
}
