package web

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Certificate is a TLS certificate and its key from two PEM files, which may be replaced while the server runs. A pair
// that cannot be used changes nothing: the one before stays. Safe for concurrent use.
type Certificate struct {
	certFile, keyFile string
	current           atomic.Pointer[tls.Certificate]

	mu   sync.Mutex // held over a reload
	seen fileState  // of the files that current came from
}

// fileState tells a replaced pair of files from the one before.
type fileState struct {
	certTime, keyTime time.Time
	certSize, keySize int64
}

// NewCertificate reads the pair. The error names the file, never what is in it.
func NewCertificate(certFile, keyFile string) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile}
	if err := c.Reload(); err != nil {
		return nil, err
	}
	return c, nil
}

// GetCertificate serves tls.Config.
func (c *Certificate) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.current.Load(), nil
}

// NotAfter is when the certificate expires.
func (c *Certificate) NotAfter() time.Time { return c.current.Load().Leaf.NotAfter }

// Reload reads both files again. On any error the certificate before stays in use: also when the new one has expired,
// since no client would take it.
func (c *Certificate) Reload() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reload()
}

func (c *Certificate) reload() error {
	state, err := c.stat()
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("read TLS certificate %s with key %s: %w", c.certFile, c.keyFile, err)
	}
	if now := time.Now(); now.After(pair.Leaf.NotAfter) {
		return fmt.Errorf("TLS certificate %s expired at %s", c.certFile, pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	c.current.Store(&pair)
	c.seen = state
	return nil
}

// Watch looks at the files at every interval and reloads them when they changed, until ctx ends. A pair that cannot be
// used (half of it may be written so far) is tried again each time and reported once per cause.
func (c *Certificate) Watch(ctx context.Context, interval time.Duration, log *slog.Logger) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var reported string
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		switch changed, err := c.refresh(); {
		case err != nil && err.Error() != reported:
			reported = err.Error()
			log.LogAttrs(ctx, slog.LevelError, "certificate not reloaded, the one before stays", slog.String("error", reported))
		case err == nil:
			reported = ""
			if changed {
				log.LogAttrs(ctx, slog.LevelInfo, "certificate reloaded", slog.Time("not_after", c.NotAfter()))
			}
		}
	}
}

// refresh reloads when the files differ from those that are in use.
func (c *Certificate) refresh() (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	state, err := c.stat()
	if err != nil || state == c.seen {
		return false, err
	}
	if err := c.reload(); err != nil {
		return false, err
	}
	return true, nil
}

func (c *Certificate) stat() (fileState, error) {
	cert, certErr := os.Stat(c.certFile)
	key, keyErr := os.Stat(c.keyFile)
	if err := errors.Join(certErr, keyErr); err != nil {
		return fileState{}, fmt.Errorf("read TLS certificate: %w", err)
	}
	return fileState{cert.ModTime(), key.ModTime(), cert.Size(), key.Size()}, nil
}
