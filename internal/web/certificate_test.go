package web_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-1972b8eb/signet/internal/web"
)

// pair is a self-signed certificate for 127.0.0.1 and its key, in files.
type pair struct{ cert, key string }

func newPair(t *testing.T, name string, notAfter time.Time) pair {
	t.Helper()
	dir := t.TempDir()
	p := pair{filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")}
	p.write(t, name, notAfter)
	return p
}

func (p pair) write(t *testing.T, name string, notAfter time.Time) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: notAfter, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, p.cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	writeFile(t, p.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
}

func (p pair) pem(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile(p.cert)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func writeFile(t *testing.T, name string, text []byte) {
	t.Helper()
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// served is the name in the certificate that handshakes get.
func served(t *testing.T, c *web.Certificate) string {
	t.Helper()
	got, err := c.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	return got.Leaf.Subject.CommonName
}

func TestBadReloadKeepsTheCertificate(t *testing.T) {
	t.Parallel()
	tests := map[string]func(t *testing.T, p pair){
		"garbage": func(t *testing.T, p pair) { writeFile(t, p.cert, []byte("garbage")) },
		"missing": func(t *testing.T, p pair) {
			if err := os.Remove(p.key); err != nil {
				t.Fatal(err)
			}
		},
		"key of another": func(t *testing.T, p pair) {
			other := newPair(t, "other", time.Now().Add(time.Hour))
			text, err := os.ReadFile(other.key)
			if err != nil {
				t.Fatal(err)
			}
			writeFile(t, p.key, text)
		},
		"expired": func(t *testing.T, p pair) { p.write(t, "second", time.Now().Add(-time.Hour)) },
	}
	for name, damage := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, "first", time.Now().Add(time.Hour))
			c, err := web.NewCertificate(p.cert, p.key)
			if err != nil {
				t.Fatal(err)
			}
			damage(t, p)
			err = c.Reload()
			if err == nil || !strings.Contains(err.Error(), filepath.Dir(p.cert)) || strings.Contains(err.Error(), "PRIVATE") {
				t.Errorf("Reload: %v, want an error that names the file", err)
			}
			if got := served(t, c); got != "first" {
				t.Errorf("serves %q", got)
			}
			if _, err := web.NewCertificate(p.cert, p.key); err == nil {
				t.Error("a server starts with it")
			}
			p.write(t, "second", time.Now().Add(time.Hour))
			if err := c.Reload(); err != nil || served(t, c) != "second" {
				t.Errorf("Reload of a good pair: %v, serves %q", err, served(t, c))
			}
		})
	}
}

// TestWatch replaces the files under a running server: first by garbage, which is reported once however often it is tried,
// then by a good pair.
func TestWatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, "first", time.Now().Add(24*time.Hour))
		c, err := web.NewCertificate(p.cert, p.key)
		if err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer // nobody writes while the test runs: time stands still
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go c.Watch(ctx, time.Minute, slog.New(slog.NewJSONHandler(&log, nil)))

		writeFile(t, p.cert, []byte("half of it, and longer than no certificate at all"))
		time.Sleep(10*time.Minute + time.Second)
		synctest.Wait()
		if n := strings.Count(log.String(), "not reloaded"); n != 1 || served(t, c) != "first" {
			t.Errorf("reported %d times, serves %q:\n%s", n, served(t, c), log.String())
		}
		p.write(t, "second", time.Now().Add(48*time.Hour))
		time.Sleep(time.Minute)
		synctest.Wait()
		if served(t, c) != "second" || !strings.Contains(log.String(), "certificate reloaded") || time.Until(c.NotAfter()) < 24*time.Hour {
			t.Errorf("serves %q until %v:\n%s", served(t, c), c.NotAfter(), log.String())
		}
		size := log.Len()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if log.Len() != size {
			t.Errorf("nothing changed and it is logged: %s", log.String()[size:])
		}
	})
}

func TestCertificateErrors(t *testing.T) {
	t.Parallel()
	if _, err := web.NewCertificate("absent.crt", "absent.key"); err == nil || !strings.Contains(err.Error(), "absent.crt") {
		t.Errorf("got %v, want an error that names the file", err)
	} else if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is not fs.ErrNotExist", err)
	}
}
