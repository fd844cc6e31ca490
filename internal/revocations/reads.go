package revocations

import (
	"context"
	"errors"
	"sync"
)

const (
	readsTogether = 256    // checks that one query answers at most
	readsWaiting  = 16_384 // checks that may wait for one
	readsFailed   = 3      // failures in a row after which only one query at a time finds out whether it is over
)

// errBusy means that too many wait already, or that what is asked has failed again and again, and somebody is finding out
// whether it still does.
var errBusy = errors.New("too many wait for an answer, or too many got none")

// reads lets concurrent checks share queries, of the ledger or of a set. Each joins one that has not begun: the answer of a
// query that is under way may be older than the question.
type reads struct {
	ask    func(ctx context.Context, tokens []Token) ([]bool, error) // bounds its own time
	atOnce int                                                       // queries that may run at a time

	mu      sync.Mutex
	waiting []*read
	running int
	failed  int // queries in a row
}

// read is one check that waits.
type read struct {
	ctx     context.Context //nolint:containedctx // of the one who waits: whoever has gone is not asked for
	token   Token
	done    chan struct{}
	revoked bool
	err     error
}

// check asks with the next query.
func (q *reads) check(ctx context.Context, t Token) (bool, error) {
	one := &read{ctx: ctx, token: t, done: make(chan struct{})}
	if err := q.join(ctx, one); err != nil {
		return false, err
	}
	select {
	case <-one.done:
		return one.revoked, one.err
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
}

func (q *reads) join(ctx context.Context, one *read) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	atOnce := q.atOnce
	if q.failed >= readsFailed {
		if q.running > 0 {
			return errBusy
		}
		atOnce = 1
	}
	if len(q.waiting) >= readsWaiting {
		return errBusy
	}
	q.waiting = append(q.waiting, one)
	if q.running < atOnce {
		q.running++
		go q.run(context.WithoutCancel(ctx)) // answers several requests, and outlives the one that started it
	}
	return nil
}

// run asks for those who wait until nobody does.
func (q *reads) run(ctx context.Context) {
	for batch := q.next(); len(batch) > 0; batch = q.next() {
		tokens := make([]Token, len(batch))
		for i, one := range batch {
			tokens[i] = one.token
		}
		revoked, err := q.ask(ctx, tokens)
		if err == nil && len(revoked) != len(tokens) {
			err = errors.New("another number of answers than of questions")
		}
		for i, one := range batch {
			if one.err = err; err == nil {
				one.revoked = revoked[i]
			}
			close(one.done)
		}
		q.ended(err)
	}
}

// next takes those who wait. When nobody does, the caller has ended.
func (q *reads) next() []*read {
	q.mu.Lock()
	defer q.mu.Unlock()
	var batch []*read
	for len(q.waiting) > 0 && len(batch) < readsTogether {
		one := q.waiting[0]
		q.waiting = q.waiting[1:]
		if one.ctx.Err() == nil {
			batch = append(batch, one)
		}
	}
	if len(batch) == 0 {
		q.waiting = nil
		q.running--
	}
	return batch
}

// ended counts failures. Whoever waits while there are too many would wait for one more.
func (q *reads) ended(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err == nil {
		q.failed = 0
		return
	}
	q.failed++
	if q.failed < readsFailed {
		return
	}
	for _, one := range q.waiting {
		one.err = errBusy
		close(one.done)
	}
	q.waiting = nil
}
