package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"gatemilter/cmd/internal/lab"
	"gatemilter/policy/auth/dnstest"
)

// TestMain lets the test binary be the program: as "gatemilter" in scripts, and
// as the daemon behind a real mail server.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"gatemilter": main})
}

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
		Setup: func(env *testscript.Env) error {
			server, err := dnstest.Start(scriptZone)
			if err != nil {
				return err
			}
			env.Defer(func() { server.Close() })
			env.Setenv("DNS", server.Addr())
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
