package main

import (
	"context"
	"os/exec"
	"path/filepath"
	"testing"
)

// What the README shows first has to work: each message arrives or leaves as it must, or is
// refused, or the demo fails.
func TestDemo(t *testing.T) {
	program := filepath.Join(t.TempDir(), "gatemilter")
	if out, err := exec.Command("go", "build", "-o", program, "gatemilter/cmd/gatemilter").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeLimit)
	defer cancel()
	if err := run(ctx, program); err != nil {
		t.Error(err)
	}
}
