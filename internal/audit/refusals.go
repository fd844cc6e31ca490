package audit

import (
	"strings"
	"sync"
	"time"
)

// MaxRefusalText is how many bytes of each text of a Refusal are kept.
const MaxRefusalText = 256

// Refusal is one request that was refused: why, in words that the caller was not given. It never holds a secret, a token
// or an assertion.
type Refusal struct {
	RequestID string // the caller was given it in X-Request-Id
	Time      time.Time
	Endpoint  string // "token", "introspect", "revoke"
	ClientID  string // claimed, not proven
	Source    string // the caller's address
	Code      string // the OAuth error that the caller was given
	Reason    string // why, as a word: "secret_mismatch"
	Detail    string // why, as a sentence
}

// RefusalFilter narrows a listing. The zero value lists everything.
type RefusalFilter struct {
	ClientID string
	Endpoint string
	Reason   string
	Since    time.Time // only later ones
}

func (f RefusalFilter) matches(r *Refusal) bool {
	return (f.ClientID == "" || f.ClientID == r.ClientID) &&
		(f.Endpoint == "" || f.Endpoint == r.Endpoint) &&
		(f.Reason == "" || f.Reason == r.Reason) &&
		(f.Since.IsZero() || r.Time.After(f.Since))
}

// Refusals remembers the latest refusals of this process, so that an admin can be told why a request failed, within a
// second and without a database. The oldest makes room for the newest. Safe for concurrent use.
type Refusals struct {
	mu   sync.RWMutex
	ring []Refusal
	next int  // where the next one goes
	full bool // the ring has gone round
}

// NewRefusals makes room for capacity refusals; at least one.
func NewRefusals(capacity int) *Refusals { return &Refusals{ring: make([]Refusal, max(capacity, 1))} }

// Record remembers r. Texts are cut at MaxRefusalText and copied, so that a refusal never keeps the request alive whose
// body its client ID is a part of.
func (s *Refusals) Record(r Refusal) {
	for _, text := range []*string{&r.RequestID, &r.Endpoint, &r.ClientID, &r.Source, &r.Code, &r.Reason, &r.Detail} {
		*text = strings.Clone((*text)[:min(len(*text), MaxRefusalText)])
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ring[s.next] = r
	if s.next++; s.next == len(s.ring) {
		s.next, s.full = 0, true
	}
}

// Find returns the refusal of one request. Of several with the same ID (a trusted proxy chose it) it is the latest.
func (s *Refusals) Find(requestID string) (Refusal, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for i := range s.lenLocked() {
		if r := s.latest(i); r.RequestID == requestID {
			return *r, true
		}
	}
	return Refusal{}, false
}

// List returns at most limit refusals that match, newest first.
func (s *Refusals) List(f RefusalFilter, limit int) []Refusal {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var found []Refusal
	for i := range s.lenLocked() {
		if len(found) >= limit {
			break
		}
		if r := s.latest(i); f.matches(r) {
			found = append(found, *r)
		}
	}
	return found
}

// Stats says how many refusals are remembered, and how many can be.
func (s *Refusals) Stats() (int, int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.lenLocked(), len(s.ring)
}

func (s *Refusals) lenLocked() int {
	if s.full {
		return len(s.ring)
	}
	return s.next
}

// latest is the refusal that i others came after.
func (s *Refusals) latest(i int) *Refusal {
	return &s.ring[(s.next-1-i+len(s.ring))%len(s.ring)]
}
