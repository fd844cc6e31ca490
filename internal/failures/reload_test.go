package failures

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest"
)

// reloaded is a server that speaks TLS, with the files that it reads again on SIGHUP.
type reloaded struct {
	*servertest.Server

	certFile, keyFile string
	good              []byte // its configuration
}

// TestReload gives a running server one bad thing after another to read: none changes anything. What is good is taken over.
func TestReload(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := &reloaded{certFile: filepath.Join(dir, "cert.pem"), keyFile: filepath.Join(dir, "key.pem")}
	r.certify(t, 1, time.Hour)
	r.Server = servertest.Serve(t, servertest.Config{
		Issuer: "https://ADDRESS", ExtraYAML: "tls:\n  cert_file: " + r.certFile + "\n  key_file: " + r.keyFile + "\nlog:\n  level: info\n",
	})
	r.good = r.read(t, r.File)
	if serial := r.serial(t); serial != 1 {
		t.Fatalf("serves certificate %d", serial)
	}

	debug := strings.Replace(string(r.good), "level: info", "level: debug", 1)
	for name, text := range map[string]string{
		"unknown option": debug + "tokns:\n  default_ttl: 1m\n",
		"bad value":      debug + "tokens:\n  default_ttl: soon\n",
		"no YAML":        debug + "\t{",
		"empty":          "",
	} {
		r.write(t, r.File, []byte(text))
		r.hangUp(t, "configuration is not changed")
		during(t, 200*time.Millisecond, func() { // the line of a request comes after its answer
			if r.debugs(t) {
				t.Errorf("%s: the log level of a broken configuration is in force", name)
			}
		})
	}
	if err := os.Remove(r.File); err != nil {
		t.Fatal(err)
	}
	r.hangUp(t, "configuration is not changed")

	// A good configuration is taken over, and says what it cannot take over while it runs.
	r.write(t, r.File, []byte(debug+"limits:\n  failures_burst: 7\n"))
	r.hangUp(t, "configuration is read again")
	if !strings.Contains(r.Log(), "limits") {
		t.Error("the log does not name the options that need a restart")
	}
	eventually(t, 5*time.Second, "log more, as the good configuration says", func() bool { return r.debugs(t) })
	r.write(t, r.File, r.good)
	r.hangUp(t, "configuration is read again")
	r.badCertificates(t)
	r.certify(t, 2, time.Hour)
	r.hangUp(t, "configuration is read again")
	if serial := r.serial(t); serial != 2 {
		t.Errorf("serves certificate %d after the reload, want 2", serial)
	}
}

// badCertificates keep the one that is in use.
func (r *reloaded) badCertificates(t *testing.T) {
	t.Helper()
	cert, key := r.read(t, r.certFile), r.read(t, r.keyFile)
	restore := func() {
		r.write(t, r.certFile, cert)
		r.write(t, r.keyFile, key)
	}
	for name, spoil := range map[string]func(){
		"garbage":        func() { r.write(t, r.certFile, []byte("no certificate")) },
		"half":           func() { r.write(t, r.certFile, cert[:len(cert)/2]) },
		"key of another": func() { r.certify(t, 3, time.Hour); r.write(t, r.certFile, cert) },
		"expired":        func() { r.certify(t, 4, -time.Minute) },
		"missing":        func() { _ = os.Remove(r.certFile) },
	} {
		spoil()
		r.hangUp(t, "configuration is not changed")
		if serial := r.serial(t); serial != 1 {
			t.Errorf("%s: serves certificate %d, want the one before", name, serial)
		}
		restore()
	}
}

// hangUp sends SIGHUP and waits for what the log says then.
func (r *reloaded) hangUp(t *testing.T, says string) {
	t.Helper()
	before := strings.Count(r.Log(), says)
	r.Signal(syscall.SIGHUP)
	eventually(t, 5*time.Second, "say that the "+says, func() bool { return strings.Count(r.Log(), says) > before })
	if !r.Running() {
		t.Fatal("the server ended on SIGHUP")
	}
}

// serial is that of the certificate that a new connection sees. The request is also what debug logs speak of.
func (r *reloaded) serial(t *testing.T) int64 {
	t.Helper()
	dialer := &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
	conn, err := dialer.DialContext(t.Context(), "tcp", r.Address)
	if err != nil {
		t.Errorf("connect: %v", err)
		return 0
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write([]byte("GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")); err != nil {
		t.Errorf("ask: %v", err)
	}
	if n, err := conn.Read(make([]byte, 12)); n == 0 {
		t.Errorf("no answer: %v", err)
	}
	secured, ok := conn.(*tls.Conn)
	if !ok {
		t.Fatalf("%T is no TLS connection", conn)
	}
	return secured.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

// debugs says whether this request, or one before it, has left a debug line in the log.
func (r *reloaded) debugs(t *testing.T) bool {
	t.Helper()
	r.serial(t)
	return strings.Contains(r.Log(), `"level":"DEBUG"`)
}

func (r *reloaded) read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func (r *reloaded) write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// certify writes a new pair with this serial number, which ends after so long.
func (r *reloaded) certify(t *testing.T, serial int64, life time.Duration) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(life),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	r.write(t, r.certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	r.write(t, r.keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: sealed}))
}
