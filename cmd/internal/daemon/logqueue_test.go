package daemon

import (
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatemilter/policy/config"
)

// A sluggish writer takes nothing until it is let go.
type sluggish struct {
	begun, free chan struct{}
	once        sync.Once
	strings.Builder
}

func (s *sluggish) Write(p []byte) (int, error) {
	s.once.Do(func() { close(s.begun) })
	<-s.free
	return s.Builder.Write(p)
}

// A log that nobody reads holds nothing up; what is lost is counted.
func TestLogQueueNeverWaits(t *testing.T) {
	w := &sluggish{begun: make(chan struct{}), free: make(chan struct{})}
	q := newLogQueue(w, func(n uint64) []byte { return fmt.Appendln(nil, n, "dropped") })
	fmt.Fprintln(q, "first")
	<-w.begun
	for n := range queuedLines + 7 {
		fmt.Fprintln(q, n)
	}
	close(w.free)
	if err := q.Sync(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(w.String(), "\n")
	if lines[0] != "first" || lines[1] != "7 dropped" || lines[2] != "0" || len(lines) != queuedLines+3 {
		t.Errorf("%d lines: %q…", len(lines), lines[:4])
	}
}

// The line about what is lost has the form of all others, and comes at every level.
func TestLossHasTheFormOfTheLog(t *testing.T) {
	for format, want := range map[string]string{
		"json":    `{"level":"error","time":"T","message":"log lines were dropped, because nobody took them","dropped":7}`,
		"console": `T error log lines were dropped, because nobody took them {"dropped": 7}`,
	} {
		w := &sluggish{begun: make(chan struct{}), free: make(chan struct{})}
		log := newEventLog(config.Log{Format: format, Level: "error"}, w)
		log.trouble("unix socket", io.EOF)
		<-w.begun
		for range queuedLines + 7 {
			log.trouble("unix socket", io.EOF)
		}
		close(w.free)
		log.Sync()
		lines := strings.Split(w.String(), "\n")
		if got := timestamp.ReplaceAllString(lines[1], "T"); got != want {
			t.Errorf("%s: %s, want %s", format, got, want)
		}
	}
}

var timestamp = regexp.MustCompile(`\d{4}-\d\d-\d\dT[\d:]+(Z|[+-][\d:]+)`)

// The end does not wait for a reader that stands still, be it before the last lines or
// among them.
func TestLogQueueSyncHasALimit(t *testing.T) {
	for _, among := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			q := &logQueue{lines: make(chan []byte, queuedLines), syncs: make(chan chan struct{})}
			if among {
				go func() { <-q.syncs }() // as run does, whose writer then hangs
			}
			began := time.Now()
			if err := q.Sync(); err == nil || time.Since(began) != syncLimit {
				t.Errorf("among the last lines %v: %v after %v", among, err, time.Since(began))
			}
		})
	}
}

func TestVisible(t *testing.T) {
	for text, want := range map[string]string{
		"plain é 中":                "plain é 中",
		"\x1b[31m\n":               `\x1b[31m\n`,
		"\u009b2J\u202eevil\u0085": `\u009b2J\u202eevil\u0085`,
		"\xff":                     `\xff`,
		"0123456789abcdefghij":     "0123456789abcdefghi…",
	} {
		if got := Visible(text, 19); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// What could not be written counts as dropped, and is said once it can be, at the end at
// the latest.
func TestLogQueueCountsFailures(t *testing.T) {
	w := &failing{left: 4}
	q := newLogQueue(w, func(n uint64) []byte { return fmt.Appendln(nil, n, "dropped") })
	fmt.Fprintln(q, "first")
	fmt.Fprintln(q, "second")
	q.Sync()
	if w.String() != "" {
		t.Errorf("written: %q", w.String())
	}
	fmt.Fprintln(q, "third")
	q.Sync()
	w.left = 1
	fmt.Fprintln(q, "fourth")
	q.Sync()
	if want := "2 dropped\nthird\n1 dropped\n"; w.String() != want {
		t.Errorf("%q, want %q", w.String(), want)
	}
}

// A failing writer fails so many times.
type failing struct {
	left int
	strings.Builder
}

func (f *failing) Write(p []byte) (int, error) {
	if f.left--; f.left >= 0 {
		return 0, io.ErrClosedPipe
	}
	return f.Builder.Write(p)
}
