package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// A resolver is what all clients share: servers, cache, and the questions that are
// on their way.
type resolver struct {
	servers  []string
	timeout  time.Duration
	now      func() time.Time
	exchange exchange

	mu      sync.Mutex
	cache   *cache
	flights map[question]*flight
	stats   Stats
}

// Stats are counts since the start.
type Stats struct {
	// Hits were answered from the cache, or by a query of somebody else that was
	// under way; Misses went out to the servers, which failed Failures of them.
	Hits, Misses, Failures uint64
	// Entries and Octets are what the cache holds now; the octets are estimated.
	Entries, Octets int
}

// A flight is a question on its way. It lasts no longer than somebody waits for it.
type flight struct {
	question question
	cancel   context.CancelFunc
	// waiting counts the callers; the resolver's lock guards it.
	waiting int
	// done is closed when answer is set.
	done   chan struct{}
	answer answer
}

// An inquiry is a caller's question, which has an answer or waits for a flight.
type inquiry struct {
	*resolver
	answer answer
	flight *flight
}

func newResolver(servers []string, timeout time.Duration, now func() time.Time) *resolver {
	return &resolver{
		servers:  servers,
		timeout:  timeout,
		now:      now,
		exchange: overNetwork,
		cache:    newCache(maxCacheEntries, maxCacheOctets),
		flights:  map[question]*flight{},
	}
}

// Stats returns the counts of this client and all that share its cache.
func (r *resolver) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	stats := r.stats
	stats.Entries, stats.Octets = r.cache.len(), r.cache.octets
	return stats
}

// recall returns an answer that is known without asking.
func (r *resolver) recall(name string, typ uint16) (answer, bool) {
	presented, ok := presentation(name)
	if !ok {
		return malformed(name), true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	a, known := r.cache.get(question{presented, typ}, r.now())
	if known {
		r.stats.Hits++
	}
	return a, known
}

// ask begins to look for an answer. wait must be called on what it returns.
func (c *Client) ask(ctx context.Context, name string, typ uint16) inquiry {
	presented, ok := presentation(name)
	if !ok {
		return inquiry{answer: malformed(name)}
	}
	q := question{presented, typ}
	if err := ctx.Err(); err != nil {
		return inquiry{answer: q.abandoned(err)}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if answer, ok := c.cache.get(q, c.now()); ok {
		c.stats.Hits++
		return inquiry{answer: answer}
	}
	f := c.flights[q]
	switch {
	case f != nil:
		c.stats.Hits++
	case c.budget != nil && c.budget.Add(-1) < 0:
		return inquiry{answer: q.unknown("the DNS queries that a message may cause are used up")}
	default:
		c.stats.Misses++
		f = c.start(q)
	}
	f.waiting++
	return inquiry{resolver: c.resolver, flight: f}
}

// start sends a question on its way; the lock is held.
func (r *resolver) start(q question) *flight {
	ctx, cancel := context.WithCancel(context.Background())
	f := &flight{question: q, cancel: cancel, done: make(chan struct{})}
	r.flights[q] = f
	go func() {
		defer cancel()
		r.land(f, r.resolve(ctx, q))
	}()
	return f
}

// resolve asks the servers. No stranger's answer may end the process, so a panic is
// an answer too.
func (r *resolver) resolve(ctx context.Context, q question) (answer answer) {
	defer func() {
		if p := recover(); p != nil {
			answer = q.unknown(fmt.Sprintf("internal error, please report it: %q", fmt.Sprint(p)))
		}
	}()
	return r.askServers(ctx, q)
}

// land gives the answer to those who wait, and keeps it.
func (r *resolver) land(f *flight, a answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.flights[f.question] == f {
		delete(r.flights, f.question)
		r.cache.put(f.question, a, r.now())
		if a.err != nil && a.err.IsTemporary {
			r.stats.Failures++
		}
	}
	f.answer = a
	close(f.done)
}

// wait returns the answer when it is there, or ctx's error as one.
func (i inquiry) wait(ctx context.Context) answer {
	if i.flight == nil {
		return i.answer
	}
	select {
	case <-i.flight.done:
		return i.flight.answer
	case <-ctx.Done():
		i.leave(i.flight)
		return i.flight.question.abandoned(ctx.Err())
	}
}

// leave calls a flight off when nobody waits for it any more.
func (r *resolver) leave(f *flight) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f.waiting--; f.waiting == 0 && r.flights[f.question] == f {
		delete(r.flights, f.question)
		f.cancel()
	}
}

// abandoned is the answer for a caller whose context has ended.
func (q question) abandoned(err error) answer {
	return answer{err: &net.DNSError{
		Err: err.Error(), UnwrapErr: err, Name: q.name,
		IsTemporary: true, IsTimeout: errors.Is(err, context.DeadlineExceeded),
	}}
}
