package oauth

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/seed-1972b8eb/signet/internal/clientjwks"
)

// The rules of fetching a client's jwks_uri (CHECKLIST PKJ-27; ATTACKS C1, C2, C11).
const (
	fetchTimeout  = 2 * time.Second  // from dialling to the last byte
	fetchAtOnce   = 16               // fetches under way; more are refused
	fetchCoolDown = 30 * time.Second // between two fetches for one client, whatever the reason
	fetchFresh    = 5 * time.Minute  // how long a fetched set is used without asking again: a key that was removed lives so long
	fetchStale    = 15 * time.Minute // how long it is used when asking again fails
)

var (
	errFetch   = errors.New("jwks_uri gave no usable keys")
	errAddress = errors.New("address is neither public nor in outbound.allow_cidrs")
	errBusy    = errors.New("too many fetches under way")
	errAway    = errors.New("no answer") // nothing that could be called one came from the client's server, or that it is in trouble
)

// unreachableError means that nobody knows what keys a client has now.
type unreachableError struct{ retryAfter time.Duration } // when the next fetch may be

func (e *unreachableError) Error() string { return "jwks_uri cannot be reached" }

// fetcher fetches and keeps the JWK sets that clients publish. Safe for concurrent use.
type fetcher struct {
	allow  []netip.Prefix
	log    *slog.Logger
	secure *http.Client // https: public addresses and those of allow
	plain  *http.Client // http: those of allow only
	slots  chan struct{}
	flight singleflight.Group // by client ID and URI
	mu     sync.Mutex
	known  map[string]publishedSet // by client ID
}

// publishedSet is what is known of one client's jwks_uri.
type publishedSet struct {
	uri     string
	set     clientjwks.Set
	fetched time.Time // when set was fetched; zero: never
	tried   time.Time // when the last fetch began
	away    bool      // the last fetch came to nothing for want of an answer
}

func newFetcher(out OutboundConfig, log *slog.Logger) *fetcher {
	return &fetcher{
		allow:  out.AllowCIDRs,
		log:    log,
		secure: newOutbound(out.AllowCIDRs, true),
		plain:  newOutbound(out.AllowCIDRs, false),
		slots:  make(chan struct{}, fetchAtOnce),
		known:  map[string]publishedSet{},
	}
}

// newOutbound makes a client that connects to permitted addresses only. The address is checked when it is dialled, after
// the name was resolved, so that no name, notation or second resolution leads elsewhere. It follows no redirect, uses no
// proxy, keeps no connection and unpacks no compression.
func newOutbound(allow []netip.Prefix, public bool) *http.Client {
	dialer := &net.Dialer{Timeout: fetchTimeout, Control: func(_, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil || !clientjwks.Permitted(to.Addr(), allow, public) {
			return errAddress
		}
		return nil
	}}
	return &http.Client{
		Timeout:       fetchTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			DisableKeepAlives:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: 16 << 10,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		},
	}
}

// candidates gives the published keys of a client that fit, from what is kept where that is fresh and has one. Otherwise it
// fetches, once for all who wait, and not again before the cool-down is over. Keys beside an *unreachableError are the last
// ones known: what they verify is right, and what they do not is not known to be wrong.
func (f *fetcher) candidates(ctx context.Context, clientID, uri, kid, alg string) ([]crypto.PublicKey, error) {
	now := time.Now()
	have := f.get(clientID, uri)
	found := have.set.Candidates(kid, alg)
	if now.Sub(have.fetched) < fetchFresh && len(found) > 0 {
		return found, nil
	}
	if now.Sub(have.tried) >= fetchCoolDown {
		done := f.flight.DoChan(clientID+" "+uri, func() (any, error) {
			// The fetch goes on when the one who caused it has gone: others may wait for it.
			return f.refresh(context.WithoutCancel(ctx), clientID, uri), nil
		})
		select {
		case result := <-done:
			have, _ = result.Val.(publishedSet)
		case <-ctx.Done():
			return nil, &unreachableError{retryAfter: retryAfterFault}
		}
	}
	usable := now.Sub(have.fetched) < fetchStale
	found = nil
	if usable {
		found = have.set.Candidates(kid, alg)
	}
	switch {
	case have.away: // found may verify the assertion; if not, the key may be one that the client has published since
		return found, &unreachableError{retryAfter: max(retryAfterFault, time.Until(have.tried.Add(fetchCoolDown)))}
	case !usable:
		return nil, errFetch
	default:
		return found, nil
	}
}

// get gives what is known; of another URI than the client has now nothing counts.
func (f *fetcher) get(clientID, uri string) publishedSet {
	f.mu.Lock()
	defer f.mu.Unlock()
	if have := f.known[clientID]; have.uri == uri {
		return have
	}
	return publishedSet{uri: uri}
}

// refresh fetches and keeps the set, and returns what is known then. When that fails, what was there stays until it is too old.
func (f *fetcher) refresh(ctx context.Context, clientID, uri string) publishedSet {
	next := f.get(clientID, uri)
	if time.Since(next.tried) < fetchCoolDown { // another flight has landed in between
		return next
	}
	before := next.tried
	next.tried = time.Now()
	set, err := f.fetch(ctx, uri)
	next.away = errors.Is(err, errAway) || errors.Is(err, errBusy)
	if err == nil {
		next.set, next.fetched = set, next.tried
	} else {
		f.log.WarnContext(ctx, "client's jwks_uri cannot be used", slog.String("client_id", clientID), slog.String("error", err.Error()))
	}
	if errors.Is(err, errBusy) {
		next.tried = before
		return next // no fetch was made, for reasons that are not this client's: there is nothing to cool down from
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	makeRoom(f.known, clientID)
	f.known[clientID] = next
	return next
}

func (f *fetcher) fetch(ctx context.Context, uri string) (clientjwks.Set, error) {
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	default:
		return clientjwks.Set{}, errBusy
	}
	if err := clientjwks.CheckURI(uri, f.allow); err != nil {
		return clientjwks.Set{}, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, http.NoBody)
	if err != nil {
		return clientjwks.Set{}, errFetch
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	client := f.secure
	if request.URL.Scheme != "https" {
		client = f.plain
	}
	response, err := client.Do(request)
	if err != nil {
		if detail, ok := errors.AsType[*url.Error](err); ok {
			err = detail.Err // without the URL, which may hold what is not for logs
		}
		if errors.Is(err, errAddress) {
			return clientjwks.Set{}, fmt.Errorf("fetch: %w", err)
		}
		return clientjwks.Set{}, fmt.Errorf("fetch: %w: %w", errAway, err)
	}
	defer func() { _ = response.Body.Close() }()
	if inTrouble(response.StatusCode) {
		return clientjwks.Set{}, fmt.Errorf("fetch: %w: status %d", errAway, response.StatusCode)
	}
	if response.StatusCode != http.StatusOK {
		return clientjwks.Set{}, fmt.Errorf("fetch: status %d, want 200 (redirects are not followed)", response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, clientjwks.MaxBytes+1))
	if err != nil {
		return clientjwks.Set{}, fmt.Errorf("fetch: %w: %w", errAway, err)
	}
	if len(body) <= clientjwks.MaxBytes && endsTooSoon(body) {
		return clientjwks.Set{}, fmt.Errorf("fetch: %w: the body ends in the middle", errAway)
	}
	return clientjwks.ParsePublished(body)
}

// inTrouble says whether a status speaks of the server, and not of what was asked for.
func inTrouble(status int) bool {
	return status >= http.StatusInternalServerError || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout
}

// endsTooSoon tells the beginning of a JSON text from one that is whole or wrong. Not every cut is an error of the connection: a
// body without a length ends with the connection, and a server or proxy that fails half-way may end its chunks in good order.
func endsTooSoon(body []byte) bool {
	err := json.NewDecoder(bytes.NewReader(body)).Decode(&json.RawMessage{})
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
