package portal

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxKeys is for how many accounts or client addresses attempts are counted apart.
const maxKeys = 50000

// A limiter allows so many attempts for each key: a few at once, then one at a time.
type limiter struct {
	every time.Duration
	burst int
	now   func() time.Time

	mu      sync.Mutex
	keys    map[string]*rate.Limiter
	cleaned time.Time
	// rest counts for all keys for which there is no room: who makes up very many gains nothing.
	rest *rate.Limiter
}

func newLimiter(now func() time.Time, burst int, every time.Duration) *limiter {
	l := &limiter{every: every, burst: burst, now: now, keys: make(map[string]*rate.Limiter)}
	l.rest = l.fresh()
	return l
}

func (l *limiter) fresh() *rate.Limiter { return rate.NewLimiter(rate.Every(l.every), l.burst) }

// allow counts an attempt, or says how long to wait for the next. One that is too early
// doesn't count.
func (l *limiter) allow(key string) (wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	r := l.of(key, now).ReserveN(now, 1)
	if wait = r.DelayFrom(now); wait > 0 {
		r.CancelAt(now)
	}
	return wait
}

// wait says how long to wait for the next attempt. It counts none, and remembers no key.
func (l *limiter) wait(key string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	one := l.known(key, now)
	if one == nil {
		return 0
	}
	return max(0, time.Duration((1-one.TokensAt(now))*float64(l.every)))
}

func (l *limiter) of(key string, now time.Time) *rate.Limiter {
	one := l.known(key, now)
	if one == nil {
		one = l.fresh()
		l.keys[key] = one
	}
	return one
}

// known is what counts for a key; nil: it is a new one, and there is room for it.
func (l *limiter) known(key string, now time.Time) *rate.Limiter {
	if one := l.keys[key]; one != nil {
		return one
	}
	if len(l.keys) >= maxKeys && now.Sub(l.cleaned) >= time.Second {
		l.cleaned = now
		l.forgetIdle(now)
	}
	if len(l.keys) >= maxKeys {
		return l.rest
	}
	return nil
}

// forgetIdle drops those that would allow as many attempts as a new one.
func (l *limiter) forgetIdle(now time.Time) {
	for key, one := range l.keys {
		if one.TokensAt(now) >= float64(l.burst) {
			delete(l.keys, key)
		}
	}
}

// forget lets a key begin anew.
func (l *limiter) forget(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.keys, key)
}

// limits are all limits of a portal.
type limits struct {
	// Logins are counted for an account together with the client's network, for the network, and
	// for the account: many networks may guess one user's password. From where he has logged
	// in before, the last doesn't count, so that they can't keep him out.
	loginPair, loginClient, loginAccount *limiter
	known                                *memory

	testAccount, testClient *limiter // connections to users' servers
	lookAccount             *limiter // names looked up for suggestions
	// Codes sent are counted for an account, for it together with the address, and for the address:
	// many accounts may have them sent to somebody. One alone uses up less than an address has, so
	// that it can't keep the owner from having his.
	codeAccount, codePair, codeAddress *limiter
	enterAccount, enterClient          *limiter // codes entered
	changeAccount                      *limiter // what is stored without being tried
	logins, probes, suggestions        semaphore
	turns                              turns
}

func newLimits(now func() time.Time) *limits {
	return &limits{
		loginPair:     newLimiter(now, 5, 2*time.Minute),
		loginClient:   newLimiter(now, 30, 20*time.Second),
		loginAccount:  newLimiter(now, 20, time.Minute),
		known:         newMemory(now),
		testAccount:   newLimiter(now, 10, 30*time.Second),
		testClient:    newLimiter(now, 30, 10*time.Second),
		lookAccount:   newLimiter(now, 20, 10*time.Second),
		codeAccount:   newLimiter(now, 6, 5*time.Minute),
		codePair:      newLimiter(now, 4, 10*time.Minute),
		codeAddress:   newLimiter(now, 12, 4*time.Minute),
		enterAccount:  newLimiter(now, 10, time.Minute),
		enterClient:   newLimiter(now, 30, 20*time.Second),
		changeAccount: newLimiter(now, 20, 10*time.Second),
		logins:        make(semaphore, maxProbes),
		probes:        make(semaphore, maxProbes),
		suggestions:   make(semaphore, maxProbes),
	}
}

// An attempt is counted by a limiter under a key.
type attempt struct {
	*limiter
	key string
}

// try counts an attempt with each limiter in turn, or returns how long to wait for the first
// that refuses. The narrowest stands first: whoever is over his own limit uses up no other's. Who
// is over any limit is counted by none: else one client with very many names, all but a few of
// them refused, would fill the room for keys, and leave none for anybody.
func try(attempts ...attempt) (wait time.Duration) {
	if wait := waitFor(attempts...); wait > 0 {
		return wait
	}
	for _, a := range attempts {
		if wait := a.allow(a.key); wait > 0 {
			return wait
		}
	}
	return 0
}

// waitFor says how long to wait for an attempt, and counts none.
func waitFor(attempts ...attempt) (wait time.Duration) {
	for _, a := range attempts {
		if wait := a.limiter.wait(a.key); wait > 0 {
			return wait
		}
	}
	return 0
}

// login counts an attempt to log in.
func (l *limits) login(login, client string) time.Duration {
	pair := login + "\x00" + client
	attempts := []attempt{{l.loginPair, pair}, {l.loginClient, client}}
	if !l.known.has(pair) {
		attempts = append(attempts, attempt{l.loginAccount, login})
	}
	return try(attempts...)
}

// loggedIn remembers from where a user has logged in.
func (l *limits) loggedIn(login, client string) {
	pair := login + "\x00" + client
	l.loginPair.forget(pair)
	l.known.add(pair)
}

// rememberFor is how long a network counts as one that a user logs in from.
const rememberFor = 30 * 24 * time.Hour

// A memory is a set of what was so lately.
type memory struct {
	now func() time.Time
	mu  sync.Mutex
	at  map[string]time.Time
}

func newMemory(now func() time.Time) *memory {
	return &memory{now: now, at: make(map[string]time.Time)}
}

func (m *memory) add(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.at[key] = m.now(); len(m.at) <= maxKeys {
		return
	}
	oldest := key
	for k, at := range m.at {
		if at.Before(m.at[oldest]) {
			oldest = k
		}
	}
	delete(m.at, oldest)
}

func (m *memory) has(key string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, ok := m.at[key]
	return ok && m.now().Sub(at) < rememberFor
}

// maxProbes is how many connections of one kind there are at a time, and maxQueue how long a
// request waits for one.
const (
	maxProbes = 16
	maxQueue  = 5 * time.Second
)

// A semaphore lets only so many do something at once.
type semaphore chan struct{}

// enter waits for its turn, but not long.
func (s semaphore) enter(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, maxQueue)
	defer cancel()
	select {
	case s <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s semaphore) leave() { <-s }

// maxTurns is how many connections to users' servers one account has at a time: servers that
// answer slowly must not take all of them.
const maxTurns = 2

// turns count what is under way for each account or client.
type turns struct {
	mu sync.Mutex
	n  map[string]int
}

// begin counts one more, where fewer than most are under way; end has to follow.
func (t *turns) begin(of string, most int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n[of] >= most {
		return false
	}
	if t.n == nil {
		t.n = make(map[string]int)
	}
	t.n[of]++
	return true
}

func (t *turns) end(of string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n[of]--; t.n[of] == 0 {
		delete(t.n, of)
	}
}
