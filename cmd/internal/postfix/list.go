package postfix

import (
	"slices"
	"strings"
)

// elements splits a list as Postfix does: at commas and blanks, but not within braces.
func elements(list string) []string {
	var found []string
	depth, start := 0, 0
	for i, r := range list + "," {
		switch {
		case r == '{':
			depth++
		case r == '}':
			depth--
		case depth <= 0 && strings.ContainsRune(", \t\n", r):
			if i > start {
				found = append(found, list[start:i])
			}
			start = i + 1
		}
	}
	return found
}

// named is what an element names: in braces, settings of its own follow it.
func named(element string) string {
	inner, braced := strings.CutPrefix(element, "{")
	words := strings.FieldsFunc(strings.TrimSuffix(inner, "}"), func(r rune) bool { return strings.ContainsRune(", \t\n", r) })
	if !braced || len(words) == 0 {
		return element
	}
	return words[0]
}

// with returns the list with the element in front, where none in the list names the same.
func with(list, element string) string {
	if contains(list, element) {
		return list
	}
	if list == "" {
		return element
	}
	return element + ", " + list
}

func contains(list, element string) bool {
	return slices.ContainsFunc(elements(list), func(e string) bool { return named(e) == named(element) })
}

// without returns the list without the elements of which drop says so.
func without(list string, drop func(element string) bool) string {
	all := elements(list)
	rest := slices.DeleteFunc(slices.Clone(all), func(e string) bool { return drop(e) })
	if len(rest) == len(all) {
		return list
	}
	return strings.Join(rest, ", ")
}
