package limits

import (
	"container/heap"
	"sync"
	"sync/atomic"
	"time"
)

// buckets is a bounded set of GCRA limiters (the leaky bucket of ATM, counted in time): a bucket is one moment, the
// theoretical arrival time (TAT), up to which its owner has used up what trickles in. A bucket whose TAT has passed is full
// again and need not be kept, so the set holds only owners that are in debt.
//
// When the set is full, the bucket with the least debt is forgotten: whoever tries to push a hot bucket out has to make
// others hotter, each at the price of as many events.
type buckets[K comparable] struct {
	interval time.Duration // what one event costs
	burst    time.Duration // how much debt is allowed: the number of events at once times interval
	capacity int

	size atomic.Int64 // len(tats), for readers that do not want the lock
	mu   sync.Mutex   // guards what follows
	tats map[K]*bucket[K]
	heap debts[K]
	base time.Time // TATs are counted from here, on the monotonic clock
}

type bucket[K comparable] struct {
	key   K
	tat   time.Duration
	index int // in the heap
}

// newBuckets makes buckets that allow burst events at once and perSecond ever after, and hold at most capacity owners.
func newBuckets[K comparable](burst int, perSecond float64, capacity int) *buckets[K] {
	interval := max(time.Duration(float64(time.Second)/perSecond), 1)
	return &buckets[K]{
		interval: interval,
		burst:    interval * time.Duration(burst),
		capacity: capacity,
		tats:     make(map[K]*bucket[K]),
		base:     time.Now(),
	}
}

// wait is how long until one more event is allowed; 0 when it is now. It changes nothing.
func (b *buckets[K]) wait(key K) time.Duration {
	if b.size.Load() == 0 {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.waitLocked(key, time.Since(b.base))
}

func (b *buckets[K]) waitLocked(key K, now time.Duration) time.Duration {
	owner, ok := b.tats[key]
	if !ok {
		return 0
	}
	return max(owner.tat+b.interval-b.burst-now, 0)
}

// add counts an event, allowed or not. The debt never exceeds the burst, so that an owner who stops is free again after
// one interval, however long it went on.
func (b *buckets[K]) add(key K) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.addLocked(key, time.Since(b.base))
}

// take counts an event if it is allowed, and says how long to wait otherwise.
func (b *buckets[K]) take(key K) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Since(b.base)
	wait := b.waitLocked(key, now)
	if wait == 0 {
		b.addLocked(key, now)
	}
	return wait
}

func (b *buckets[K]) addLocked(key K, now time.Duration) {
	owner, ok := b.tats[key]
	if !ok {
		b.makeRoom(now)
		owner = &bucket[K]{key: key, tat: now}
		b.tats[key] = owner
		heap.Push(&b.heap, owner)
	}
	owner.tat = min(max(owner.tat, now)+b.interval, now+b.burst)
	heap.Fix(&b.heap, owner.index)
	b.size.Store(int64(len(b.tats)))
}

// makeRoom forgets the owners who are out of debt, and the one with the least debt when that is not enough. Each call
// removes no more than was added, so its cost is spread evenly.
func (b *buckets[K]) makeRoom(now time.Duration) {
	for len(b.heap) > 0 && (b.heap[0].tat <= now || len(b.heap) >= b.capacity) {
		least, _ := heap.Pop(&b.heap).(*bucket[K])
		delete(b.tats, least.key)
	}
}

// stats says how many owners are remembered, and how many can be.
func (b *buckets[K]) stats() (int, int) { return int(b.size.Load()), b.capacity }

// debts is a heap of buckets, the least debt first.
type debts[K comparable] []*bucket[K]

func (d debts[K]) Len() int           { return len(d) }
func (d debts[K]) Less(i, j int) bool { return d[i].tat < d[j].tat }

func (d debts[K]) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].index, d[j].index = i, j
}

// Push serves container/heap.
func (d *debts[K]) Push(x any) {
	b, _ := x.(*bucket[K])
	b.index = len(*d)
	*d = append(*d, b)
}

// Pop serves container/heap.
func (d *debts[K]) Pop() any {
	last := len(*d) - 1
	b := (*d)[last]
	(*d)[last] = nil
	*d = (*d)[:last]
	return b
}
