package daemon

import (
	"context"
	"errors"
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
}

func newLook() look { return look{looking: make(chan struct{}, 1)} }

// ask returns what is known, or asks find, whose value then counts as long as life.
func (l *look) ask(ctx context.Context, life time.Duration, find func(context.Context) (string, error)) (string, error) {
	asked := time.Now()
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
	l.ended, l.expires = time.Now(), time.Time{}
	if l.err == nil {
		l.expires = l.ended.Add(life)
	}
	return l.value, l.err
}

// answerOf is the answer for what was found, or not.
func answerOf(value string, err error) lookup.Answer {
	if err != nil {
		return lookup.Temp(err.Error())
	}
	return lookup.OK(value)
}
