package redistest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest/daemon"
)

// StartTLS starts a server that listens for TLS clients too, at TLSURL, with a certificate for 127.0.0.1 by the authority in
// CAFile. URL is for clients without TLS.
func StartTLS(t testing.TB, settings ...string) *Server {
	t.Helper()
	s := prepare(t)
	s.writeCertificates()
	p := plain(rand.Text(), settings)
	p.ports = 2
	others := p.settings
	p.settings = func(ports []*daemon.Port) []string {
		return append([]string{
			fmt.Sprintf("tls-port %d", ports[1].Number()),
			"tls-cert-file server.pem",
			"tls-key-file server.key",
			"tls-ca-cert-file ca.pem",
			"tls-auth-clients no",
		}, others(ports)...)
	}
	s.begin(p)
	return s
}

// TLSURL returns the rediss:// URL of a server of StartTLS.
func (s *Server) TLSURL() string {
	return strings.NewReplacer("redis://", "rediss://", s.Addr(), s.running.ports[1].Addr()).Replace(s.URL())
}

// CAFile returns the file with the authority of a server of StartTLS.
func (s *Server) CAFile() string { return filepath.Join(s.home.Dir, "ca.pem") }

// writeCertificates makes an authority and, signed by it, a certificate for 127.0.0.1.
func (s *Server) writeCertificates() {
	s.t.Helper()
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Redis test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "Redis test server"},
		NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	authorityKey, leafKey := s.newKey(), s.newKey()
	s.writePEM("ca.pem", "CERTIFICATE", s.sign(authority, authority, authorityKey, authorityKey))
	s.writePEM("server.pem", "CERTIFICATE", s.sign(leaf, authority, leafKey, authorityKey))
	text, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		s.t.Fatalf("write the key of Redis: %v", err)
	}
	s.writePEM("server.key", "PRIVATE KEY", text)
}

func (s *Server) newKey() *ecdsa.PrivateKey {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatalf("make a key for Redis: %v", err)
	}
	return key
}

func (s *Server) sign(certificate, by *x509.Certificate, key, byKey *ecdsa.PrivateKey) []byte {
	s.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, certificate, by, &key.PublicKey, byKey)
	if err != nil {
		s.t.Fatalf("make a certificate for Redis: %v", err)
	}
	return der
}

func (s *Server) writePEM(name, kind string, der []byte) {
	s.t.Helper()
	if _, err := s.home.WriteFile(name, string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))); err != nil {
		s.t.Fatalf("prepare Redis: %v", err)
	}
}
