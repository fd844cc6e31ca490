package redisstore

import (
	"crypto/rand"
	"encoding/base64"
	"strconv"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/revocations"
	"github.com/seed-1972b8eb/signet/internal/servertest/redistest"
)

// jti is as long as those that package tokens makes: 22 characters.
func jti() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// BenchmarkRevoked compares what introspection asks with a bare PING, and shows what the parts of the proof cost.
func BenchmarkRevoked(b *testing.B) {
	server := redistest.Start(b)
	s := open(b, Config{URL: server.URL()})
	id := filled(b, s)
	token := revocations.Token{JTI: jti(), ClientID: jti(), KID: jti(), Generation: 1}
	b.Run("ping", func(b *testing.B) {
		for b.Loop() {
			must(b, s.client.Ping(b.Context()).Err())
		}
	})
	b.Run("revoked", func(b *testing.B) {
		for b.Loop() {
			if _, err := one(s.Revoked(b.Context(), id, 1, []revocations.Token{token})); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("revoked/parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := one(s.Revoked(b.Context(), id, 1, []revocations.Token{token})); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

// BenchmarkProof sends the question of Revoked in pipelines that end with this and that, of which only the first is a proof.
func BenchmarkProof(b *testing.B) {
	server := redistest.Start(b)
	s := open(b, Config{URL: server.URL()})
	id := filled(b, s)
	question := []any{"zmscore", key(id), marker(1), tokenPrefix + jti(), clientPrefix + jti(), kidPrefix + jti()}
	for _, bb := range []struct {
		name string
		ends [][]any
	}{
		{"info_replication_getname_echo", [][]any{{"info", "replication"}, {"client", "getname"}, {"echo", "1"}}},
		{"none", nil},
		{"info_replication_getname", [][]any{{"info", "replication"}, {"client", "getname"}}},
		{"getname", [][]any{{"client", "getname"}}},
		{"info_replication", [][]any{{"info", "replication"}}},
		{"role_getname", [][]any{{"role"}, {"client", "getname"}}},
		{"info_server_info_replication", [][]any{{"info", "server"}, {"info", "replication"}}},
		{"info_server_replication", [][]any{{"info", "server", "replication"}}}, // Redis 7 only
	} {
		b.Run(bb.name, func(b *testing.B) {
			for b.Loop() {
				pipe := s.client.Pipeline()
				pipe.Do(b.Context(), question...)
				for _, end := range bb.ends {
					pipe.Do(b.Context(), end...)
				}
				if _, err := pipe.Exec(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkAdd measures the acknowledgement's part in Redis.
func BenchmarkAdd(b *testing.B) {
	s := open(b, Config{URL: redistest.Start(b).URL()})
	id := filled(b, s)
	for b.Loop() {
		must(b, s.Add(b.Context(), id, []revocations.Revocation{taken(jti())}, nil))
	}
}

// BenchmarkMemoryPerRevocation fills a set with a million tokens once and reports what Redis says of the key and of itself.
func BenchmarkMemoryPerRevocation(b *testing.B) {
	const n, bound = 1_000_000, 160
	server := redistest.Start(b)
	s := open(b, Config{URL: server.URL()})
	id := filled(b, s)
	number := func(text string) float64 {
		v, err := strconv.ParseFloat(text, 64)
		must(b, err)
		return v
	}
	before := number(server.Info("memory", "used_memory"))
	revoked := make([]revocations.Revocation, n)
	expiry := time.Now().Add(time.Hour)
	for i := range revoked {
		revoked[i] = revocations.Revocation{JTI: jti(), ExpiresAt: expiry.Add(time.Duration(i) * time.Millisecond)}
	}
	var took time.Duration
	for range b.N {
		began := time.Now()
		must(b, s.Add(b.Context(), id, revoked, nil))
		took = time.Since(began)
		break // a second round would only update
	}
	usage := number(server.Do("MEMORY", "USAGE", key(id), "SAMPLES", "0")) / n
	grown := (number(server.Info("memory", "used_memory")) - before) / n
	b.ReportMetric(usage, "bytes/revocation")
	b.ReportMetric(grown, "used_memory/revocation")
	b.ReportMetric(float64(n)/took.Seconds(), "added/s")
	if grown > bound || usage > bound {
		b.Errorf("%.0f and %.0f bytes for one revocation, want at most %d", usage, grown, bound)
	}
}
