package oauth

import (
	"context"
	"time"

	"github.com/ory/fosite"
)

// The doors of fosite that stay shut. They exist because fosite wants something in each place; none is reached by the flow
// that Signet uses, and each fails closed if it ever is.

// shutStorage knows no client and stores nothing.
type shutStorage struct{}

// GetClient always fails: clients are looked up by our own authentication.
func (shutStorage) GetClient(context.Context, string) (fosite.Client, error) { return nil, errFenced }

// ClientAssertionJWTValid always fails: assertions are judged by our own authentication.
func (shutStorage) ClientAssertionJWTValid(context.Context, string) error { return errFenced }

// SetClientAssertionJWT always fails.
func (shutStorage) SetClientAssertionJWT(context.Context, string, time.Time) error { return errFenced }

// shutHasher matches no secret, least of all an empty one.
type shutHasher struct{}

// Compare always fails.
func (shutHasher) Compare(context.Context, []byte, []byte) error { return errFenced }

// Hash always fails.
func (shutHasher) Hash(context.Context, []byte) ([]byte, error) { return nil, errFenced }

// shutFetcher has no method of its own, because the result type is of go-jose v3, which Signet does not import. Calling it
// panics, which the HTTP layer turns into a 500.
type shutFetcher struct{ fosite.JWKSFetcherStrategy }
