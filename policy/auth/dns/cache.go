package dns

import (
	"container/list"
	"time"
)

// The limits of the cache: some thousand domains, and memory that nobody misses.
const (
	maxCacheEntries = 20000
	maxCacheOctets  = 16 << 20
	// entryOctets and recordOctets estimate what an entry and a record take apart
	// from their text.
	entryOctets  = 400
	recordOctets = 64
)

// A cache keeps answers; when it is full, those go that were not asked for longest.
// It has no lock of its own and is not sharded: the resolver holds one lock anyway,
// for less than a microsecond a lookup, so that the cache and the flights agree.
type cache struct {
	maxEntries, maxOctets int
	octets                int
	entries               map[question]*list.Element
	// recent has the latest used *entry in front.
	recent *list.List
}

type entry struct {
	question question
	answer   answer
	expires  time.Time
}

func newCache(maxEntries, maxOctets int) *cache {
	return &cache{
		maxEntries: maxEntries,
		maxOctets:  maxOctets,
		entries:    map[question]*list.Element{},
		recent:     list.New(),
	}
}

func (c *cache) len() int { return len(c.entries) }

// get returns the answer that still holds.
func (c *cache) get(q question, now time.Time) (answer, bool) {
	element, ok := c.entries[q]
	if !ok {
		return answer{}, false
	}
	e := element.Value.(*entry)
	if !now.Before(e.expires) {
		c.remove(element)
		return answer{}, false
	}
	c.recent.MoveToFront(element)
	return e.answer, true
}

// put keeps an answer for its TTL.
func (c *cache) put(q question, a answer, now time.Time) {
	if old, ok := c.entries[q]; ok {
		c.remove(old)
	}
	if a.ttl <= 0 {
		return
	}
	e := &entry{q, a, now.Add(a.ttl)}
	c.octets += e.octets()
	c.entries[q] = c.recent.PushFront(e)
	for c.len() > c.maxEntries || c.octets > c.maxOctets {
		c.remove(c.recent.Back())
	}
}

func (c *cache) remove(element *list.Element) {
	e := c.recent.Remove(element).(*entry)
	delete(c.entries, e.question)
	c.octets -= e.octets()
}

// octets estimates the memory that an entry takes.
func (e *entry) octets() int {
	n := entryOctets + len(e.question.name)
	for _, r := range e.answer.records {
		n += recordOctets + len(r.text)
	}
	return n
}
