package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"gatemilter/cmd/internal/lab"
	"gatemilter/milter/lookup"
)

// lookupTables answer the questions that TestLookupPostmap has Postfix ask.
var lookupTables = map[string]lookup.Table{
	"route": {Lookup: func(_ context.Context, _ lookup.Peer, key string) lookup.Answer {
		if strings.HasPrefix(key, "nobody") {
			return lookup.NotFound()
		}
		return lookup.OK("gatemilter:[" + key + "]:587")
	}},
	"down": {Lookup: func(context.Context, lookup.Peer, string) lookup.Answer {
		return lookup.Temp("the table is being built")
	}},
	"zero":    {Lookup: func(context.Context, lookup.Peer, string) lookup.Answer { return lookup.Answer{} }},
	"empty":   {Lookup: func(context.Context, lookup.Peer, string) lookup.Answer { return lookup.OK("") }},
	"panic":   {Lookup: func(context.Context, lookup.Peer, string) lookup.Answer { panic("lookup") }},
	"long":    {Lookup: func(context.Context, lookup.Peer, string) lookup.Answer { return lookup.OK(longest) }},
	"toolong": {Lookup: func(context.Context, lookup.Peer, string) lookup.Answer { return lookup.OK(longest + "x") }},
	"private": {Lookup: func(context.Context, lookup.Peer, string) lookup.Answer { return lookup.OK("secret") },
		Admits: func(uid uint32) bool { return uid != uint32(os.Geteuid()) }},
}

// longest is the longest value that Postfix takes.
var longest = strings.Repeat("x", 100_000-len("OK "))

// A mapping is what postmap has found out: the value, or what it logged, with
// MAP for the name of the map and without the system's word for the error.
type mapping struct{ value, log string }

// O2, O10: Postfix's own client gets values as they are, tells "not found" from
// "cannot say", and never takes the one for the other.
func TestLookupPostmap(t *testing.T) {
	if err := lab.NeedPostfix(t.Context(), t.Logf); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.cf"), []byte("compatibility_level = 3.6\nsmtputf8_enable = no\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "lookup.sock")
	server := &lookup.Server{Tables: lookupTables}
	ln := must(net.Listen("unix", socket))
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()

	temporary := func(reason string) mapping {
		return mapping{log: "postmap: warning: MAP socketmap server temporary error: " + reason + "\n" +
			"postmap: fatal: table MAP: query error"}
	}
	var asking sync.WaitGroup
	for _, c := range []struct {
		table, key string
		want       mapping
	}{
		{"route", "alice@example.com", mapping{value: "gatemilter:[alice@example.com]:587\n"}},
		{"route", "ALICE@Example.Com", mapping{value: "gatemilter:[ALICE@Example.Com]:587\n"}},
		{"route", `"a b"@example.com`, mapping{value: `gatemilter:["a b"@example.com]:587` + "\n"}},
		{"route", "a  b", mapping{value: "gatemilter:[a  b]:587\n"}},
		{"route", "3:a b,", mapping{value: "gatemilter:[3:a b,]:587\n"}},
		{"route", "jürgen@müller.example", mapping{value: "gatemilter:[jürgen@müller.example]:587\n"}},
		{"route", "<>", mapping{value: "gatemilter:[<>]:587\n"}},
		{"route", strings.Repeat("k", 8000), mapping{value: "gatemilter:[" + strings.Repeat("k", 8000) + "]:587\n"}},
		{"route", "nobody@example.com", mapping{}},
		{"long", "x", mapping{value: longest + "\n"}},
		{"toolong", "x", temporary("bad value")},
		{"empty", "x", temporary("bad value")},
		{"down", "x", temporary("the table is being built")},
		{"zero", "x", temporary("no reason given")},
		{"panic", "x", temporary("internal error")},
		{"private", "x", temporary("not for this user")},
		{"rout", "x", temporary("unknown table")},
	} {
		asking.Go(func() { // postmap takes a second to fail
			if got := postmap(t, dir, "socketmap:unix:"+socket+":"+c.table, c.key, ""); got != c.want {
				t.Errorf("table %s, key %.100q: %.300q, want %.300q", c.table, c.key, got, c.want)
			}
		})
	}
	asking.Wait()

	// Many keys over one connection.
	got := postmap(t, dir, "socketmap:unix:"+socket+":route", "-", "a@x\nnobody\nb ü@x\n")
	if want := (mapping{value: "a@x\tgatemilter:[a@x]:587\nb ü@x\tgatemilter:[b ü@x]:587\n"}); got != want {
		t.Errorf("several keys: %q, want %q", got, want)
	}
	if err := server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if got := postmap(t, dir, "socketmap:unix:"+socket+":route", "nobody", ""); !strings.Contains(got.log, "query error") {
		t.Errorf("after the shutdown: %q, want an error", got)
	}
}

// postmap asks a map with Postfix's client, which exits with 1 if it has no
// value to print.
func postmap(t *testing.T, config, name, key, stdin string) mapping {
	t.Helper()
	var out, log bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "/usr/sbin/postmap", "-c", config, "-q", key, name)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &log
	err := cmd.Run()
	const fatal = "query error"
	text, _, failed := strings.Cut(strings.ReplaceAll(log.String(), name, "MAP"), fatal)
	if failed {
		text += fatal
	}
	got := mapping{out.String(), text}
	if (err == nil) != (got.value != "") {
		t.Errorf("%q: %v, with output %.100q", cmd.Args, err, got.value)
	}
	return got
}
