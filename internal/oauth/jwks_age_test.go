package oauth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/seed-1972b8eb/signet/internal/clientjwks"
)

// remote plays the client's server: what it answers, and how often it was asked. Sockets do not work inside a bubble.
type remote struct {
	kids []string
	err  error
	hits int
}

func (r *remote) RoundTrip(*http.Request) (*http.Response, error) {
	r.hits++
	if r.err != nil {
		return nil, r.err
	}
	var set jose.JSONWebKeySet
	for _, kid := range r.kids {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: key.Public(), KeyID: kid})
	}
	text, err := json.Marshal(set)
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(string(text)))}, err
}

// The ages of a fetched set: fresh, stale, gone; and the cool-down between fetches (PKJ-27, ATTACKS B7).
func TestFetchedKeysAge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &remote{kids: []string{"a"}}
		f := newFetcher(OutboundConfig{}, slog.New(slog.DiscardHandler))
		f.secure.Transport = r
		ask := func(step, kid string, wantKeys, wantHits int, wantErr bool) {
			t.Helper()
			found, err := f.candidates(t.Context(), "client_1", "https://client.test/jwks", kid, clientjwks.ES256)
			if len(found) != wantKeys || r.hits != wantHits || (err != nil) != wantErr {
				t.Fatalf("%s: %d keys, %d fetches, error %v; want %d, %d, %t", step, len(found), r.hits, err, wantKeys, wantHits, wantErr)
			}
		}
		ask("first", "a", 1, 1, false)
		ask("again", "a", 1, 1, false)
		r.kids = []string{"b"}
		ask("unknown kid in the cool-down", "b", 0, 1, false)
		time.Sleep(fetchCoolDown)
		ask("unknown kid after it", "b", 1, 2, false)
		ask("B7: the key that was taken out", "a", 0, 2, false)
		time.Sleep(fetchFresh - time.Second)
		ask("still fresh", "b", 1, 2, false)
		time.Sleep(time.Second)
		ask("not fresh any more", "b", 1, 3, false)
		r.err = errors.New("connection refused")
		time.Sleep(fetchFresh)
		ask("the client's server is down", "b", 1, 4, true)
		ask("and is not asked again at once", "b", 1, 4, true)
		if _, err := f.candidates(t.Context(), "client_1", "https://client.test/jwks", "c", clientjwks.ES256); !isAway(err) {
			t.Errorf("a key that may have been published since: %v, want that nobody knows", err)
		}
		time.Sleep(fetchStale - fetchFresh)
		ask("too old to be used", "b", 0, 5, true)
		r.err = nil
		ask("up again, in the cool-down", "b", 0, 5, true)
		time.Sleep(fetchCoolDown)
		ask("up again", "b", 1, 6, false)
	})
}

func isAway(err error) bool {
	_, ok := errors.AsType[*unreachableError](err)
	return ok
}

// Too many fetches at once are refused instead of queued.
func TestFetchesAtOnce(t *testing.T) {
	t.Parallel()
	f := newFetcher(OutboundConfig{}, slog.New(slog.DiscardHandler))
	for range fetchAtOnce {
		f.slots <- struct{}{}
	}
	if _, err := f.fetch(t.Context(), "https://client.test/jwks"); !errors.Is(err, errBusy) {
		t.Errorf("got %v", err)
	}
	f.secure.Transport = &remote{kids: []string{"a"}}
	ask := func() ([]crypto.PublicKey, error) {
		return f.candidates(t.Context(), "client_1", "https://client.test/jwks", "a", clientjwks.ES256)
	}
	if _, err := ask(); !isAway(err) {
		t.Errorf("no slot: %v", err)
	}
	<-f.slots
	if found, err := ask(); len(found) != 1 || err != nil {
		t.Errorf("a slot is free: %d keys, %v; no fetch was made, so there is nothing to cool down from", len(found), err)
	}
}

// ATTACKS H18: every cache has a cap.
func TestKeyCachesAreBounded(t *testing.T) {
	t.Parallel()
	f := newFetcher(OutboundConfig{}, slog.New(slog.DiscardHandler))
	f.secure.Transport = &remote{err: errors.New("down")}
	m := map[string]int{}
	for i := range 2 * maxClientKeys {
		makeRoom(m, fmt.Sprint(i))
		m[fmt.Sprint(i)] = i
	}
	if len(m) != maxClientKeys {
		t.Errorf("%d entries", len(m))
	}
	makeRoom(m, fmt.Sprint(2*maxClientKeys-1)) // there already: nothing has to go
	if len(m) != maxClientKeys {
		t.Errorf("%d entries", len(m))
	}
	for i := range maxClientKeys + 10 {
		f.refresh(t.Context(), fmt.Sprint(i), "https://client.test/jwks")
	}
	if len(f.known) != maxClientKeys {
		t.Errorf("%d published sets", len(f.known))
	}
}

// ATTACKS C11: an answer without end is not read to its end.
func TestFetchReadsNoMoreThanItMay(t *testing.T) {
	t.Parallel()
	f := newFetcher(OutboundConfig{}, slog.New(slog.DiscardHandler))
	body := &countless{}
	f.secure.Transport = answering{body}
	if _, err := f.fetch(t.Context(), "https://client.test/jwks"); !errors.Is(err, clientjwks.ErrInvalid) {
		t.Errorf("got %v", err)
	}
	if body.read > 2*clientjwks.MaxBytes {
		t.Errorf("read %d bytes", body.read)
	}
}

type answering struct{ body io.Reader }

func (a answering) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(a.body)}, nil
}

// countless gives 16 MiB, and counts what is taken.
type countless struct{ read int }

func (c *countless) Read(p []byte) (int, error) {
	if c.read > 16<<20 {
		return 0, io.EOF
	}
	c.read += len(p)
	return len(p), nil
}
