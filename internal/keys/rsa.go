package keys

import (
	"crypto/rsa"
	"fmt"
	"math/big"
)

// The sizes of RSA keys that are accepted, in bits. Less than 2048 is forbidden (RFC 7518 §3.3); more than 4096 signs so
// slowly that a few clients could keep the server busy.
const (
	minRSABits = 2048
	maxRSABits = 4096
	minRSAExp  = 65537 // FIPS 186-5 §5.4: above 2^16; smaller ones forgive no padding mistake of a verifier
)

// checkRSAPublic refuses what crypto/rsa still takes, for the sake of old keys.
func checkRSAPublic(key *rsa.PublicKey) error {
	switch bits := key.N.BitLen(); {
	case bits < minRSABits || bits > maxRSABits:
		return fmt.Errorf("%w: RSA key of %d bits, wants %d to %d", ErrInvalid, bits, minRSABits, maxRSABits)
	case key.E < minRSAExp || key.E%2 == 0:
		return fmt.Errorf("%w: RSA exponent is even or below %d", ErrInvalid, minRSAExp)
	case isROCA(key.N):
		return fmt.Errorf("%w: RSA key with the ROCA weakness (CVE-2017-15361); its private part can be computed", ErrInvalid)
	}
	return nil
}

// checkRSAPrivate looks at the primes. That the numbers belong together, and that the primes do not lie close enough for
// Fermat's method, has been checked by crypto/rsa when it was parsed; whether they are primes at all has not.
func checkRSAPrivate(key *rsa.PrivateKey) error {
	if len(key.Primes) != 2 || key.Primes[0].BitLen() != key.Primes[1].BitLen() {
		return fmt.Errorf("%w: RSA key without two primes of the same length", ErrInvalid) // FIPS 186-5 §5.1
	}
	for _, p := range key.Primes {
		if !p.ProbablyPrime(20) {
			return fmt.Errorf("%w: an RSA prime is no prime", ErrInvalid)
		}
	}
	return nil
}

// isROCA recognises moduli of a broken key generator by their fingerprint: modulo every small prime they are a power of
// 65537 (Nemec and others, "The Return of Coppersmith's Attack", CCS 2017, §3.1). By chance it happens to one key in 2^27 of
// honest make at most, and then the key is refused for nothing.
func isROCA(n *big.Int) bool {
	const generator = 65537
	for p := int64(3); p <= 167; p += 2 {
		if !big.NewInt(p).ProbablyPrime(0) { // exact below 2^64
			continue
		}
		residue := new(big.Int).Mod(n, big.NewInt(p)).Int64()
		power, found := int64(1), false
		for range p {
			if found = power == residue; found {
				break
			}
			power = power * generator % p
		}
		if !found {
			return false
		}
	}
	return true
}
