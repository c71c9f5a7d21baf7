package daemon

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// The queue in front of the log. A reader of the log that stands still must not hold
// up mail.
const (
	// queuedLines is how many lines wait at most; further ones are dropped, and
	// counted.
	queuedLines = 4096
	// syncLimit is how long the last lines may take when the process ends.
	syncLimit = 2 * time.Second
)

// A logQueue writes lines in a goroutine of its own, which lives as long as the
// process. It is safe for use by several goroutines.
type logQueue struct {
	lines   chan []byte
	syncs   chan chan struct{}
	dropped atomic.Uint64
	// loss makes the line that says how many were dropped.
	loss func(dropped uint64) []byte
}

func newLogQueue(w io.Writer, loss func(uint64) []byte) *logQueue {
	q := &logQueue{lines: make(chan []byte, queuedLines), syncs: make(chan chan struct{}), loss: loss}
	go q.run(w)
	return q
}

// Write queues a line. It never waits, and never fails.
func (q *logQueue) Write(line []byte) (int, error) {
	select {
	case q.lines <- bytes.Clone(line):
	default:
		q.dropped.Add(1)
		linesDropped.Add(1)
	}
	return len(line), nil
}

// Sync waits until all lines are written, or for two seconds.
func (q *logQueue) Sync() error {
	limit, cancel := context.WithTimeout(context.Background(), syncLimit)
	defer cancel()
	done := make(chan struct{})
	select {
	case q.syncs <- done:
		// The reader may stand still in between, too.
		select {
		case <-done:
			return nil
		case <-limit.Done():
		}
	case <-limit.Done():
	}
	return fmt.Errorf("log is not taken: %d lines are lost", len(q.lines))
}

func (q *logQueue) run(w io.Writer) {
	for {
		select {
		case line := <-q.lines:
			q.write(w, line)
		case done := <-q.syncs:
			for len(q.lines) > 0 {
				q.write(w, <-q.lines)
			}
			q.report(w)
			close(done)
		}
	}
}

// write writes a line, and before it how many were dropped. A line that nobody takes is
// dropped too.
func (q *logQueue) write(w io.Writer, line []byte) {
	q.report(w)
	if _, err := w.Write(line); err != nil {
		q.dropped.Add(1)
		linesDropped.Add(1)
	}
}

// report says how many lines were dropped; if that is not taken either, it says so later.
func (q *logQueue) report(w io.Writer) {
	n := q.dropped.Swap(0)
	if n == 0 {
		return
	}
	if _, err := w.Write(q.loss(n)); err != nil {
		q.dropped.Add(n)
	}
}
