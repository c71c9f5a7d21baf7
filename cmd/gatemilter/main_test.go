package main

import (
	"fmt"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"gatemilter/cmd/internal/lab"
	"gatemilter/policy/auth/dnstest"
)

// TestMain lets the test binary be the program: as "gatemilter" in scripts, and
// as the daemon behind a real mail server.
func TestMain(m *testing.M) {
	// A program with the race detector sleeps for a second before it exits, and we start many.
	os.Setenv("GORACE", quickExit)
	testscript.Main(m, map[string]func(){"gatemilter": main})
}

// quickExit are options of the race detector (https://go.dev/doc/articles/race_detector).
const quickExit = "atexit_sleep_ms=0"

// TestScripts runs the program as a user does: each command, each documented
// error.
func TestScripts(t *testing.T) {
	if err := lab.NeedPostfix(t.Context(), t.Logf); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Condition: func(condition string) (bool, error) {
			if condition != "journal" { // which has what is otherwise on stderr
				return false, fmt.Errorf("there is no condition %q", condition)
			}
			_, err := os.Stat("/run/systemd/journal/socket")
			return err == nil, nil
		},
		Setup: func(env *testscript.Env) error {
			server, err := dnstest.Start(scriptZone)
			if err != nil {
				return err
			}
			env.Defer(func() { server.Close() })
			env.Setenv("DNS", server.Addr())
			env.Setenv("GORACE", quickExit)
			return nil
		},
	})
}

// scriptZone is what the name server at $DNS knows in scripts.
const scriptZone = `
friend.example         TXT "v=spf1 ip4:198.51.100.7 -all"
_dmarc.friend.example  TXT "v=DMARC1; p=reject"
broken.example         SERVFAIL
_dmarc.broken.example  SERVFAIL
. SOA ns.example. admin.example. 1 3600 600 86400 60
`
