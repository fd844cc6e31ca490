package telemetry

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
)

// redacted stands where a secret was.
const redacted = "[redacted]"

// sensitive are the ends of attribute keys whose values are never printed, in lower case: "client_secret" is one,
// "secret_id" and "token_endpoint" are not.
var sensitive = []string{ //nolint:gochecknoglobals // a constant in all but name
	"secret", "token", "authorization", "assertion", "password", "passphrase", "pepper", "cookie", "private_key", "master_key",
}

// secrets finds what must not be printed wherever it stands: the forms of Signet's own credentials, JWTs (and what is left
// of damaged ones), Authorization headers, PEM keys, passwords in URLs, and the protocol's secret parameters in a form, a
// query or a connection string.
var secrets = regexp.MustCompile(strings.Join([]string{
	`signet_(?:cs|at)_[0-9A-Za-z]+`,
	`eyJ[\w-]*(?:\.[\w-]*)+`,
	`(?i:\b(?:bearer|basic|dpop) +)[\w.~+/=-]{6,}`,
	`-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*(?:-----END [A-Z ]*PRIVATE KEY-----)?`,
	`://[^/\s:@]*:[^/\s@]+@`,
	`(?i:\b(?:client_secret|client_assertion|subject_token|actor_token|access_token|refresh_token|token|assertion|password))=[^&\s]+`,
}, "|"))

// Redact replaces every secret in a text. It errs on the side of too much.
func Redact(text string) string {
	if !suspicious(text) {
		return text
	}
	return secrets.ReplaceAllString(text, redacted)
}

// suspicious is a cheap test that every text passes which the expression would change: log lines are many, secrets rare.
func suspicious(text string) bool {
	return strings.Contains(text, "signet_") || strings.Contains(text, "eyJ") || strings.Contains(text, "-----BEGIN") ||
		strings.Contains(text, "://") || strings.ContainsAny(text, " =")
}

// redactAttr serves slog.HandlerOptions and tint.Options. Both call it for every attribute that is not a group, for the
// message too, with the names of the groups around it.
func redactAttr(groups []string, a slog.Attr) slog.Attr {
	hidden := isSensitive(a.Key)
	for _, g := range groups {
		hidden = hidden || isSensitive(g)
	}
	switch a.Value.Kind() {
	case slog.KindString:
		if hidden {
			return slog.String(a.Key, redacted)
		}
		if text := a.Value.String(); suspicious(text) {
			return slog.String(a.Key, Redact(text))
		}
	case slog.KindAny:
		if a.Value.Any() == nil || (len(groups) == 0 && a.Key == slog.LevelKey) {
			return a
		}
		if hidden {
			return slog.String(a.Key, redacted)
		}
		return redactAny(a)
	default: // numbers, times and booleans hold no secret
	}
	return a
}

// redactAny looks at a value as it would be printed, and replaces it by that text when there is a secret in it. Bytes are
// never printed: nothing in this program that is worth a log line is made of them.
func redactAny(a slog.Attr) slog.Attr {
	var text string
	switch v := a.Value.Any().(type) {
	case error:
		text = v.Error()
		return slog.String(a.Key, Redact(text))
	case fmt.Stringer:
		return slog.String(a.Key, Redact(v.String()))
	case []byte:
		return slog.String(a.Key, fmt.Sprintf("[%d bytes]", len(v)))
	case *slog.Source:
		return a
	default:
		printed, err := json.Marshal(v)
		if err != nil {
			return slog.String(a.Key, Redact(fmt.Sprintf("%+v", v)))
		}
		text = string(printed)
	}
	if clean := redactJSON(text); clean != text {
		return slog.String(a.Key, clean)
	}
	return a
}

// members finds sensitive members of printed JSON whose value is a text or a list.
var members = regexp.MustCompile(`(?i)("[^"]*(?:` + strings.Join(sensitive, "|") + `)":)("(?:[^"\\]|\\.)*"|\[[^\]]*\])`)

func redactJSON(text string) string {
	return Redact(members.ReplaceAllString(text, `$1"`+redacted+`"`))
}

func isSensitive(key string) bool {
	for _, end := range sensitive {
		if len(key) >= len(end) && strings.EqualFold(key[len(key)-len(end):], end) {
			return true
		}
	}
	return false
}
