package tokens_test

import (
	"crypto"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/apis"
	"github.com/seed-1972b8eb/signet/internal/audit"
	"github.com/seed-1972b8eb/signet/internal/tokens"
)

func b64(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// forge signs any header and claims with the ring's own active key.
func forge(t testing.TB, d deps, alg apis.Alg, header, claims string) string {
	t.Helper()
	s, err := d.ring.Sign(alg)
	if err != nil {
		t.Fatal(err)
	}
	input := b64(strings.ReplaceAll(header, "KID", s.KID)) + "." + b64(claims)
	signature, err := s.Signature([]byte(input))
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

const (
	goodHeader = `{"alg":"ES256","kid":"KID","typ":"at+jwt"}`
	goodClaims = `{"iss":"https://as.test","sub":"client_a","client_id":"client_a","aud":"urn:svc:a","scope":"read","iat":1772362800,"exp":1772363100,"jti":"anid","gen":1}`
)

func duringLife() time.Time { return time.Unix(1772362900, 0) }

// refused checks the kind of error, that it says why, and that it quotes nothing of the token.
func refused(t *testing.T, name string, err error, why string) {
	t.Helper()
	switch {
	case !errors.Is(err, tokens.ErrInvalid):
		t.Errorf("%s: Parse = %v, want ErrInvalid", name, err)
	case !strings.Contains(err.Error(), why):
		t.Errorf("%s: Parse = %v, want %q", name, err, why)
	case len(err.Error()) > 200:
		t.Errorf("%s: the error has %d bytes", name, len(err.Error()))
	}
}

func TestParseHeader(t *testing.T) {
	t.Parallel()
	issuer, d := newIssuer(t, apis.ES256)
	if _, err := issuer.Parse(forge(t, d, apis.ES256, goodHeader, goodClaims), duringLife()); err != nil {
		t.Fatalf("the honest token is refused: %v", err)
	}
	if _, err := issuer.Parse(forge(t, d, apis.ES256, ` {"typ" : "JWT","kid":"KID", "alg":"ES256"} `, goodClaims), duringLife()); err != nil {
		t.Errorf("a token of type JWT with spaces in its header is refused: %v", err)
	}
	for name, c := range map[string]struct{ header, why string }{
		"alg none":             {`{"alg":"none","kid":"KID","typ":"at+jwt"}`, "alg is not that of the key"},
		"alg None":             {`{"alg":"None","kid":"KID","typ":"at+jwt"}`, "alg is not that of the key"},
		"alg empty":            {`{"alg":"","kid":"KID","typ":"at+jwt"}`, "header"},
		"alg absent":           {`{"kid":"KID","typ":"at+jwt"}`, "header"},
		"alg array":            {`{"alg":["ES256"],"kid":"KID","typ":"at+jwt"}`, "header"},
		"alg number":           {`{"alg":1,"kid":"KID","typ":"at+jwt"}`, "header"},
		"alg RS256":            {`{"alg":"RS256","kid":"KID","typ":"at+jwt"}`, "alg is not that of the key"},
		"alg ES384":            {`{"alg":"ES384","kid":"KID","typ":"at+jwt"}`, "alg is not that of the key"},
		"alg es256":            {`{"alg":"es256","kid":"KID","typ":"at+jwt"}`, "alg is not that of the key"},
		"alg twice":            {`{"alg":"none","alg":"ES256","kid":"KID","typ":"at+jwt"}`, "duplicate"},
		"ALG and alg":          {`{"ALG":"none","alg":"ES256","kid":"KID","typ":"at+jwt"}`, "header"},
		"ALG for alg":          {`{"ALG":"ES256","kid":"KID","typ":"at+jwt"}`, "header"},
		"escaped alg twice":    {`{"alg":"none","\u0061lg":"ES256","kid":"KID","typ":"at+jwt"}`, "duplicate"},
		"kid absent":           {`{"alg":"ES256","typ":"at+jwt"}`, "header"},
		"kid empty":            {`{"alg":"ES256","kid":"","typ":"at+jwt"}`, "header"},
		"kid unknown":          {`{"alg":"ES256","kid":"nobody","typ":"at+jwt"}`, "unknown key"},
		"kid path":             {`{"alg":"ES256","kid":"../../dev/null","typ":"at+jwt"}`, "unknown key"},
		"kid SQL":              {`{"alg":"ES256","kid":"' OR 1=1--","typ":"at+jwt"}`, "unknown key"},
		"kid NUL":              {`{"alg":"ES256","kid":"KID\u0000","typ":"at+jwt"}`, "unknown key"},
		"kid array":            {`{"alg":"ES256","kid":["KID"],"typ":"at+jwt"}`, "header"},
		"typ absent":           {`{"alg":"ES256","kid":"KID"}`, "header"},
		"typ null":             {`{"alg":"ES256","kid":"KID","typ":null}`, "typ"},
		"typ of a status list": {`{"alg":"ES256","kid":"KID","typ":"statuslist+jwt"}`, "typ"},
		"typ of introspection": {`{"alg":"ES256","kid":"KID","typ":"token-introspection+jwt"}`, "typ"},
		"typ of an event":      {`{"alg":"ES256","kid":"KID","typ":"secevent+jwt"}`, "typ"},
		"typ in capitals":      {`{"alg":"ES256","kid":"KID","typ":"AT+JWT"}`, "typ"},
		"crit":                 {`{"alg":"ES256","kid":"KID","typ":"at+jwt","crit":["x"]}`, "header"},
		"crit empty":           {`{"alg":"ES256","kid":"KID","typ":"at+jwt","crit":[]}`, "header"},
		"crit b64":             {`{"alg":"ES256","kid":"KID","typ":"at+jwt","crit":["b64"],"b64":false}`, "header"},
		"b64":                  {`{"alg":"ES256","kid":"KID","typ":"at+jwt","b64":"false"}`, "header"},
		"zip":                  {`{"alg":"ES256","kid":"KID","typ":"at+jwt","zip":"DEF"}`, "header"},
		"jwk":                  {`{"alg":"ES256","kid":"KID","typ":"at+jwt","jwk":{"kty":"EC"}}`, "header"},
		"jku":                  {`{"alg":"ES256","kid":"KID","typ":"at+jwt","jku":"https://evil.test/jwks"}`, "header"},
		"x5u":                  {`{"alg":"ES256","kid":"KID","typ":"at+jwt","x5u":"https://evil.test/x"}`, "header"},
		"x5c":                  {`{"alg":"ES256","kid":"KID","typ":"at+jwt","x5c":["AAAA"]}`, "header"},
		"cty":                  {`{"alg":"ES256","kid":"KID","typ":"at+jwt","cty":"JWT"}`, "header"},
		"two values":           {goodHeader + goodHeader, "header"},
		"array":                {`[` + goodHeader + `]`, "header"},
		"null":                 {`null`, "header"},
		"empty":                {``, "header"},
		"not JSON":             {`{"alg"`, "header"},
		"deep":                 {strings.Repeat(`{"a":`, 1000), "header"},
		"invalid UTF-8":        {"{\"alg\":\"ES256\",\"kid\":\"KID\xff\",\"typ\":\"at+jwt\"}", "unknown key"},
	} {
		_, err := issuer.Parse(forge(t, d, apis.ES256, c.header, goodClaims), duringLife())
		refused(t, name, err, c.why)
	}
}

func TestParseClaims(t *testing.T) {
	t.Parallel()
	issuer, d := newIssuer(t, apis.ES256)
	set := func(name, value string) string { // replaces one member of goodClaims; an empty value takes it away
		var members map[string]json.RawMessage
		if err := json.Unmarshal([]byte(goodClaims), &members); err != nil {
			t.Fatal(err)
		}
		members[name] = json.RawMessage(value)
		if value == "" {
			delete(members, name)
		}
		text, err := json.Marshal(members)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	cases := map[string]struct{ claims, why string }{
		"iss with a slash":   {set("iss", `"https://as.test/"`), "issuer"},
		"iss in capitals":    {set("iss", `"HTTPS://AS.TEST"`), "issuer"},
		"aud array":          {set("aud", `["urn:svc:a"]`), "claim aud"},
		"aud two":            {set("aud", `["urn:svc:a","urn:svc:b"]`), "claim aud"},
		"exp fraction":       {set("exp", `1772363100.5`), "claim exp"},
		"exp exponent":       {set("exp", `1.7723631e9`), "claim exp"},
		"exp huge":           {set("exp", `1e999`), ""},
		"exp too far":        {set("exp", `1772449201`), "iat and exp"},
		"exp beyond int64":   {set("exp", `99999999999999999999`), ""},
		"iat after exp":      {strings.NewReplacer("1772362800", "1772362951", "1772363100", "1772362950").Replace(goodClaims), "iat and exp"},
		"iat negative":       {set("iat", `-1`), "iat and exp"},
		"issued in future":   {set("iat", `1772362961`), "future"},
		"nbf":                {set("nbf", `1772362800`), "reserved"},
		"bound to a key":     {set("cnf", `{"jkt":"x"}`), "reserved"},
		"Sub beside sub":     {set("Sub", `"client_b"`), "reserved"},
		"sub twice":          {strings.Replace(goodClaims, "{", `{"sub":"client_b",`, 1), "duplicate"},
		"sub twice, escaped": {strings.Replace(goodClaims, "{", `{"\u0073ub":"client_b",`, 1), "duplicate"},
		"twice, nested":      {set("x", `[{"y":{"a":1,"b":2,"a":3}}]`), "duplicate"},
		"nested too deeply":  {set("x", strings.Repeat("[", 32)+strings.Repeat("]", 32)), "deep"},
		"two values":         {goodClaims + goodClaims, ""},
		"rubbish after it":   {goodClaims + "}", ""},
		"array":              {`[` + goodClaims + `]`, ""},
		"null":               {`null`, ""},
		"empty":              {``, ""},
		"gen as a text":      {set("gen", `"1"`), "claim gen"},
	}
	for _, name := range []string{"iss", "sub", "client_id", "aud", "scope", "iat", "exp", "jti", "gen"} {
		cases[name+" missing"] = struct{ claims, why string }{set(name, ""), ""}
		for _, value := range []string{`null`, `""`, `true`, `{}`, `[]`, `"1772363100"`} {
			if value != `"1772363100"` || name == "iat" || name == "exp" || name == "gen" {
				cases[name+" is "+value] = struct{ claims, why string }{set(name, value), ""}
			}
		}
	}
	for name, c := range cases {
		_, err := issuer.Parse(forge(t, d, apis.ES256, goodHeader, c.claims), duringLife())
		refused(t, name, err, c.why)
	}
	got, err := issuer.Parse(forge(t, d, apis.ES256, goodHeader, set("x", strings.Repeat("[", 31)+strings.Repeat("]", 31))), duringLife())
	if err != nil || len(got.Extra) != 1 {
		t.Errorf("static claims of the greatest depth: %v", err)
	}
}

// The exp has no leeway: the clock that set it is ours.
func TestParseTimes(t *testing.T) {
	t.Parallel()
	issuer, d := newIssuer(t, apis.ES256)
	token := forge(t, d, apis.ES256, goodHeader, goodClaims)
	for name, c := range map[string]struct {
		at time.Time
		ok bool
	}{
		"when it was issued":          {time.Unix(1772362800, 0), true},
		"a replica's clock is behind": {time.Unix(1772362740, 0), true},
		"too far behind":              {time.Unix(1772362739, 0), false},
		"last moment":                 {time.Unix(1772363099, 999999999), true},
		"exp":                         {time.Unix(1772363100, 0), false},
		"long after":                  {time.Unix(1772363100+86400, 0), false},
	} {
		if _, err := issuer.Parse(token, c.at); (err == nil) != c.ok {
			t.Errorf("%s: Parse = %v", name, err)
		}
	}
}

// RS-17 and A1, A13: compact serialisation in its one spelling, and nothing else.
func TestParseForm(t *testing.T) {
	t.Parallel()
	issuer, d := newIssuer(t, apis.ES256)
	good := forge(t, d, apis.ES256, goodHeader, goodClaims)
	parts := strings.Split(good, ".")
	last := good[len(good)-1]
	// 64 bytes leave four bits unused in the last character; the next one decodes to the same bytes where decoders are lax.
	alphabet := "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	altered := good[:len(good)-1] + string(alphabet[strings.IndexByte(alphabet, last)+1])
	lax, err := base64.RawURLEncoding.DecodeString(altered[len(altered)-86:])
	if err != nil || base64.RawURLEncoding.EncodeToString(lax) != parts[2] {
		t.Fatal("the altered spelling is not one of the same signature")
	}
	for name, text := range map[string]string{
		"empty": "", "one dot": ".", "two dots": "..", "three dots": "...", "no signature": parts[0] + "." + parts[1] + ".",
		"two segments": parts[0] + "." + parts[1], "four segments": good + ".", "five (JWE)": good + ".a.b", "ten": good + strings.Repeat(".x", 7),
		"padding": good + "==", "padding inside": parts[0] + "=." + parts[1] + "." + parts[2], "space before": " " + good, "newline after": good + "\n",
		"newline inside": good[:20] + "\n" + good[20:], "carriage return inside": good[:len(good)-10] + "\r" + good[len(good)-10:],
		"braces": "{" + good + "}", "altered last character": altered, "Bearer": "Bearer " + good, "quotes": `"` + good + `"`,
		"standard alphabet": strings.NewReplacer("-", "+", "_", "/").Replace(good) + "+", "NUL": good + "\x00", "not ASCII": good[:10] + "é" + good[10:],
		"flattened JSON":   fmt.Sprintf(`{"protected":%q,"header":{"alg":"none"},"payload":%q,"signature":%q}`, parts[0], parts[1], parts[2]),
		"general JSON":     fmt.Sprintf(`{"payload":%q,"signatures":[{"protected":%q,"signature":%q}]}`, parts[1], parts[0], parts[2]),
		"an API token":     "signet_at_" + strings.Repeat("0", 61),
		"segments swapped": parts[1] + "." + parts[0] + "." + parts[2], "signature of another": parts[0] + "." + b64(strings.Replace(goodClaims, "client_a", "client_b", 1)) + "." + parts[2],
		"too long":     forge(t, d, apis.ES256, goodHeader, strings.Replace(goodClaims, "{", `{"x":"`+strings.Repeat("x", tokens.MaxSize)+`",`, 1)),
		"dots":         strings.Repeat(".", tokens.MaxSize),
		"a long r":     parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 65)),
		"r = s = 0":    parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 64)),
		"r = s = n":    parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(append(order(), order()...)),
		"empty header": "." + parts[1] + "." + parts[2],
	} {
		why := ""
		if strings.Count(text, ".") != 2 {
			why = "not three segments"
		}
		_, err := issuer.Parse(text, duringLife())
		refused(t, name, err, why)
	}
}

func order() []byte {
	n, _ := new(big.Int).SetString("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", 16)
	return n.Bytes()
}

// H1: a flood costs nothing, because it is counted before it is split.
func TestParseFloodAllocatesLittle(t *testing.T) {
	issuer, _ := newIssuer(t, apis.EdDSA)
	for name, flood := range map[string]string{
		"dots": strings.Repeat(".", 4<<20), "few dots": strings.Repeat("a", tokens.MaxSize-2) + "..", "dots within the size": strings.Repeat(".", tokens.MaxSize),
	} {
		result := testing.Benchmark(func(b *testing.B) { //nolint:thelper // a benchmark of its own
			b.ReportAllocs()
			for b.Loop() {
				if _, err := issuer.Parse(flood, duringLife()); err == nil {
					b.Fatal("accepted")
				}
				if b.N > 50 {
					break
				}
			}
		})
		if got := result.AllocedBytesPerOp(); got > 64<<10 {
			t.Errorf("%s: %d bytes allocated", name, got)
		}
	}
}

// A2: every spelling of a published key as an HMAC secret.
func TestParseAlgConfusion(t *testing.T) {
	t.Parallel()
	issuer, d := newIssuer(t, apis.ES256, apis.RS256, apis.EdDSA)
	for _, alg := range []apis.Alg{apis.ES256, apis.RS256, apis.EdDSA} {
		s, err := d.ring.Sign(alg)
		if err != nil {
			t.Fatal(err)
		}
		public, _ := d.ring.Public(s.KID)
		for _, secret := range spellings(t, public.Key, d.ring.JWKS().Body) {
			for _, name := range []string{"HS256", string(alg)} {
				input := b64(fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"at+jwt"}`, name, s.KID)) + "." + b64(goodClaims)
				mac := hmac.New(sha256.New, secret)
				mac.Write([]byte(input))
				_, err := issuer.Parse(input+"."+base64.RawURLEncoding.EncodeToString(mac.Sum(nil)), duringLife())
				refused(t, name+" under a key of "+string(alg), err, "")
			}
		}
		// A9: the right signature of one kind under the kid of another.
		for _, other := range []apis.Alg{apis.ES256, apis.RS256, apis.EdDSA} {
			if other == alg {
				continue
			}
			header := fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"at+jwt"}`, other, s.KID)
			_, err := issuer.Parse(forge(t, d, other, header, goodClaims), duringLife())
			refused(t, string(other)+" under a key of "+string(alg), err, "alg is not that of the key")
		}
	}
}

func spellings(t *testing.T, key crypto.PublicKey, jwks []byte) [][]byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return [][]byte{{}, der, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), jwks}
}

// B4, B7, B11: keys that are not, or no longer, ours.
func TestParseForeignAndRevokedKeys(t *testing.T) {
	t.Parallel()
	issuer, d := newIssuer(t, apis.ES256)
	_, stranger := newIssuer(t, apis.ES256)
	own, err := d.ring.Sign(apis.ES256)
	if err != nil {
		t.Fatal(err)
	}
	_, err = issuer.Parse(forge(t, stranger, apis.ES256, goodHeader, goodClaims), duringLife())
	refused(t, "another server's key", err, "unknown key")
	claimed := strings.ReplaceAll(goodHeader, "KID", own.KID)
	_, err = issuer.Parse(forge(t, stranger, apis.ES256, claimed, goodClaims), duringLife())
	refused(t, "another server's key under our kid", err, "signature")

	token := forge(t, d, apis.ES256, goodHeader, goodClaims)
	if _, err := d.manager.Compromise(t.Context(), audit.System(), own.KID, "test"); err != nil {
		t.Fatal(err)
	}
	if err := d.ring.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = issuer.Parse(token, duringLife())
	refused(t, "a compromised key", err, "unknown key")
}

// INT-15: tokens of the previous key stay good while it is published.
func TestParseAfterRotation(t *testing.T) {
	t.Parallel()
	issuer, d := newIssuer(t, apis.ES256)
	token := forge(t, d, apis.ES256, goodHeader, goodClaims)
	d.rotate(t)
	if _, err := issuer.Parse(token, duringLife()); err != nil {
		t.Errorf("Parse = %v", err)
	}
	if s, err := d.ring.Sign(apis.ES256); err != nil || strings.HasPrefix(token, b64(`{"alg":"ES256","kid":"` + s.KID)[:40]) {
		t.Errorf("the key was not rotated: %v", err)
	}
}

// TestParseIssued: the clock does not matter, nor what a newer version adds, and all else does.
func TestParseIssued(t *testing.T) {
	t.Parallel()
	issuer, d := newIssuer(t, apis.ES256)
	good := forge(t, d, apis.ES256, goodHeader, goodClaims)
	if _, err := issuer.Parse(good, time.Now().Add(100*365*24*time.Hour)); !errors.Is(err, tokens.ErrInvalid) {
		t.Fatalf("Parse a century later = %v", err)
	}
	c, err := issuer.ParseIssued(good) // which was issued at a moment that is not now
	if err != nil || c.ID != "anid" || c.ExpiresAt.Unix() != 1772363100 {
		t.Errorf("ParseIssued = %+v, %v", c, err)
	}
	set := func(from, to string) string {
		return forge(t, d, apis.ES256, goodHeader, strings.Replace(goodClaims, from, to, 1))
	}
	for _, claim := range []string{`"cnf":{"jkt":"x"}`, `"nbf":1772362800`, `"nbf":1772362860`, `"Sub":"client_b","Client_ID":"client_b"`} {
		if c, err := issuer.ParseIssued(set("{", "{"+claim+",")); err != nil || c.ID != "anid" || c.ClientID != "client_a" || c.Extra != nil {
			t.Errorf("ParseIssued of a newer version's token, with %s = %+v, %v", claim, c, err)
		}
	}
	for name, text := range map[string]string{
		"nbf is text":       set("{", `{"nbf":"1772362800",`),
		"nbf after exp":     set("{", `{"nbf":1772363100,`),
		"sub twice":         set("{", `{"sub":"client_b",`),
		"another signature": good[:len(good)-8] + "AAAAAAAA",
		"another issuer":    set("https://as.test", "https://other.test"),
		"no iat":            set(`"iat":1772362800,`, ""),
		"iat is text":       set(`1772362800`, `"1772362800"`),
		"iat huge":          set(`1772362800`, `1e300`),
		"iat after exp":     set(`1772362800`, `1772363101`),
		"no exp":            set(`"exp":1772363100,`, ""),
		"exp too far":       set(`1772363100`, `1872363100`),
		"not a token":       "garbage",
		"not JSON":          "AAAA.AAAA.AAAA",
		"too long":          strings.Repeat("x", tokens.MaxSize+1),
	} {
		if c, err := issuer.ParseIssued(text); !errors.Is(err, tokens.ErrInvalid) {
			t.Errorf("%s: ParseIssued = %+v, %v; want ErrInvalid", name, c, err)
		}
	}
}
