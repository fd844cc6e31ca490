package oauth

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"log/slog"
	"math/big"
	"sync"

	"github.com/seed-1972b8eb/signet/internal/clientjwks"
	"github.com/seed-1972b8eb/signet/internal/clients"
)

// maxClientKeys bounds the clients whose keys are kept ready. Those beyond it cost a parse, or a fetch, more.
const maxClientKeys = 4096

// clientKeys gives the keys that a client may have signed with. What is kept is found by client ID, so that the same "kid"
// of another client is another key (ATTACKS B4). Safe for concurrent use.
type clientKeys struct {
	published *fetcher
	mu        sync.Mutex
	parsed    map[string]parsedSet // by client ID
}

// parsedSet is a registered JWK set, and the text that it was parsed from: it counts only while the client has that text.
type parsedSet struct {
	text []byte
	set  clientjwks.Set
}

func newClientKeys(out OutboundConfig, log *slog.Logger) *clientKeys {
	return &clientKeys{published: newFetcher(out, log), parsed: map[string]parsedSet{}}
}

// candidates gives the keys of the client that fit. No key is no error; an error means that there is nothing to look in.
func (k *clientKeys) candidates(ctx context.Context, c *clients.Client, kid, alg string) ([]crypto.PublicKey, error) {
	if c.JWKSURI != "" {
		return k.published.candidates(ctx, c.ID, c.JWKSURI, kid, alg)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	have, ok := k.parsed[c.ID]
	if !ok || !bytes.Equal(have.text, c.JWKS) {
		set, err := clientjwks.Parse(c.JWKS)
		if err != nil {
			return nil, fmt.Errorf("read registered keys: %w", err)
		}
		have = parsedSet{text: c.JWKS, set: set}
		makeRoom(k.parsed, c.ID)
		k.parsed[c.ID] = have
	}
	return have.set.Candidates(kid, alg), nil
}

// makeRoom drops any entry from a full map, unless id is in it already.
func makeRoom[V any](m map[string]V, id string) {
	if _, has := m[id]; has || len(m) < maxClientKeys {
		return
	}
	for other := range m {
		delete(m, other)
		return
	}
}

// decoyKeys holds, for each algorithm, a public key that nobody has the private key of. Verifying with it costs what
// verifying with a client's key costs, so that time does not tell which clients exist.
type decoyKeys map[string]crypto.PublicKey

func newDecoyKeys() (decoyKeys, error) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make decoy key: %w", err)
	}
	ed, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make decoy key: %w", err)
	}
	// Not the product of two primes that anybody knows, but a number of the right size: nothing signs with it.
	modulus := make([]byte, clientjwks.MinRSABits/8)
	_, _ = rand.Read(modulus) // cannot fail
	modulus[0] |= 0x80
	modulus[len(modulus)-1] |= 1
	rs := &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: 65537}
	return decoyKeys{
		clientjwks.ES256: &ec.PublicKey, clientjwks.RS256: rs, clientjwks.PS256: rs, clientjwks.EdDSA: ed, clientjwks.Ed25519: ed,
	}, nil
}
