package telemetry_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/telemetry"
)

// canary is what must not be printed. None of the texts below is a real credential.
const (
	canary     = "C4n4ryC4n4ryC4n4ry"
	secretText = "signet_cs_" + canary + canary
	jwtText    = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ" + canary + "." + canary
)

type stringer struct{}

func (stringer) String() string { return "holds " + secretText }

type valuer struct{}

func (valuer) LogValue() slog.Value { return slog.GroupValue(slog.String("client_secret", canary)) }

func TestRedaction(t *testing.T) {
	t.Parallel()
	tests := map[string]slog.Attr{
		"key":                 slog.String("client_secret", canary),
		"key in capitals":     slog.String("Authorization", canary), //nolint:sloglint // other people's keys
		"camel case":          slog.String("clientSecret", canary),  //nolint:sloglint // other people's keys
		"access token":        slog.String("access_token", canary),
		"assertion":           slog.String("client_assertion", canary),
		"password":            slog.String("db_password", canary),
		"pepper":              slog.Any("pepper", []string{canary}),
		"secret in a text":    slog.String("detail", "got "+secretText+" instead"),
		"API token in a text": slog.String("detail", "signet_at_"+canary),
		"JWT in a text":       slog.String("detail", "token "+jwtText+" is expired"),
		"damaged JWT":         slog.String("detail", "eyJ"+canary+"."+canary),
		"bearer":              slog.String("detail", "Bearer "+canary),
		"basic":               slog.String("detail", "authorization was basic  "+canary+"=="),
		"form":                slog.String("body", "grant_type=x&client_secret="+canary+"&scope=y"),
		"query":               slog.String("url", "https://h/introspect?token="+canary),
		"connection URL":      slog.String("detail", "dial postgres://signet:"+canary+"@db/signet failed"),
		"connection string":   slog.String("detail", "host=db password="+canary+" user=signet"),
		"PEM":                 slog.String("detail", "-----BEGIN EC PRIVATE KEY-----\n"+canary+"\n-----END EC PRIVATE KEY-----"),
		"half a PEM":          slog.String("detail", "-----BEGIN PRIVATE KEY-----\n"+canary),
		"error":               slog.Any("error", fmt.Errorf("wrapped: %w", errors.New("bad "+secretText))),
		"stringer":            slog.Any("value", stringer{}),
		"valuer":              slog.Any("value", valuer{}),
		"bytes":               slog.Any("value", []byte(canary)),
		"struct":              slog.Any("value", struct{ A, ClientSecret string }{"x", canary}),
		"map":                 slog.Any("value", map[string]any{"x": map[string]any{"access_token": canary}}),
		"list in a map":       slog.Any("value", map[string][]string{"client_secret": {canary, canary}}),
		"secret in a map":     slog.Any("value", map[string]any{"x": []string{secretText}}),
		"escaped in a map":    slog.Any("value", map[string]string{"password": `a\"` + canary}),
		"group":               slog.Group("request", slog.String("authorization", canary)),
		"group of that name":  slog.Group("secret", slog.String("value", canary)),
		"what JSON cannot show": slog.Any("value", struct {
			F func()
			S string
		}{S: secretText}),
	}
	for _, format := range []telemetry.Format{telemetry.FormatJSON, telemetry.FormatText, telemetry.FormatPlain} {
		for name, attr := range tests {
			t.Run(string(format)+"/"+name, func(t *testing.T) {
				t.Parallel()
				var out bytes.Buffer
				log := telemetry.NewLogger(format, slog.LevelDebug, &out)
				log.LogAttrs(t.Context(), slog.LevelInfo, "hello", attr, slog.String("after", "kept"))
				log.With(attr).WithGroup("g").Info("hello")
				if strings.Contains(out.String(), canary) {
					t.Errorf("printed: %s", out.String())
				}
				if !strings.Contains(out.String(), "redacted") && !strings.Contains(out.String(), "bytes]") {
					t.Errorf("nothing says that something is missing: %s", out.String())
				}
				if !strings.Contains(out.String(), "kept") {
					t.Errorf("what is no secret is missing too: %s", out.String())
				}
			})
		}
	}
}

func TestRedactsTheMessage(t *testing.T) {
	t.Parallel()
	for _, format := range []telemetry.Format{telemetry.FormatJSON, telemetry.FormatText} {
		var out bytes.Buffer
		telemetry.NewLogger(format, slog.LevelInfo, &out).Info("got " + secretText)
		if strings.Contains(out.String(), canary) {
			t.Errorf("printed: %s", out.String())
		}
	}
}

// TestKeepsWhatIsNoSecret: a log that hides its own vocabulary helps nobody.
func TestKeepsWhatIsNoSecret(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := telemetry.NewLogger(telemetry.FormatJSON, slog.LevelInfo, &out)
	log.Info("request refused",
		slog.String("secret_id", "cs_0123456789ab"), slog.String("token_endpoint", "https://as.example/oauth2/token"),
		slog.Int("tokens", 7), slog.Int("token", 8), slog.Bool("secret", true), slog.String("reason", "secret_mismatch"),
		slog.Any("error", errors.New("token is expired")), slog.Any("scopes", []string{"a b"}), slog.Any("nothing", nil))
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{
		"msg": "request refused", "level": "INFO", "secret_id": "cs_0123456789ab", "token_endpoint": "https://as.example/oauth2/token",
		"tokens": 7.0, "token": 8.0, "secret": true, "reason": "secret_mismatch", "error": "token is expired", "nothing": nil,
	} {
		if got[key] != want {
			t.Errorf("%s: %v, want %v", key, got[key], want)
		}
	}
	if scopes, ok := got["scopes"].([]any); !ok || len(scopes) != 1 || scopes[0] != "a b" {
		t.Errorf("scopes: %v", got["scopes"])
	}
}

func TestLevelAndColour(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := telemetry.NewLogger(telemetry.FormatText, slog.LevelWarn, &out)
	log.Info("quiet")
	log.Warn("loud")
	if got := out.String(); strings.Contains(got, "quiet") || !strings.Contains(got, "loud") || strings.Contains(got, "\x1b") {
		t.Errorf("got %q", got)
	}
}

func FuzzRedact(f *testing.F) {
	for _, seed := range []string{"", " ", "eyJ", "Bearer ", "=&", "\x00", "://:@", "-----BEGIN PRIVATE KEY-----"} {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		// A credential of ours is found wherever it stands, unless its own alphabet goes on around it.
		got := telemetry.Redact(before + " " + secretText + " " + after)
		if strings.Contains(got, secretText) {
			t.Errorf("printed: %q", got)
		}
		if again := telemetry.Redact(got); strings.Contains(again, secretText) {
			t.Errorf("printed: %q", again)
		}
	})
}

func BenchmarkRedactHarmless(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		telemetry.Redact("secret_mismatch")
	}
}
