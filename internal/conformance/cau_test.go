package conformance_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

func b64(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// cauRows are the rows of client authentication with secrets.
func cauRows() []row {
	return []row{
		{"CAU-01", func(t *testing.T, s *suite) {
			d := s.dev()
			d.granted(t, d.requestToken(t, d.client(t).basic()))
		}},
		{"CAU-02", cauEncoded},
		{"CAU-03", func(t *testing.T, s *suite) {
			d := s.dev()
			c := d.client(t)
			for _, credentials := range []string{
				b64("a%zz:" + c.secret), b64(c.id + ":%zz"), b64(c.id + ":%"), b64(c.id), b64(":" + c.secret), b64(c.id + "%00:" + c.secret),
				b64(c.id + ":\xff\xfe"), "!!!", "", b64(c.id+":"+c.secret) + "!", strings.Repeat("A", 5000),
			} {
				d.requestToken(t, basicText(credentials)).unauthorized(t)
			}
		}},
		{"CAU-04", func(t *testing.T, s *suite) {
			d := s.dev()
			c := d.client(t)
			for _, text := range []string{c.id, c.secret} {
				if !regexp.MustCompile(`^[A-Za-z0-9_-]+$`).MatchString(text) {
					t.Errorf("%q needs encoding", text)
				}
			}
			d.granted(t, d.requestToken(t, basicText(b64(c.id+":"+c.secret))))
		}},
		{"CAU-05", func(t *testing.T, s *suite) {
			d := s.dev()
			a := d.requestToken(t, d.client(t).with(d.client(t).secret).basic())
			a.unauthorized(t)
			if want := `Basic realm="` + d.Issuer + `", charset="UTF-8"`; a.header.Get("WWW-Authenticate") != want {
				t.Errorf("challenge %q", a.header.Get("WWW-Authenticate"))
			}
		}},
		{"CAU-06", cauUnknown},
		{"CAU-07", cauTiming},
		{"CAU-08", func(t *testing.T, s *suite) {
			d := s.dev()
			d.granted(t, d.requestToken(t, nil, d.register(t, adminapi.NewClient{AuthMethod: "client_secret_post"}).post()...))
		}},
		{"CAU-09", func(t *testing.T, s *suite) {
			d := s.dev()
			c := d.register(t, adminapi.NewClient{AuthMethod: "client_secret_post"})
			for _, secret := range []string{d.client(t).secret, c.secret + "x", c.secret[:len(c.secret)-1], strings.ToUpper(c.secret), "x"} {
				d.requestToken(t, nil, c.with(secret).post()...).unauthorized(t)
			}
		}},
		{"CAU-10", func(t *testing.T, s *suite) {
			d := s.dev()
			c := d.client(t)
			d.requestToken(t, c.basic(), c.post()...).refused(t, 400, "invalid_request")
			d.requestToken(t, c.basic(), "client_secret", c.secret).refused(t, 400, "invalid_request")
		}},
		{"CAU-11", func(t *testing.T, s *suite) {
			d := s.dev()
			c, keyed := d.client(t), d.keyedClient(t)
			proof := keyed.assertion(t, d.Issuer)
			d.requestToken(t, c.basic(), proof...).refused(t, 400, "invalid_request")
			d.requestToken(t, nil, append(proof, c.post()...)...).refused(t, 400, "invalid_request")
			d.granted(t, d.requestToken(t, nil, proof...)) // and the assertion was not used up by it
		}},
		{"CAU-12", func(t *testing.T, s *suite) {
			d := s.dev()
			c := d.client(t)
			d.requestToken(t, c.basic(), "client_id", d.client(t).id).refused(t, 400, "invalid_request")
			d.granted(t, d.requestToken(t, c.basic(), "client_id", c.id))
		}},
		{"CAU-13", func(t *testing.T, s *suite) {
			d := s.dev()
			d.requestToken(t, nil, d.client(t).post()...).unauthorized(t)
			d.requestToken(t, d.register(t, adminapi.NewClient{AuthMethod: "client_secret_post"}).basic()).unauthorized(t)
		}},
		{"CAU-14", func(t *testing.T, s *suite) {
			d := s.dev()
			c := d.register(t, adminapi.NewClient{})
			found, err := d.admin.Client(t.Context(), c.id)
			if err != nil || found.AuthMethod != "client_secret_basic" {
				t.Errorf("registered with %q, %v", found.AuthMethod, err)
			}
			d.granted(t, d.requestToken(t, c.basic()))
		}},
		{"CAU-15", func(t *testing.T, s *suite) {
			d := s.dev()
			for _, path := range oauthPaths {
				d.post(t, path, grant("token", "x")).unauthorized(t)
			}
		}},
		{"CAU-16", func(t *testing.T, s *suite) {
			d := s.dev()
			keyed, c := d.keyedClient(t), d.client(t)
			for _, c := range []client{keyed, c} {
				d.requestToken(t, nil, "client_id", c.id).unauthorized(t)
				d.requestToken(t, nil, "client_id", c.id, "client_secret", "").unauthorized(t)
				d.requestToken(t, basicText(b64(c.id+":"))).unauthorized(t)
				d.requestToken(t, basicText(b64(c.id+": "))).unauthorized(t)
			}
			d.requestToken(t, keyed.with(c.secret).basic()).unauthorized(t)
		}},
		{"CAU-17", cauRotation},
		{"CAU-18", cauStorage},
		{"CAU-19", func(t *testing.T, s *suite) {
			d := s.dev()
			c := d.client(t)
			credentials := b64(c.id + ":" + c.secret)
			for _, o := range []option{
				header("authorization", "bAsIc "+credentials), header("AUTHORIZATION", "BASIC "+credentials), header("Authorization", "basic   "+credentials),
			} {
				d.granted(t, d.requestToken(t, o))
			}
		}},
		{"CAU-20", func(t *testing.T, s *suite) {
			d := s.dev()
			c, poster := d.client(t), d.register(t, adminapi.NewClient{AuthMethod: "client_secret_post"})
			token := d.issue(t, c)
			d.post(t, pathToken, grant(), c.basic(), c.basic()).refused(t, 400, "invalid_request")
			d.post(t, pathToken, grant(), c.basic(), header("Authorization", "Bearer x")).refused(t, 400, "invalid_request")
			for _, scheme := range []string{"Bearer " + token.text, "Bearer", "Digest x", "Basicx " + b64(c.id+":"+c.secret), ""} {
				d.requestToken(t, header("Authorization", scheme)).unauthorized(t)
				// Nor does the body count beside it.
				d.requestToken(t, header("Authorization", scheme), poster.post()...).refused(t, 400, "invalid_request")
			}
		}},
	}
}

// cauEncoded sends what form-urlencoding may make of an ID and a secret (RFC 6749 §2.3.1, appendix B). Signet makes both, in
// letters and digits, so the checklist's own example cannot be registered; "+" and "%3A" are told apart by a refusal.
func cauEncoded(t *testing.T, s *suite) {
	d := s.dev()
	c := d.client(t)
	encode := func(text string) string {
		var out strings.Builder
		for _, b := range []byte(text) {
			fmt.Fprintf(&out, "%%%02X", b)
		}
		return out.String()
	}
	d.granted(t, d.requestToken(t, basicText(b64(encode(c.id)+":"+encode(c.secret)))))
	d.granted(t, d.requestToken(t, basicText(b64(c.id+":"+strings.ToLower(encode(c.secret))))))
	// Decoded, these are an ID with a space or a colon; taken raw, with "+" or "%3A". Neither is the client.
	for _, id := range []string{"+" + c.id, c.id + "+", c.id + "%3A"} {
		d.requestToken(t, basicText(b64(id+":"+c.secret))).unauthorized(t)
	}
	d.requestToken(t, basicText(b64(c.id+":"+c.secret+"%3A"))).unauthorized(t)
}

// cauUnknown compares what must not be told apart, to the byte; only the request ID and the date may differ.
func cauUnknown(t *testing.T, s *suite) {
	d := s.dev()
	known, other := d.client(t), d.client(t)
	disabled, expired := d.client(t), d.client(t)
	d.Signet(t, "client", "disable", disabled.id, "--yes")
	d.Signet(t, "secret", "rotate", expired.id, "--now", "--yes")
	wrong := d.requestToken(t, known.with(other.secret).basic())
	wrong.unauthorized(t)
	for name, c := range map[string]client{
		"unknown client": {id: "client_00000000000000000000", secret: other.secret}, "no client ID at all": {id: "nobody", secret: other.secret},
		"malformed secret": known.with("hunter2"), "secret of another kind": known.with("signet_at_" + other.secret[len("signet_cs_"):]),
		"disabled client": disabled, "rotated secret": expired,
	} {
		got := d.requestToken(t, c.basic())
		if got.status != wrong.status || got.body != wrong.body {
			t.Errorf("%s: %d %s\nwrong secret: %d %s", name, got.status, got.body, wrong.status, wrong.body)
		}
		for _, h := range []map[string][]string{got.header, wrong.header} {
			delete(h, "X-Request-Id")
			delete(h, "Date")
		}
		if fmt.Sprint(got.header) != fmt.Sprint(wrong.header) {
			t.Errorf("%s: header %v\nwrong secret: %v", name, got.header, wrong.header)
		}
	}
}

// cauTiming asks for known and unknown clients at all endpoints. How long a client waits is not judged where other tests run,
// but that it waits is: no busy machine makes an answer come before its grain. TestDenialsArePaced of package oauth holds the grain
// itself, by a clock of its own, and BenchmarkKnownUnknown of package bench compares the times.
func cauTiming(t *testing.T, s *suite) {
	d := s.dev()
	known, other := d.client(t), d.client(t)
	for _, path := range oauthPaths {
		var first *answer
		for i, c := range []client{known.with(other.secret), {id: "client_00000000000000000007", secret: other.secret}, {id: "nobody", secret: "nothing"}} {
			began := time.Now()
			got := d.post(t, path, grant("token", "x"), c.basic())
			if took := time.Since(began); took < 10*time.Millisecond {
				t.Errorf("%s: client %d is answered after %v, before the grain of 10 ms", path, i, took)
			}
			got.unauthorized(t)
			got.header.Del("X-Request-Id")
			got.header.Del("Date")
			if first == nil {
				first = got
			}
			if got.status != first.status || got.body != first.body || fmt.Sprint(got.header) != fmt.Sprint(first.header) {
				t.Errorf("%s: %d %s %v\nwrong secret: %d %s %v", path, got.status, got.body, got.header, first.status, first.body, first.header)
			}
		}
	}
}

// cauRotation rotates with a short overlap: both secrets work until it ends, then the new one alone.
func cauRotation(t *testing.T, s *suite) {
	d := s.dev()
	c := d.client(t)
	rotated, err := d.admin.RotateSecret(t.Context(), c.id, adminapi.Rotate{Overlap: 2})
	if err != nil {
		t.Fatal(err)
	}
	next := c.with(rotated.ClientSecret)
	if d.requestToken(t, c.basic()).status != 200 && time.Now().Before(rotated.PreviousExpiresAt) {
		t.Error("the previous secret stopped before its time")
	}
	d.granted(t, d.requestToken(t, next.basic()))
	eventually(t, "end the overlap", func() bool {
		sent := time.Now()
		a := d.requestToken(t, c.basic())
		if a.status == 200 {
			if sent.After(rotated.PreviousExpiresAt) {
				t.Errorf("the previous secret worked at %s, it ended at %s", sent, rotated.PreviousExpiresAt)
			}
			return false
		}
		if time.Now().Before(rotated.PreviousExpiresAt) {
			t.Errorf("refused before %s", rotated.PreviousExpiresAt)
		}
		a.unauthorized(t)
		return true
	})
	d.granted(t, d.requestToken(t, next.basic()))
}

// cauStorage reads the files of a data directory, as a thief of the disk would, and looks for secrets and their plain hashes.
func cauStorage(t *testing.T, s *suite) {
	d := s.dev()
	c := d.client(t)
	// signet_cs_ + 12 characters that name it + the secret part + 6 characters of checksum: letters and digits, 256 bits in 43.
	if !regexp.MustCompile(`^signet_cs_[0-9A-Za-z]{61}$`).MatchString(c.secret) {
		t.Errorf("a secret of %d characters, not of 12 + 43 + 6 letters and digits", len(c.secret))
	}
	sum := sha256.Sum256([]byte(c.secret))
	forbidden := map[string]string{
		"the secret": c.secret, "its random part": c.secret[len(c.secret)-40:], "its SHA-256": string(sum[:]), "its SHA-256 in hex": hex.EncodeToString(sum[:]),
		"its SHA-256 in base64": base64.RawStdEncoding.EncodeToString(sum[:]), "its SHA-256 in base64url": base64.RawURLEncoding.EncodeToString(sum[:]),
		"the demo client's secret": d.ClientSecret,
	}
	stored := false
	err := filepath.WalkDir(d.DataDir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		stored = stored || strings.Contains(string(text), c.id) && regexp.MustCompile(`v1:[\w-]{43}`).Match(text)
		for what, secret := range forbidden {
			if strings.Contains(string(text), secret) {
				t.Errorf("%s holds %s", filepath.Base(path), what)
			}
		}
		for _, key := range []string{"PRIVATE KEY", `"d":"`} {
			if strings.Contains(string(text), key) {
				t.Errorf("%s holds %s", filepath.Base(path), key)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !stored {
		t.Error("no file holds the client with a digest: this test looks in the wrong place")
	}
}
