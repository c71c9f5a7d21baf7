package accept

import (
	"fmt"
	"runtime/debug"
)

// A PanicError is a panic in what a server calls.
type PanicError struct {
	// In says what was called.
	In    string
	Value any
	Stack []byte
}

// Panicked makes an error of what recover returned.
func Panicked(in string, value any) *PanicError {
	return &PanicError{In: in, Value: value, Stack: debug.Stack()}
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic in %s: %v", e.In, e.Value) }
