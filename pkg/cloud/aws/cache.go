package aws

import (
	"errors"
	"sync"
	"time"

	"github.com/capmgr/capmgr/pkg/cloud"
)

// cache keeps what AWS rarely changes. The lock is never held during a call; two callers that miss
// together both ask, which costs one request more and no wait.
type cache[V any] struct {
	now     func() time.Time
	mu      sync.Mutex
	entries map[string]cached[V]
}

type cached[V any] struct {
	value V
	at    time.Time
}

func newCache[V any](now func() time.Time) *cache[V] {
	return &cache[V]{now: now, entries: map[string]cached[V]{}}
}

// get returns what was fetched less than ttl ago, else fetches. When AWS cannot answer now, an old
// answer is better than none: a throttled read must not take a group with running machines out of
// the picture. A refusal is news and is returned.
func (c *cache[V]) get(key string, ttl time.Duration, fetch func() (V, error)) (V, error) {
	old, known := c.lookup(key)
	if known && c.now().Sub(old.at) < ttl {
		return old.value, nil
	}
	fresh, err := fetch()
	if err == nil {
		c.store(key, fresh)
		return fresh, nil
	}
	if known && !errors.Is(err, cloud.ErrRejected) {
		return old.value, nil //nolint:nilerr // an old answer stands in, see above
	}
	return fresh, err
}

func (c *cache[V]) lookup(key string) (cached[V], bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[key]
	return e, ok
}

func (c *cache[V]) store(key string, v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries[key] = cached[V]{value: v, at: c.now()}
}
