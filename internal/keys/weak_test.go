package keys_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"math/big"
	"strings"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/keys"
)

// rsaFrom makes a consistent key of two primes, as crypto/rsa itself would refuse to.
func rsaFrom(t *testing.T, p, q *big.Int, e int64) []byte {
	t.Helper()
	one := big.NewInt(1)
	inverse := new(big.Int).ModInverse(q, p)
	if inverse == nil {
		inverse = one
	}
	p1, q1 := new(big.Int).Sub(p, one), new(big.Int).Sub(q, one)
	d := new(big.Int).ModInverse(big.NewInt(e), new(big.Int).Mul(p1, q1))
	if d == nil {
		d = big.NewInt(1) // e divides phi: no such key exists, but a file may claim it
	}
	der, err := asn1.Marshal(struct {
		Version                     int
		N, E, D, P, Q, Dp, Dq, Qinv *big.Int
	}{
		0, new(big.Int).Mul(p, q), big.NewInt(e), d, p, q,
		new(big.Int).Mod(d, p1), new(big.Int).Mod(d, q1), inverse,
	})
	if err != nil {
		t.Fatal(err)
	}
	return armor("RSA PRIVATE KEY", der)
}

func prime(t *testing.T, bits int) *big.Int {
	t.Helper()
	for {
		p, err := rand.Prime(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		if new(big.Int).Mod(p, big.NewInt(65537)).Cmp(big.NewInt(1)) != 0 {
			return p
		}
	}
}

// after returns the first prime above n that gives a key with e = 65537.
func after(n *big.Int) *big.Int {
	p := new(big.Int).SetBit(new(big.Int).Add(n, big.NewInt(2)), 0, 1)
	for ; !p.ProbablyPrime(20) || new(big.Int).Mod(p, big.NewInt(65537)).Cmp(big.NewInt(1)) == 0; p.Add(p, big.NewInt(2)) {
	}
	return p
}

// rocaPrime makes a prime the way the broken generator did: k*M + (65537^a mod M), M the product of the first primes.
func rocaPrime(t *testing.T, bits int) *big.Int {
	t.Helper()
	m, n := big.NewInt(2), 1
	for p := int64(3); n < 126; p += 2 {
		if big.NewInt(p).ProbablyPrime(0) {
			m.Mul(m, big.NewInt(p))
			n++
		}
	}
	top := new(big.Int).Div(new(big.Int).Lsh(big.NewInt(3), uint(bits-2)), m) // so that two primes make twice the bits
	for {
		a, err1 := rand.Int(rand.Reader, m)
		k, err2 := rand.Int(rand.Reader, new(big.Int).Rsh(top, 2))
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		p := new(big.Int).Exp(big.NewInt(65537), a, m)
		p.Add(p, new(big.Int).Mul(m, k.Add(k, top)))
		if p.BitLen() == bits && p.ProbablyPrime(20) && new(big.Int).Mod(p, big.NewInt(65537)).Cmp(big.NewInt(1)) != 0 {
			return p
		}
	}
}

// R4: keys that others have broken are not taken.
func TestImportRefusesWeakRSA(t *testing.T) {
	t.Parallel()
	p, q := prime(t, 1024), prime(t, 1024)
	for name, c := range map[string]struct {
		text func(t *testing.T) []byte
		why  string // the first reason that may be named
	}{
		"sound":              {func(t *testing.T) []byte { return rsaFrom(t, p, q, 65537) }, ""},
		"1024 bits":          {func(t *testing.T) []byte { return rsaFrom(t, prime(t, 512), prime(t, 512), 65537) }, "RSA key of 1024 bits"},
		"5120 bits":          {func(t *testing.T) []byte { return rsaFrom(t, oddOf(4096, 1), after(p), 65537) }, "RSA key of 5"},
		"e = 1":              {func(t *testing.T) []byte { return rsaFrom(t, p, q, 1) }, ""},
		"e = 3":              {func(t *testing.T) []byte { return rsaFrom(t, p, q, 3) }, ""},
		"even e":             {func(t *testing.T) []byte { return rsaFrom(t, p, q, 65538) }, ""},
		"close primes":       {func(t *testing.T) []byte { return rsaFrom(t, p, after(p), 65537) }, "no sound key"},
		"ROCA":               {func(t *testing.T) []byte { return rsaFrom(t, rocaPrime(t, 1024), rocaPrime(t, 1024), 65537) }, "ROCA"},
		"a prime is not one": {func(t *testing.T) []byte { return rsaFrom(t, p, oddOf(1024, 5), 65537) }, "no prime"},
		"one short prime":    {func(t *testing.T) []byte { return rsaFrom(t, prime(t, 512), prime(t, 1536), 65537) }, "same length"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			_, err := b.Import(t.Context(), admin(), c.text(t), apis.RS256)
			if name == "sound" {
				if err != nil {
					t.Errorf("Import = %v", err)
				}
				return
			}
			if !errors.Is(err, keys.ErrInvalid) || !strings.Contains(err.Error(), c.why) {
				t.Errorf("Import = %v, want ErrInvalid and %q", err, c.why)
			}
		})
	}
}

// oddOf returns an odd number of so many bits that is no prime.
func oddOf(bits uint, n int64) *big.Int {
	out := new(big.Int).Lsh(big.NewInt(3), bits-2)
	out.Add(out, big.NewInt(9*n))
	for out.Bit(0) == 0 || new(big.Int).Mod(out, big.NewInt(3)).Sign() != 0 {
		out.Add(out, big.NewInt(1))
	}
	return out
}

// R10: whatever happened to a file, the answer is an error or a sound key, and never a panic.
func TestImportSurvivesCorruptKeys(t *testing.T) {
	t.Parallel()
	m := newMaterial(t)
	ec, err1 := x509.MarshalECPrivateKey(m.ec)
	ed, err2 := x509.MarshalPKCS8PrivateKey(m.ed)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	rs := x509.MarshalPKCS1PrivateKey(m.rsa)
	for name, c := range map[string]struct {
		kind string
		der  []byte
		alg  apis.Alg
		step int // every so many bytes: RSA numbers take long to check
	}{
		"EC": {"EC PRIVATE KEY", ec, apis.ES256, 1}, "Ed25519": {"PRIVATE KEY", ed, apis.EdDSA, 1}, "RSA": {"RSA PRIVATE KEY", rs, apis.RS256, 9},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			for i := range c.der {
				if _, err := b.Import(t.Context(), admin(), armor(c.kind, c.der[:i]), c.alg); !errors.Is(err, keys.ErrInvalid) {
					t.Fatalf("cut at %d: Import = %v, want ErrInvalid", i, err)
				}
				if i%c.step != 0 {
					continue
				}
				flipped := append([]byte(nil), c.der...)
				flipped[i] ^= 1 << (i % 8)
				if _, err := b.Import(t.Context(), admin(), armor(c.kind, flipped), c.alg); err != nil && !errors.Is(err, keys.ErrInvalid) {
					t.Fatalf("flipped at %d: Import = %v, want ErrInvalid", i, err)
				}
			}
			if err := b.Ensure(t.Context(), admin(), c.alg); err != nil {
				t.Fatal(err)
			}
			b.reload(t) // what was taken is sound
		})
	}
}

func FuzzImport(f *testing.F) {
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n"), "EdDSA")
	f.Add([]byte(`{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`), "EdDSA")
	f.Add([]byte(`{"kty":"RSA","n":"AQ","e":"AQAB","d":"AQ","p":"AQ","q":"AQ"}`), "RS256")
	f.Add([]byte(`{"kty":"EC","crv":"P-256","x":"`+base64.RawURLEncoding.EncodeToString(make([]byte, 32))+`","y":"","d":"AQ"}`), "ES256")
	f.Fuzz(func(t *testing.T, text []byte, alg string) {
		private, err := keys.ParsePrivate(text, apis.Alg(alg))
		if err != nil {
			if !errors.Is(err, keys.ErrInvalid) {
				t.Fatalf("the error is %v", err)
			}
			return
		}
		if key, ok := private.(*rsa.PrivateKey); ok && key.N.BitLen() < 2048 {
			t.Fatalf("an RSA key of %d bits", key.N.BitLen())
		}
		if _, err := (keys.Signer{Alg: apis.Alg(alg), Key: private}).Signature(text); err != nil {
			t.Fatalf("an accepted key does not sign: %v", err)
		}
	})
}
