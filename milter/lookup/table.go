package lookup

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"gatemilter/milter/accept"
)

// A Table answers for one subject.
type Table struct {
	// Lookup returns what the table has for a key, which is any octets that the
	// MTA or the sender of a mail has put there. It is called by several
	// goroutines at once. When its context ends, nobody waits for the answer.
	Lookup func(ctx context.Context, peer Peer, key string) Answer
	// Limit is how long Lookup may take; the MTA is then told of a temporary
	// failure. 0 says that it answers from memory, at once: it is not timed.
	Limit time.Duration
	// Admits says whether a process that runs as the user uid may ask. One that
	// may not, or whose user is unknown as over TCP, is told of a temporary
	// failure. nil admits all who can connect.
	Admits func(uid uint32) bool
}

// A result is an answer for the MTA, and what is to be reported about it.
type result struct {
	Answer
	err error
}

func failed(reason string, err error) result { return result{Temp(reason), err} }

// UnknownTable stands in statistics for every table that there isn't.
const UnknownTable = "unknown"

// answer answers a request of a peer, and counts it.
func (s *Server) answer(p Peer, name, key []byte) result {
	if s.Observe == nil {
		return s.ask(p, name, key)
	}
	began := time.Now()
	r := s.ask(p, name, key)
	table := UnknownTable
	if _, known := s.Tables[string(name)]; known {
		table = string(name)
	}
	s.Observe(table, Statuses[r.status], time.Since(began))
	return r
}

// ask answers a request of a peer.
func (s *Server) ask(p Peer, name, key []byte) (r result) {
	t, known := s.Tables[string(name)]
	if !known {
		return failed("unknown table", fmt.Errorf("table %.100q is unknown; correct the mail server's configuration, the tables are %q",
			name, slices.Sorted(maps.Keys(s.Tables))))
	}
	defer rescue(name, &r)
	if t.Admits != nil {
		if err := p.admittedBy(t); err != nil {
			return failed("not for this user", fmt.Errorf("table %q: %w", name, err))
		}
	}
	if t.Limit > 0 {
		r = s.askWithin(t, p, string(name), string(key))
	} else {
		r.Answer = t.Lookup(s.conns.Patience(), p, string(key))
	}
	if err := r.check(); err != nil {
		return failed("bad value", fmt.Errorf("table %q: %w", name, err))
	}
	return r
}

// askWithin asks a slow table. A lookup that ignores the end of its time goes
// on, so their number has a bound.
func (s *Server) askWithin(t Table, p Peer, name, key string) result {
	select {
	case s.slow <- struct{}{}:
	default:
		return failed("too many lookups", fmt.Errorf("table %q: %d lookups are under way, which is the limit", name, cap(s.slow)))
	}
	ctx, cancel := context.WithTimeout(s.conns.Patience(), t.Limit)
	defer cancel()
	done := make(chan result, 1)
	go func() {
		var r result
		defer func() { done <- r }()
		defer func() { <-s.slow }()
		defer rescue(name, &r)
		r.Answer = t.Lookup(ctx, p, key)
	}()
	select {
	case r := <-done:
		return r
	case <-ctx.Done():
		return failed("lookup took too long", fmt.Errorf("table %q: no answer within %v: %w", name, t.Limit, ctx.Err()))
	}
}

// rescue is deferred around a call to a table.
func rescue[T string | []byte](table T, r *result) {
	if v := recover(); v != nil {
		*r = failed("internal error", accept.Panicked(fmt.Sprintf("table %q", table), v))
	}
}

// A Peer is the process at the other end of a connection, as it was when it connected.
type Peer struct {
	// UID is the user that it ran as, PID its number, or 0 where that can't be told: it
	// is of another PID namespace. Both count only where Err is nil.
	UID uint32
	PID int32
	// Err says why the peer is unknown.
	Err error
}

func (p Peer) admittedBy(t Table) error {
	switch {
	case p.Err != nil:
		return fmt.Errorf("refused to a peer whose user is unknown: %w", p.Err)
	case !t.Admits(p.UID):
		return fmt.Errorf("refused to the user with id %d", p.UID)
	}
	return nil
}
