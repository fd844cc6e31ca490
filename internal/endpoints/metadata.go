package endpoints

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/seed-1972b8eb/signet/internal/oauth"
)

// metadataMaxAge is short, because a verifier must learn of a new algorithm about as fast as of its keys.
const metadataMaxAge = 5 * time.Minute

// cachedDocument is the metadata as it was last written.
type cachedDocument struct {
	current atomic.Pointer[writtenMetadata]
}

type writtenMetadata struct {
	algorithms []string // the one part that can change
	document   document
}

// metadata is the authorization server metadata (RFC 8414 §3), under the OpenID Connect name too: the same bytes.
func (s *server) metadata(w http.ResponseWriter, r *http.Request) {
	m := s.OAuth.Metadata()
	written := s.document.current.Load()
	if written == nil || !slices.Equal(written.algorithms, m.SigningAlgorithms) {
		var err error
		if written, err = writeMetadata(m); err != nil {
			s.refuse(w, r, route{endpoint: "metadata", public: true}, err)
			return
		}
		s.document.current.Store(written)
	}
	s.serve(w, r, written.document)
}

func writeMetadata(m oauth.Metadata) (*writtenMetadata, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("write the metadata: %w", err)
	}
	return &writtenMetadata{
		algorithms: m.SigningAlgorithms,
		document:   document{body: body, etag: etagOf(body), maxAge: metadataMaxAge},
	}, nil
}
