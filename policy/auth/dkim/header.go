package dkim

import (
	"slices"
	"strings"

	"gatemilter/policy"
)

const signatureName = "dkim-signature"

// Bounds on what one signature signs.
const (
	// maxSignedHeader is in octets.
	maxSignedHeader = 256 << 10
	// maxFieldLines is for the simple form, where folding is signed. The
	// verifier copies a field again for each of its lines.
	maxFieldLines = 500
)

// A header is the fields of a message, found by name.
type header struct {
	fields []policy.Field
	places map[string][]int
}

func newHeader(fields []policy.Field) *header {
	h := &header{fields: fields, places: make(map[string][]int)}
	for i := range fields {
		name := fieldName(&fields[i])
		h.places[name] = append(h.places[name], i)
	}
	return h
}

func fieldName(f *policy.Field) string { return strings.ToLower(strings.Trim(f.Name, blanks)) }

// signed gives the places of the fields that h= names, in the order of the
// header: of each name the bottommost field first, and each only once (RFC 6376,
// section 5.4.2). Among these the verifier finds the same as among all. The
// signature itself is none of them, since it wasn't there when it was made.
func (h *header) signed(s *signature) []int {
	var picked []int
	left := make(map[string]int)
	for _, name := range s.names {
		places := h.places[name]
		n, begun := left[name]
		if !begun {
			n = len(places)
		}
		if n--; n >= 0 && places[n] == s.field {
			n--
		}
		if n >= 0 {
			picked = append(picked, places[n])
		}
		left[name] = n
	}
	slices.Sort(picked)
	return picked
}

// text writes into the signature its own field, the signed fields, and an empty
// line. Its own comes first, so that the verifier takes it for the first of the
// signatures, if others are signed, and for the last of the fields by that name.
func (h *header) text(s *signature) *objection {
	if named := count(s.names, signatureName); named > len(h.places[signatureName])-1 && named > 0 {
		return neutral("h= names more signatures than there are others, which the verifier doesn't allow")
	}
	places := append([]int{s.field}, h.signed(s)...)
	text := make([]byte, 0, min(h.octets(places), maxSignedHeader))
	for _, place := range places {
		f := &h.fields[place]
		if len(text)+len(f.Name)+len(f.Value) > maxSignedHeader {
			return forbidden("the signed header has more than %d octets", maxSignedHeader)
		}
		if !s.relaxed && strings.Count(f.Value, "\n") >= maxFieldLines {
			return forbidden("%s has more than %d lines", quote(f.Name), maxFieldLines)
		}
		var ok bool
		if text, ok = appendField(text, f, s.relaxed); !ok {
			return neutral("the signed field %s can't be written as a header field", quote(f.Name))
		}
	}
	s.header = append(text, "\r\n"...)
	return nil
}

// octets is about how long the fields at some places are as text, if they aren't
// folded with bare line feeds.
func (h *header) octets(places []int) int {
	n := len("\r\n")
	for _, place := range places {
		n += len(h.fields[place].Name) + len(h.fields[place].Value) + len(":\r\n")
	}
	return n
}

func count(names []string, name string) int {
	n := 0
	for _, other := range names {
		if other == name {
			n++
		}
	}
	return n
}

// appendField writes a field as it was in the message, with CRLF for either
// kind of line end; in the relaxed form, where folding has no meaning, in one
// line. It fails if the text would not be one field.
func appendField(text []byte, f *policy.Field, relaxed bool) (_ []byte, ok bool) {
	if !isFieldName(strings.TrimRight(f.Name, " \t")) {
		return nil, false
	}
	text = append(text, f.Name...)
	text = append(text, ':')
	value := strings.TrimRight(f.Value, "\r\n")
	for first := true; ; first = false {
		line, rest, more := strings.Cut(value, "\n")
		if !first && (line == "" || line[0] != ' ' && line[0] != '\t') {
			return nil, false
		}
		if more {
			line = strings.TrimSuffix(line, "\r")
		}
		text = append(text, line...)
		if !more {
			return append(text, "\r\n"...), true
		}
		if !relaxed {
			text = append(text, "\r\n"...)
		}
		value = rest
	}
}

// isFieldName says whether s can name a field (RFC 5322, section 2.2).
func isFieldName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' })
}
