package faultlab

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// system is what the oracle looks at: replicas that make tokens, take them back, and say whether they count. An error that is
// errUndecided means that nothing was promised; any other error is an answer that nobody may give.
type system interface {
	// issue gets a token for one of the workers from a replica.
	issue(ctx context.Context, replica, worker int) (token, error)
	// revoke takes a token back; nil is the acknowledgement.
	revoke(ctx context.Context, replica int, t token) error
	// check says whether the token counts.
	check(ctx context.Context, replica int, t token) (bool, error)
	// doomed says whether a token that no revocation was asked for may have ended all the same.
	doomed(ctx context.Context, t token) (bool, error)
	// evidence is what the stores say of a token at this moment.
	evidence(ctx context.Context, t token) string
}

// errUndecided is what may be answered at any time: 503, or nothing by a server that is down.
var errUndecided = errors.New("not decided")

// token is an access token and what the laboratory needs to know of it.
type token struct {
	text, jti, client, kid string

	generation int64
	expires    time.Time
}

// known is a token whose end was acknowledged.
type known struct {
	token

	how   string
	since time.Time // when the acknowledgement had arrived
}

// The kinds of violations.
const (
	resurrected = "a token counts although its end was acknowledged before the question"
	lost        = "a token does not count although nobody took it back"
	improper    = "an answer that nobody may give"
)

// violation is a broken promise with all that may explain it.
type violation struct{ kind, text string }

// oracle remembers what was acknowledged and judges answers. Safe for concurrent use.
type oracle struct {
	system  system
	journal *journal
	history *history

	checks, lives, doubts, ends atomic.Int64
	decided                     []atomic.Int64 // checks that a replica has answered

	mu         sync.Mutex
	entries    []known
	violations []violation
	lastAsked  time.Time // when the latest acknowledged request had been sent
}

func newOracle(s system, j *journal, h *history, replicas int) *oracle {
	return &oracle{system: s, journal: j, history: h, decided: make([]atomic.Int64, replicas)}
}

// acknowledge notes that these tokens have ended: first in the journal, and then as known.
func (o *oracle) acknowledge(asked, since time.Time, how string, tokens ...token) error {
	lines := make([]noted, 0, len(tokens))
	entries := make([]known, 0, len(tokens))
	for _, t := range tokens {
		lines = append(lines, noted{Time: since, How: how, Token: t.text, Client: t.client, Until: t.expires})
		entries = append(entries, known{t, how, since})
	}
	if err := o.journal.add(lines); err != nil {
		return err
	}
	o.ends.Add(int64(len(tokens)))
	o.mu.Lock()
	defer o.mu.Unlock()
	o.entries = append(o.entries, entries...)
	if asked.After(o.lastAsked) {
		o.lastAsked = asked
	}
	return nil
}

// acknowledgedSince says whether a request that was sent after the moment has been acknowledged.
func (o *oracle) acknowledgedSince(moment time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.lastAsked.After(moment)
}

// pick returns one of the newest entries, or any; false while there is none that lives long enough to be asked about.
func (o *oracle) pick(rng *rand.Rand, newest bool) (known, bool) {
	const few = 12
	o.mu.Lock()
	defer o.mu.Unlock()
	n := len(o.entries)
	if n == 0 {
		return known{}, false
	}
	from := 0
	if newest {
		from = max(0, n-few)
	}
	k := o.entries[from+rng.IntN(n-from)]
	return k, time.Until(k.expires) > time.Minute
}

// all returns what is known now.
func (o *oracle) all() []known {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clip(o.entries)
}

// ask asks a replica about a token whose end is known, and says whether it got an answer.
func (o *oracle) ask(ctx context.Context, replica int, k known) bool {
	began := time.Now()
	active, err := o.system.check(ctx, replica, k.token)
	switch {
	case errors.Is(err, errUndecided):
		o.doubts.Add(1)
		return false
	case err != nil:
		o.violated(ctx, improper, replica, k.token, began, fmt.Sprintf("%s; %v", k.ended(), err))
	case active && !began.Before(k.since):
		o.violated(ctx, resurrected, replica, k.token, began, k.ended())
	}
	o.checks.Add(1)
	o.decided[replica].Add(1)
	return true
}

func (k known) ended() string {
	return fmt.Sprintf("%s, acknowledged at %s", k.how, stamp(k.since))
}

// askLive asks a replica about a token that nobody took back.
func (o *oracle) askLive(ctx context.Context, replica int, t token) {
	began := time.Now()
	active, err := o.system.check(ctx, replica, t)
	switch {
	case errors.Is(err, errUndecided):
		o.doubts.Add(1)
		return
	case err != nil:
		o.violated(ctx, improper, replica, t, began, err.Error())
	case !active:
		// Truth only ever ends tokens: what it calls live after the answer was live before it.
		if doomed, err := o.system.doomed(ctx, t); err == nil && !doomed {
			o.violated(ctx, lost, replica, t, began, "")
		}
	}
	o.lives.Add(1)
}

// refused judges what was said to somebody who asked for a token or for its end.
func (o *oracle) refused(ctx context.Context, replica int, t token, err error) {
	o.doubts.Add(1)
	if ctx.Err() == nil && !errors.Is(err, errUndecided) {
		o.violated(ctx, improper, replica, t, time.Now(), err.Error())
	}
}

// mostReported is how many violations are described in full.
const mostReported = 20

func (o *oracle) violated(ctx context.Context, kind string, replica int, t token, began time.Time, why string) {
	ended := time.Now()
	o.mu.Lock()
	count := len(o.violations)
	o.violations = append(o.violations, violation{kind: kind})
	o.mu.Unlock()
	if count >= mostReported {
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "VIOLATION: %s\n", kind)
	fmt.Fprintf(&b, "  jti %s, client %s, generation %d, kid %s\n", t.jti, t.client, t.generation, t.kid)
	fmt.Fprintf(&b, "  replica %d, asked at %s, answered at %s\n", replica, stamp(began), stamp(ended))
	if why != "" {
		fmt.Fprintf(&b, "  %s\n", why)
	}
	fmt.Fprintf(&b, "%s\nfaults before it:\n%s", indent(o.system.evidence(ctx, t)), indent(o.history.tail()))
	o.mu.Lock()
	defer o.mu.Unlock()
	o.violations[count].text = b.String()
}

// broken returns all violations so far.
func (o *oracle) broken() []violation {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.violations)
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n  ")
}

// stamp shows a moment as people compare them.
func stamp(at time.Time) string { return at.Format("15:04:05.000000") }

// history is what was done to the system. Safe for concurrent use.
type history struct {
	mu    sync.Mutex
	lines []string
}

func (h *history) add(format string, args ...any) {
	line := stamp(time.Now()) + " " + fmt.Sprintf(format, args...)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines = append(h.lines, line)
}

func (h *history) tail() string {
	const enough = 60
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.lines[max(0, len(h.lines)-enough):], "\n")
}
