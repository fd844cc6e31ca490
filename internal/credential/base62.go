package credential

import "crypto/rand"

const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// Base62 returns n random characters of 0-9, A-Z and a-z, each equally likely: 5.95 bits a character.
func Base62(n int) string {
	out := make([]byte, 0, n)
	pool := make([]byte, n+n/8+8) // a byte in 32 is thrown away
	for len(out) < n {
		_, _ = rand.Read(pool) // never fails (crypto/rand documents it)
		for _, b := range pool {
			// 248 is the largest multiple of 62 in a byte; folding the rest in would favour the first eight characters.
			if b < 248 && len(out) < n {
				out = append(out, alphabet[b%62])
			}
		}
	}
	return string(out)
}

func isBase62(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}
