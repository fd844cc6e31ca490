package web

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"time"
)

// The limits of every listener. Slow and huge requests end here, before any handler has seen them.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	writeTimeout      = 15 * time.Second
	idleTimeout       = time.Minute
	maxHeaderBytes    = 16 << 10
	maxStreams        = 100 // of one HTTP/2 connection
)

// ServerConfig says what a server serves.
type ServerConfig struct {
	Handler http.Handler
	// Certificate makes the server speak TLS; nil for plain http.
	Certificate *Certificate
	// Log gets what net/http complains about, such as failed handshakes, at level debug: any passer-by can cause it.
	Log *slog.Logger
}

// NewServer returns a server with the limits above; Serve runs it. TLS is 1.2 or newer with the cipher suites that Go
// holds for safe, and HTTP/2 where the client offers it; HTTP/2 without TLS is never spoken.
func NewServer(c ServerConfig) *http.Server {
	s := &http.Server{
		Handler:           c.Handler,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		ErrorLog:          slog.NewLogLogger(c.Log.Handler(), slog.LevelDebug),
	}
	if c.Certificate != nil {
		s.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.Certificate.GetCertificate}
	}
	return s
}
