package dkim

import "context"

// A lookup is the question for a public key, asked once for all signatures that
// need it. Its answer may be read when done is closed.
type lookup struct {
	name    string
	done    chan struct{}
	records []string
	err     error
}

func (l *lookup) ask(ctx context.Context, lookupTXT LookupTXT) {
	defer close(l.done)
	l.records, l.err = lookupTXT(ctx, l.name)
}

// recall answers from what is known, if it is.
func (l *lookup) recall(cached func(string) ([]string, bool, error)) (known bool) {
	if cached == nil {
		return false
	}
	if l.records, known, l.err = cached(l.name); known {
		close(l.done)
	}
	return known
}

func (l *lookup) answered() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// lookups are those of one message, all under way at once.
type lookups struct {
	ctx  context.Context
	stop context.CancelFunc
	all  []*lookup
}

// startLookups asks for the keys of the signatures.
func startLookups(ctx context.Context, signatures []*signature, lookupTXT LookupTXT, limits Limits) lookups {
	if len(signatures) == 0 {
		return lookups{ctx: ctx, stop: func() {}}
	}
	var ls lookups
	ls.ctx, ls.stop = context.WithTimeout(ctx, limits.Lookups)
	for _, s := range signatures {
		s.lookup = ls.named(keyName(s.result.Selector, s.result.Domain))
	}
	for _, l := range ls.all {
		if !l.recall(limits.Cached) {
			go l.ask(ls.ctx, lookupTXT)
		}
	}
	return ls
}

func (ls *lookups) named(name string) *lookup {
	for _, l := range ls.all {
		if l.name == name {
			return l
		}
	}
	l := &lookup{name: name, done: make(chan struct{})}
	ls.all = append(ls.all, l)
	return l
}

// answered says whether nothing is left to wait for.
func (ls *lookups) answered() bool {
	for _, l := range ls.all {
		if !l.answered() {
			return false
		}
	}
	return true
}

// wait returns when all are answered, or the time for them or ctx is over.
func (ls *lookups) wait(ctx context.Context) {
	for _, l := range ls.all {
		select {
		case <-l.done:
		case <-ls.ctx.Done():
			return
		case <-ctx.Done():
			return
		}
	}
}
