package config

import (
	"errors"
	"fmt"
	"slices"

	"gopkg.in/ini.v1"
)

// iniOptions make ini.v1 take values as they are written: no comments behind
// values, no continued lines, no quotes, no inheritance between sections.
var iniOptions = ini.LoadOptions{
	IgnoreContinuation:         true,
	IgnoreInlineComment:        true,
	PreserveSurroundedQuote:    true,
	AllowShadows:               true,
	AllowDuplicateShadowValues: true,
	AllowNonUniqueSections:     true,
	KeyValueDelimiters:         "=",
	ChildSectionDelimiter:      "\x00",
}

// crossCheck reads a file a second time, with ini.v1, and returns an error if it
// sees any other section, key or value than scan did. What two readers understand
// in the same way, the administrator's other tools do too. The error tells no value.
func crossCheck(data []byte, sections []*section) error {
	file, err := ini.LoadSources(iniOptions, withoutMark(data))
	if err != nil {
		// The error of ini.v1 repeats the line, which may hold a secret.
		return errors.New("the INI library can't read it")
	}
	// The first section is the library's own, for settings before any header.
	others := file.Sections()
	if len(others[0].Keys()) > 0 || len(others)-1 != len(sections) {
		return fmt.Errorf("the INI library sees %d sections instead of %d", len(others)-1, len(sections))
	}
	for i, sec := range sections {
		if err := sec.crossCheck(others[i+1]); err != nil {
			return fmt.Errorf("line %d: %w", sec.line, err)
		}
	}
	return nil
}

func (s *section) crossCheck(other *ini.Section) error {
	if other.Name() != s.header {
		return fmt.Errorf("the INI library sees another section than %s", quote(s.header))
	}
	values := make(map[string][]string)
	for _, set := range s.settings {
		values[set.key] = append(values[set.key], set.value)
	}
	keys := other.Keys()
	if len(keys) != len(values) {
		return fmt.Errorf("the INI library sees %d keys instead of %d", len(keys), len(values))
	}
	for _, key := range keys {
		if !sameValues(values[key.Name()], key) {
			return fmt.Errorf("the INI library sees another value of %s", quote(key.Name()))
		}
	}
	return nil
}

// sameValues compares all values of a key. It asks only for raw ones: the other
// methods of ini.Key expand %(name)s, and never return where two values name each other.
func sameValues(values []string, key *ini.Key) bool {
	if len(values) == 0 || values[0] != key.Value() {
		return false
	}
	// ValueWithShadows leaves out empty values.
	given := slices.DeleteFunc(slices.Clone(values), func(v string) bool { return v == "" })
	return slices.Equal(given, key.ValueWithShadows())
}
