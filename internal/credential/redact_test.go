package credential_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/credential"
)

type document struct{ S credential.Secret }

func TestSecretNeverPrints(t *testing.T) {
	t.Parallel()
	s := credential.New(credential.ClientSecret)
	nested := struct {
		Public  credential.Secret
		private credential.Secret // fmt cannot call methods here
		pointer *credential.Secret
		list    []credential.Secret
	}{s, s, &s, []credential.Secret{s}}
	out := map[string]string{}
	for verb := range strings.FieldsSeq("%v %+v %#v %s %q %x %X %d %t %c %U %e %p %T") {
		out[verb] = fmt.Sprintf(verb+" "+verb+" "+verb, s, &s, nested)
	}
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(h).Info("x", slog.Any("secret", s), slog.Any("nested", nested), slog.Any("map", map[string]any{"k": s}))
	}
	out["slog"] = log.String()
	asJSON, err := json.Marshal(map[string]any{"a": s, "b": &s, "c": nested})
	out["json"] = string(asJSON)
	asXML, xmlErr := xml.Marshal(document{s})
	out["xml"] = string(asXML)
	out["error"] = fmt.Errorf("wrapped %v: %w", s, errors.New("x")).Error()
	if err := errors.Join(err, xmlErr); err != nil {
		t.Error(err)
	}
	for name, text := range out {
		// No part of it either: %x would print other characters, so the hexadecimal form is looked for as well.
		for _, part := range []string{s.Reveal()[22:40], fmt.Sprintf("%x", s.Reveal()[22:40]), fmt.Sprintf("%X", s.Reveal()[22:40])} {
			if strings.Contains(text, part) {
				t.Errorf("%s shows the secret", name)
			}
		}
	}
	if got := fmt.Sprint(s) + s.String() + s.GoString(); got != strings.Repeat("[redacted]", 3) {
		t.Errorf("prints %q", got)
	}
	if string(asJSON[:17]) != `{"a":"[redacted]"` {
		t.Errorf("JSON is %s", asJSON)
	}
}
