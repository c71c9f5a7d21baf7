package daemon

import "gatemilter/cmd/internal/visible"

// Visible is [visible.Text].
func Visible(s string, length int) string { return visible.Text(s, length) }
