package bench

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Load is a number of requests that several connections send, each as soon as its last one was answered.
type Load struct {
	Address  string // host:port
	Conns    int
	Requests int
	Request  func(i int) []byte // the i-th request, from 0; called by several goroutines
	Want     int                // the status that every answer must have; 0: any
	// PerSecond bounds all connections together; 0: no bound.
	PerSecond float64
}

// Run sends the load and returns how long each request took, in order of time taken. The first unexpected answer ends it.
func (l Load) Run(ctx context.Context) ([]time.Duration, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	took := make([][]time.Duration, l.Conns)
	errs := make([]error, l.Conns)
	var next atomic.Int64
	var workers sync.WaitGroup
	began := time.Now()
	for w := range l.Conns {
		workers.Go(func() {
			if took[w], errs[w] = l.work(ctx, began, &next); errs[w] != nil {
				cancel()
			}
		})
	}
	workers.Wait()
	all := slices.Concat(took...)
	slices.Sort(all)
	return all, errors.Join(errs...)
}

func (l Load) work(ctx context.Context, began time.Time, next *atomic.Int64) ([]time.Duration, error) {
	conn, err := Dial(ctx, l.Address)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	var took []time.Duration
	for {
		i := int(next.Add(1) - 1)
		if i >= l.Requests || ctx.Err() != nil {
			return took, nil
		}
		request := l.Request(i)
		if l.PerSecond > 0 {
			due := began.Add(time.Duration(float64(i) / l.PerSecond * float64(time.Second)))
			select {
			case <-time.After(time.Until(due)):
			case <-ctx.Done():
				return took, nil
			}
		}
		sent := time.Now()
		status, body, err := conn.Do(request)
		if err != nil {
			return took, fmt.Errorf("request %d: %w", i, err)
		}
		took = append(took, time.Since(sent))
		if l.Want != 0 && status != l.Want {
			return took, fmt.Errorf("request %d: status %d, want %d: %.300s", i, status, l.Want, body)
		}
	}
}

// Always repeats one request.
func Always(request []byte) func(int) []byte { return func(int) []byte { return request } }

// Percentile returns the p-th percentile, 0 to 100, of sorted values.
func Percentile[T any](sorted []T, p float64) T {
	return sorted[min(len(sorted)-1, int(p/100*float64(len(sorted))))]
}

// basic encodes credentials as RFC 6749 §2.3.1 wants them.
func basic(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(user) + ":" + url.QueryEscape(password)))
}
