package policy

import (
	"fmt"
	"io"
)

// SecretMask is shown in place of secret values.
const SecretMask = "<secret>"

// A Secret is a text that never shows itself: neither to fmt, in whatever form, nor in
// JSON or a log. The zero Secret is empty.
type Secret struct {
	// A pointer, as fmt does not follow it in a value that it can't ask to format
	// itself, such as an unexported field.
	text *string
}

// NewSecret keeps a text.
func NewSecret(text string) Secret { return Secret{&text} }

// Reveal returns the text, for whoever has to be given it.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// String returns SecretMask.
func (Secret) String() string { return SecretMask }

// Format writes SecretMask for every verb.
func (Secret) Format(f fmt.State, _ rune) { io.WriteString(f, SecretMask) }

// MarshalText returns SecretMask, for JSON and the like.
func (Secret) MarshalText() ([]byte, error) { return []byte(SecretMask), nil }
