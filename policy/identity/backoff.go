package identity

import (
	"context"
	"time"
)

// A backoff makes the pauses between attempts, each twice as long as the one before.
type backoff struct{ min, max, next time.Duration }

func newBackoff(t times) *backoff { return &backoff{t.retryMin, t.retryMax, t.retryMin} }

func (b *backoff) reset() { b.next = b.min }

// pause returns the next one.
func (b *backoff) pause() time.Duration {
	p := b.next
	b.next = min(2*p, b.max)
	return p
}

// wait pauses, unless ctx ends.
func (b *backoff) wait(ctx context.Context) {
	select {
	case <-time.After(b.pause()):
	case <-ctx.Done():
	}
}
