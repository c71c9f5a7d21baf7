package config

import (
	"fmt"
	"slices"
	"strings"
)

// checkStructure compares the sections of one file with the schema, and with the
// sections of the files before it. It looks at no value.
func (l *loader) checkStructure(sections []*section) {
	for _, sec := range sections {
		// The header of a section without kind has its problem already.
		if sec.kind == "" {
			continue
		}
		spec, ok := definition(sec.kind)
		if !ok {
			l.fail(Problem{File: sec.file, Line: sec.line, Text: "unknown section " + quote("["+sec.header+"]") + knownSections(sec.kind)})
			continue
		}
		l.checkName(spec, sec)
		l.checkSections(spec, sec)
		f := fields{&l.report, spec, sec}
		f.checkKeys()
		f.checkRequired()
	}
}

func knownSections(kind string) string {
	if hint := similar(kind, sectionNames()); hint != "" {
		spec, _ := definition(hint)
		return fmt.Sprintf("; did you mean [%s]?", spec.Title())
	}
	var titles []string
	for _, spec := range schema {
		titles = append(titles, "["+spec.Title()+"]")
	}
	return ": there are " + strings.Join(titles, ", ")
}

func (l *loader) checkName(spec SectionSpec, sec *section) {
	fail := func(format string, args ...any) {
		l.fail(Problem{File: sec.file, Line: sec.line, Section: sec.title(), Text: fmt.Sprintf(format, args...)})
	}
	switch {
	case spec.NameForm != "":
		if err := sec.checkName(); err != nil {
			fail("%s", err)
		}
	case spec.Named && sec.name == "":
		fail("the section has no name: write [%s], with a name of your choice", spec.Title())
	case spec.Named && !isName(sec.name):
		fail("%s is no name for a section: write at most %d letters, digits, points, - and _, without quotes", quote(sec.name), maxName)
	case !spec.Named && sec.name != "":
		fail("the section takes no name: write [%s] instead of %s", spec.Name, quote("["+sec.header+"]"))
	}
}

// checkSections finds sections that are given twice, in one file or in two.
func (l *loader) checkSections(spec SectionSpec, sec *section) {
	if l.seen == nil {
		l.seen = make(map[string]*section)
	}
	id := sec.id()
	first, twice := l.seen[id]
	if !twice {
		l.seen[id] = sec
		return
	}
	text := fmt.Sprintf("the section is given twice, first at %s:%d: write all its settings there", first.file, first.line)
	if spec.Named && spec.NameForm == "" {
		text += ", or choose another name"
	}
	l.fail(Problem{File: sec.file, Line: sec.line, Section: sec.title(), Text: text})
}

func (f fields) checkKeys() {
	for _, set := range f.sec.settings {
		first, _ := f.sec.first(set.key)
		key, known := f.spec.key(set.key)
		switch {
		case !known:
			f.fail(f.at(set.line, "", "unknown key "+quote(set.key)+f.knownKeys(set.key)))
		case first.line != set.line:
			f.fail(f.at(set.line, set.key, fmt.Sprintf("the key is given twice, first at line %d: write it once%s", first.line, listHint(key))))
		case set.value == "":
			f.fail(f.at(set.line, set.key, "the key has no value: write one, "+emptyHint(key)))
		}
	}
}

func (f fields) knownKeys(key string) string {
	if best := f.endsWith(key); best != "" {
		return "; did you mean " + quote(best) + "?"
	}
	if section := home(key); section != "" {
		return fmt.Sprintf(": it belongs in [%s]", section)
	}
	if best := similar(key, f.spec.keyNames()); best != "" {
		return "; did you mean " + quote(best) + "?"
	}
	return ": there are " + strings.Join(f.spec.keyNames(), ", ")
}

// endsWith returns the only key that ends with the words of another one, as submission_tls does with
// tls, or "".
func (f fields) endsWith(key string) (found string) {
	for _, name := range f.spec.keyNames() {
		if !strings.HasSuffix(name, "_"+fold(key)) {
			continue
		}
		if found != "" {
			return ""
		}
		found = name
	}
	return found
}

func listHint(key KeySpec) string {
	if isList(key) {
		return ", with commas between the values"
	}
	return ""
}

func isList(key KeySpec) bool {
	return slices.Contains([]string{kindSockets, kindNetworks, kindDomains, kindHosts, kindAddresses, kindMilters, kindPorts}, key.Kind)
}

func emptyHint(key KeySpec) string {
	switch {
	case key.Required:
		return "for example " + key.Example
	case key.Default != "":
		return "or remove the line for the default, " + key.Default
	}
	return "or remove the line"
}

func (f fields) checkRequired() {
	for _, key := range f.spec.Keys {
		if _, given := f.sec.first(key.Name); key.Required && !given && !f.misspelled(key.Name) {
			f.fail(f.at(f.sec.line, key.Name, fmt.Sprintf("the key is missing: write %s = … into this section, for example %s", key.Name, key.Example)))
		}
	}
}

// misspelled says whether a key has a problem already, because it is written otherwise.
func (f fields) misspelled(name string) bool {
	return slices.ContainsFunc(f.sec.settings, func(set setting) bool {
		_, known := f.spec.key(set.key)
		return !known && home(set.key) == "" && similar(set.key, f.spec.keyNames()) == name
	})
}

// checkNeeds finds keys that have no effect because another one is not set.
func (f fields) checkNeeds() {
	for _, key := range f.spec.Keys {
		if !f.given(key.Name) || !f.set(key) {
			continue
		}
		switch missing, ok := f.missing(key); {
		case !ok:
		case f.given(missing.Name):
			f.problem(key.Name, "this has no effect with %s = %s (line %d): remove one of them", missing.Name, f.text(missing.Name), f.line(missing.Name))
		default:
			f.problem(key.Name, "this has no effect alone: write %s too, as in %s = %s, or remove this line", missing.Name, missing.Name, missing.Example)
		}
	}
}

// missing returns the key that a key needs, directly or not, and that is not set.
func (f fields) missing(key KeySpec) (KeySpec, bool) {
	for {
		needed, ok := f.spec.key(key.Needs)
		if !ok || !f.set(needed) {
			return needed, ok
		}
		key = needed
	}
}

// set says whether a key has a value other than no.
func (f fields) set(key KeySpec) bool {
	if key.Kind == kindBool {
		// What is neither yes nor no has a problem of its own.
		yes, ok := truth(f.text(key.Name))
		return yes || !ok
	}
	return f.text(key.Name) != ""
}
