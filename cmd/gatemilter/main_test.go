package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the test binary be the program: as "gatemilter" in scripts, and
// as the daemon behind a real mail server.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"gatemilter": main})
}

// TestScripts runs the program as a user does: each command, each documented
// error.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
	})
}
