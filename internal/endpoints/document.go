package endpoints

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// document is something that is the same for everybody, whatever their query and headers say: caches must have nothing to
// confuse (ATTACKS P15).
type document struct {
	body   []byte
	etag   string // strong, with its quotes (RFC 9110 §8.8.3)
	maxAge time.Duration
}

// etagOf makes a strong entity tag of the bytes themselves, so that replicas agree on it.
func etagOf(body []byte) string {
	sum := sha256.Sum256(body)
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`
}

// serve answers GET and HEAD, with 304 for a caller that has it (RFC 9110 §13.1.2).
func (s *server) serve(w http.ResponseWriter, r *http.Request, d document) {
	h := w.Header()
	h.Set("Cache-Control", "public, max-age="+strconv.FormatInt(int64(d.maxAge/time.Second), 10))
	h.Set("ETag", d.etag)
	if names(r.Header.Values("If-None-Match"), d.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h["Content-Type"] = s.shared.json
	h.Set("Content-Length", strconv.Itoa(len(d.body)))
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusOK)
		return
	}
	_, _ = w.Write(d.body) // a caller that has gone away is nobody to tell
}

// names says whether If-None-Match names the tag. The comparison is the weak one: W/ makes no difference (RFC 9110 §13.1.2).
func names(lines []string, etag string) bool {
	for _, line := range lines {
		for tag := range strings.SplitSeq(line, ",") {
			if tag = strings.TrimSpace(tag); tag == "*" || strings.TrimPrefix(tag, "W/") == etag {
				return true
			}
		}
	}
	return false
}
