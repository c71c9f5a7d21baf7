package sendmail

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// The files in Sendmail's directory.
const (
	m4Name = "gatemilter.m4"
	mcName = "sendmail.mc"
)

// A Directory is where Sendmail's configuration is made, most often /etc/mail.
type Directory string

func (d Directory) m4() string { return filepath.Join(string(d), m4Name) }
func (d Directory) mc() string { return filepath.Join(string(d), mcName) }

// include is the line of sendmail.mc.
func (d Directory) include() string { return "include(`" + d.m4() + "')dnl\n" }

// Apply writes the m4 file, has sendmail.mc include it in its last line, to which an include
// further above is moved, and returns the names of the files that it has changed.
func (d Directory) Apply(text string) (changed []string, err error) {
	mc, err := d.readMC()
	if err != nil {
		return nil, err
	}
	if old, err := os.ReadFile(d.m4()); err != nil || string(old) != text {
		if err := replace(d.m4(), text); err != nil {
			return nil, err
		}
		changed = append(changed, d.m4())
	}
	without, n := d.withoutInclude(mc)
	if n == 1 && d.behind(mc) == "" {
		return changed, nil
	}
	if !strings.HasSuffix(without, "\n") {
		without += "\n"
	}
	return append(changed, d.mc()), replace(d.mc(), without+d.include())
}

// Remove undoes Apply.
func (d Directory) Remove() (changed []string, err error) {
	mc, err := d.readMC()
	if err != nil {
		return nil, err
	}
	if without, n := d.withoutInclude(mc); n > 0 {
		if err := replace(d.mc(), without); err != nil {
			return nil, err
		}
		changed = append(changed, d.mc())
	}
	err = os.Remove(d.m4())
	if errors.Is(err, fs.ErrNotExist) {
		return changed, nil
	}
	return append(changed, d.m4()), err
}

// withoutInclude takes our lines out of the text of sendmail.mc, and says how many there were. One
// behind dnl is none.
func (d Directory) withoutInclude(mc string) (without string, n int) {
	var b strings.Builder
	for line := range strings.Lines(mc) {
		if strings.TrimSpace(line) == strings.TrimSpace(d.include()) {
			n++
			continue
		}
		b.WriteString(line)
	}
	return b.String(), n
}

// Behind is the first line of sendmail.mc behind our include, which may undo what that sets. Comments
// count for nothing; it is "" where there is none, or no such file.
func (d Directory) Behind() string {
	mc, err := d.readMC()
	if err != nil {
		return ""
	}
	return d.behind(mc)
}

func (d Directory) behind(mc string) string {
	included := false
	for line := range strings.Lines(mc) {
		line = strings.TrimSpace(line)
		switch {
		case line == strings.TrimSpace(d.include()):
			included = true
		case included && line != "" && !strings.HasPrefix(line, "dnl") && !strings.HasPrefix(line, "#"):
			return line
		}
	}
	return ""
}

func (d Directory) readMC() (string, error) {
	text, err := os.ReadFile(d.mc())
	if err != nil {
		return "", fmt.Errorf("%w; name the directory of Sendmail's sendmail.mc with --sendmail-config, or install Sendmail", err)
	}
	return string(text), nil
}

// replace gives a file another text, wholly or not at all, and keeps its mode.
func replace(path, text string) error {
	mode := fs.FileMode(0o644)
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once it is renamed
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
