package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Limits of configuration files.
const (
	// maxFileSize is the size of the largest file in octets.
	maxFileSize = 1 << 20
	// maxIncludes is the number of files that may be included.
	maxIncludes = 256
)

// Load reads the configuration in the file path, and in the files that it
// includes, and looks whether the certificates that it names can be used. The error
// is of type [Errors] and holds all that is wrong; warnings come only with a
// configuration.
func Load(path string) (*Config, error) {
	l := &loader{opensFiles: true}
	data, err := readFile(path)
	if err != nil {
		return nil, Errors{{File: path, Text: err.Error()}}
	}
	l.add(path, data)
	l.checkSecrecy(path)
	if set, ok := l.include(path); ok {
		l.addMatches(path, set)
	}
	return l.config()
}

// Parse reads a configuration from data; problems name its file as name. It
// opens no files: an include is an error, and certificates are not looked at. The
// error is of type [Errors] and holds all that is wrong.
func Parse(name string, data []byte) (*Config, error) {
	l := &loader{}
	l.add(name, data)
	if set, ok := l.include(name); ok {
		l.fail(l.includeProblem(name, set, "other files can't be included here: write their sections into this one"))
	}
	return l.config()
}

// A loader collects the sections of all files, and what is wrong with them.
type loader struct {
	report
	// opensFiles says whether the files that settings name may be read.
	opensFiles bool
	files      []string
	sections   []*section
	// seen holds the first section of each kind and name, in lower case.
	seen map[string]*section
}

// add takes up the text of a file.
func (l *loader) add(name string, data []byte) {
	l.files = append(l.files, name)
	if len(data) > maxFileSize {
		l.fail(Problem{File: name, Text: tooLarge})
		return
	}
	before := l.failures
	sections := scan(&l.report, name, data)
	l.checkStructure(sections)
	l.sections = append(l.sections, sections...)
	if l.failures > before {
		return
	}
	if err := crossCheck(data, sections); err != nil {
		l.fail(Problem{File: name, Text: fmt.Sprintf("internal error: %v; the file is refused, because it could mean two things", err)})
	}
}

var tooLarge = fmt.Sprintf("the file is larger than %d octets: split it with include", maxFileSize)

// checkSecrecy refuses a file with secrets in it that every user can read.
func (l *loader) checkSecrecy(path string) {
	info, err := os.Stat(path)
	if err != nil || info.Mode()&0o004 == 0 {
		return
	}
	for _, sec := range l.sections {
		spec, _ := definition(sec.kind)
		for _, set := range sec.settings {
			if key, _ := spec.key(set.key); key.Secret && sec.file == path {
				l.fail(Problem{File: path, Line: set.line, Section: sec.title(), Key: set.key, Text: "every user of this host can read the secret: run chmod o= " + path})
			}
		}
	}
}

// include returns the setting include of a file, and whether it has one.
func (l *loader) include(file string) (setting, bool) {
	for _, sec := range l.sections {
		if sec.file != file || sec.kind != serverSection {
			continue
		}
		if set, ok := sec.first(includeKey); ok && set.value != "" {
			return set, true
		}
	}
	return setting{}, false
}

func (l *loader) includeProblem(file string, set setting, text string) Problem {
	return Problem{File: file, Line: set.line, Section: serverSection, Key: includeKey, Text: text}
}

// addMatches takes up the files that an include means.
func (l *loader) addMatches(main string, set setting) {
	fail := func(err error) { l.fail(l.includeProblem(main, set, err.Error())) }
	paths, err := matches(filepath.Dir(main), set.value)
	if err != nil {
		fail(err)
		return
	}
	for _, path := range paths {
		if sameFile(path, main) {
			fail(fmt.Errorf("%s matches this file itself: move the others into a directory of their own", quote(set.value)))
			continue
		}
		data, err := readFile(path)
		if err != nil {
			fail(fmt.Errorf("%s %w", quote(path), err))
			continue
		}
		l.add(path, data)
		l.checkSecrecy(path)
		if inner, ok := l.include(path); ok {
			l.fail(l.includeProblem(path, inner, fmt.Sprintf("an included file can't include others: write it at %s:%d", main, set.line)))
		}
	}
}

// matches returns the paths that a pattern means, in the order of their names. A
// relative pattern starts from dir. Wildcards mean no hidden files, as in a shell.
func matches(dir, pattern string) ([]string, error) {
	if _, quoted := unquote(pattern); quoted || strings.ContainsAny(pattern, ", \t") {
		return nil, fmt.Errorf("%s is not one path or pattern: %s", quote(pattern), hintFor(pattern, "put the files into one directory and write DIRECTORY/*.conf"))
	}
	path := pattern
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	parent, name := filepath.Split(path)
	parent = filepath.Clean(parent)
	if hasWildcard(filepath.Dir(pattern)) {
		return nil, fmt.Errorf("%s has a wildcard in a directory: only the file name may have one", quote(pattern))
	}
	if !hasWildcard(name) {
		return []string{path}, nil
	}
	if _, err := filepath.Match(name, ""); err != nil {
		return nil, fmt.Errorf("%s is no file pattern: close the [, or write \\[", quote(pattern))
	}
	entries, err := os.ReadDir(parent)
	if err != nil {
		return nil, fmt.Errorf("directory %s can't be read: %w; create it, or remove this line", quote(parent), cause(err))
	}
	var paths []string
	for _, entry := range entries {
		// The pattern is good, so there is no error.
		if ok, _ := filepath.Match(name, entry.Name()); ok && !strings.HasPrefix(entry.Name(), ".") {
			paths = append(paths, filepath.Join(parent, entry.Name()))
		}
	}
	if len(paths) > maxIncludes {
		return nil, fmt.Errorf("%s matches %d files: at most %d can be included", quote(pattern), len(paths), maxIncludes)
	}
	return paths, nil
}

func hasWildcard(s string) bool { return strings.ContainsAny(s, `*?[\`) }

func sameFile(a, b string) bool {
	first, err1 := os.Stat(a)
	second, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(first, second)
}

// readFile reads a regular file of at most maxFileSize octets. Of a larger one, it
// returns one octet more. The error does not name the path.
func readFile(path string) ([]byte, error) {
	// A pipe would make Open wait for its other end.
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is no regular file")
	}
	if err != nil {
		return nil, unreadable(err)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, unreadable(err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxFileSize+1))
	if err != nil {
		return nil, unreadable(err)
	}
	return data, nil
}

func unreadable(err error) error {
	hint := "check the path"
	if errors.Is(err, fs.ErrPermission) {
		hint = "let gatemilter's user read it, and enter the directories above it"
	}
	return fmt.Errorf("can't be read: %w; %s", cause(err), hint)
}

// cause is an error of the operating system without the path, which the problem
// shows in its own way.
func cause(err error) error {
	if pathError, ok := errors.AsType[*fs.PathError](err); ok {
		return pathError.Err
	}
	return err
}
