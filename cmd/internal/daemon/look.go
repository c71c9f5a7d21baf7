package daemon

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"gatemilter/milter/lookup"
)

// A look is what somebody has found out about a host, for all who want to know it: those who
// ask while it is under way wait for it, none longer than his time. What was found counts
// for a while; a failure only for those who were waiting for it, and the next one looks
// again.
type look struct {
	// looking is taken during a look, and guards the rest.
	looking chan struct{}
	value   string
	err     error
	expires time.Time
	ended   time.Time // of the last look

	// most is how many may wait; 0: all. failing is how long a failure counts for others too.
	most    int32
	waiting atomic.Int32
	failing time.Duration
}

func newLook() *look { return &look{looking: make(chan struct{}, 1)} }

// ask returns what is known, or asks find, whose value then counts as long as life.
func (l *look) ask(ctx context.Context, life time.Duration, find func(context.Context) (string, error)) (string, error) {
	asked := time.Now()
	defer l.waiting.Add(-1)
	if n := l.waiting.Add(1); l.most > 0 && n > l.most {
		return "", errors.New("too many wait for the probe of the server")
	}
	select {
	case l.looking <- struct{}{}:
		defer func() { <-l.looking }()
	case <-ctx.Done():
		return "", errors.New("the probe of the server took too long")
	}
	if time.Now().Before(l.expires) || l.ended.After(asked) {
		return l.value, l.err
	}
	l.value, l.err = find(ctx)
	if l.err != nil {
		life = l.failing
	}
	l.ended = time.Now()
	l.expires = l.ended.Add(life)
	return l.value, l.err
}

// answerOf is the answer for what was found, or not.
func answerOf(value string, err error) lookup.Answer {
	if err != nil {
		return lookup.Temp(err.Error())
	}
	return lookup.OK(value)
}
