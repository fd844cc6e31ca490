package oauth_test

import (
	"encoding/base64"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/credential"
	"github.com/seed-1972b8eb/signet/internal/oauth"
)

const postID = "client_PostPostPostPost0000"

func withPost(tb testing.TB) *bundle {
	tb.Helper()
	b := setup(tb)
	b.add(&clients.Client{
		ID: postID, AuthMethod: clients.SecretPost, Grants: []clients.Grant{{API: ordersAPI, Scopes: []string{"orders:read"}}},
	})
	return b
}

func header(value ...string) http.Header { return http.Header{"Authorization": value} }

func basicHeader(id, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))
}

func TestSecretAccepts(t *testing.T) {
	t.Parallel()
	b := withPost(t)
	secret := b.secrets[basicID]
	escaped := url.QueryEscape(strings.Replace(basicID, "_", "%5F", 1)) // to be decoded twice: must not work
	for name, test := range map[string]struct {
		r    request
		want bool
	}{
		"CAU-01 Basic":              {request{basic: b.basic(basicID)}, true},
		"CAU-02 form-encoded":       {request{headers: header(basicHeader(strings.Replace(basicID, "_", "%5F", 1), strings.ReplaceAll(secret, "_", "%5f")))}, true},
		"encoded twice":             {request{headers: header(basicHeader(escaped, secret))}, false},
		"CAU-19 scheme case":        {request{headers: header("bAsIc " + strings.TrimPrefix(basicHeader(basicID, secret), "Basic "))}, true},
		"two spaces":                {request{headers: header("Basic  " + strings.TrimPrefix(basicHeader(basicID, secret), "Basic "))}, true},
		"CAU-08 post":               {request{form: url.Values{"client_id": {postID}, "client_secret": {b.secrets[postID]}}}, true},
		"Basic and same client_id":  {request{basic: b.basic(basicID), form: url.Values{"client_id": {basicID}}}, true},
		"Basic and empty secret":    {request{basic: b.basic(basicID), form: url.Values{"client_secret": {""}}}, true},
		"secret of another client":  {request{basic: [2]string{basicID, b.secrets[otherID]}}, false},
		"ID in another case":        {request{basic: [2]string{strings.ToUpper(basicID), secret}}, false}, // ATTACKS E11
		"ID and a space":            {request{basic: [2]string{basicID + " ", secret}}, false},
		"secret and a space":        {request{basic: [2]string{basicID, secret + " "}}, false},
		"secret in another case":    {request{basic: [2]string{basicID, strings.ToLower(secret)}}, false},
		"secret cut off":            {request{basic: [2]string{basicID, secret[:len(secret)-1]}}, false},
		"E10 null":                  {request{basic: [2]string{basicID, "null"}}, false},
		"CAU-20 no colon":           {request{headers: header("Basic " + base64.StdEncoding.EncodeToString([]byte(basicID)))}, false},
		"user in the request's URL": {request{headers: http.Header{"Proxy-Authorization": {basicHeader(basicID, secret)}}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if test.r.form == nil {
				test.r.form = url.Values{}
			}
			test.r.form.Set("grant_type", "client_credentials")
			a := b.send(t, test.r)
			if got := a.status == http.StatusOK; got != test.want {
				t.Fatalf("got %d %s", a.status, a.body)
			}
			if !test.want && (a.status != http.StatusUnauthorized || a.code() != "invalid_client") {
				t.Errorf("got %d %s", a.status, a.body)
			}
		})
	}
}

func TestSecretRefusesForm(t *testing.T) {
	t.Parallel()
	b := withPost(t)
	post := ccForm("client_id", postID, "client_secret", b.secrets[postID])
	assertion := ccForm("client_assertion_type", oauth.AssertionType, "client_assertion", "e30.e30.e30")
	tests := map[string]struct {
		r      request
		status int
		code   string
		reason oauth.Reason
	}{
		"CAU-03 bad encoding of the ID":  {request{headers: header(basicHeader("a%zz", "x"))}, 401, "invalid_client", oauth.ReasonBasicMalformed},
		"NUL in the ID":                  {request{headers: header(basicHeader("a%00", "x"))}, 401, "invalid_client", oauth.ReasonBasicMalformed},
		"invalid UTF-8 in the secret":    {request{headers: header(basicHeader("a", "%ff"))}, 401, "invalid_client", oauth.ReasonBasicMalformed},
		"not base64":                     {request{headers: header("Basic !!!")}, 401, "invalid_client", oauth.ReasonBasicMalformed},
		"only the scheme":                {request{headers: header("Basic")}, 401, "invalid_client", oauth.ReasonBasicMalformed},
		"too long":                       {request{headers: header("Basic " + strings.Repeat("QUFB", 2000))}, 401, "invalid_client", oauth.ReasonBasicMalformed},
		"empty ID":                       {request{headers: header(basicHeader("", "x"))}, 401, "invalid_client", oauth.ReasonBasicMalformed},
		"CAU-16 empty password":          {request{headers: header(basicHeader(basicID, ""))}, 401, "invalid_client", oauth.ReasonNoCredentials},
		"CAU-16 only client_id":          {request{form: ccForm("client_id", basicID)}, 401, "invalid_client", oauth.ReasonNoCredentials},
		"CC-03 empty client_secret":      {request{form: ccForm("client_id", basicID, "client_secret", "")}, 401, "invalid_client", oauth.ReasonNoCredentials},
		"secret without client_id":       {request{form: ccForm("client_secret", b.secrets[postID])}, 401, "invalid_client", oauth.ReasonNoCredentials},
		"CAU-15 nothing":                 {request{}, 401, "invalid_client", oauth.ReasonNoCredentials},
		"CAU-20 Bearer":                  {request{headers: header("Bearer x"), form: ccForm("client_id", postID)}, 401, "invalid_client", oauth.ReasonAuthScheme},
		"CAU-20 two headers":             {request{headers: header(basicHeader(basicID, b.secrets[basicID]), basicHeader(basicID, b.secrets[basicID]))}, 400, "invalid_request", oauth.ReasonAuthRepeated},
		"CAU-20 Bearer and right body":   {request{headers: header("Bearer x"), form: post}, 400, "invalid_request", oauth.ReasonMethodsMixed},
		"CAU-10 Basic and body":          {request{basic: b.basic(basicID), form: ccForm("client_id", basicID, "client_secret", b.secrets[basicID])}, 400, "invalid_request", oauth.ReasonMethodsMixed},
		"CAU-11 Basic and assertion":     {request{basic: b.basic(basicID), form: assertion}, 400, "invalid_request", oauth.ReasonMethodsMixed},
		"A4 secret and assertion":        {request{form: merge(post, assertion)}, 400, "invalid_request", oauth.ReasonMethodsMixed},
		"CAU-12 other client_id":         {request{basic: b.basic(basicID), form: ccForm("client_id", otherID)}, 400, "invalid_request", oauth.ReasonClientIDDiffers},
		"PKJ-28 no type":                 {request{form: ccForm("client_assertion", "e30.e30.e30")}, 400, "invalid_request", oauth.ReasonAssertionType},
		"PKJ-28 no assertion":            {request{form: ccForm("client_assertion_type", oauth.AssertionType)}, 400, "invalid_request", oauth.ReasonAssertionType},
		"PKJ-28 unknown type":            {request{form: ccForm("client_assertion_type", "urn:x", "client_assertion", "e30.e30.e30")}, 400, "invalid_request", oauth.ReasonAssertionType},
		"CAU-13 Basic client by post":    {request{form: ccForm("client_id", basicID, "client_secret", b.secrets[basicID])}, 401, "invalid_client", oauth.ReasonAuthMethod},
		"CAU-13 post client by Basic":    {request{basic: b.basic(postID)}, 401, "invalid_client", oauth.ReasonAuthMethod},
		"wrong method with wrong secret": {request{basic: [2]string{postID, b.secrets[basicID]}}, 401, "invalid_client", oauth.ReasonSecretMismatch},
	}
	for name, test := range tests {
		for _, path := range []string{tokenPath, revokePath, introspectPath} { // INT-14: the same at all of them
			t.Run(name+path, func(t *testing.T) {
				t.Parallel()
				r := test.r
				r.path = path
				if r.form == nil {
					r.form = ccForm()
				}
				wantError(t, b.send(t, r), test.status, test.code, test.reason)
			})
		}
	}
}

func merge(forms ...url.Values) url.Values {
	out := url.Values{}
	for _, form := range forms {
		maps.Copy(out, form)
	}
	return out
}

// The right secret by the wrong method earns an answer that says so, and is no failure to be counted.
func TestSecretByWrongMethodIsTold(t *testing.T) {
	t.Parallel()
	b := withPost(t)
	a := b.send(t, request{basic: b.basic(postID), form: ccForm()})
	if !strings.Contains(a.err.Description, "client_secret_post") || b.throttle.count() != 0 {
		t.Errorf("told %q, counted %d", a.err.Description, b.throttle.count())
	}
}

// CAU-05, CAU-06, ATTACKS F10, F11: whatever is wrong with the credentials, the answer is the same to the byte, and so is
// what it costs: one read of the database.
func TestSecretFailuresLookTheSame(t *testing.T) {
	t.Parallel()
	b := setup(t)
	orders := []clients.Grant{{API: ordersAPI, Scopes: []string{"orders:read"}}}
	b.add(&clients.Client{ID: "client_DisabledDisabledDi00", Disabled: true, Grants: orders})
	b.add(&clients.Client{ID: "client_ExpiredExpiredExpi00", ExpiresAt: time.Now().Add(-time.Minute), Grants: orders})
	b.add(&clients.Client{ID: keyID, AuthMethod: clients.PrivateKeyJWT, JWKS: []byte(`{"keys":[]}`), Grants: orders})
	stale := &clients.Client{ID: "client_StaleStaleStaleStal0", Grants: orders}
	expired := b.addSecret(stale, time.Now().Add(-time.Second))
	b.add(stale)
	empty := &clients.Client{ID: "client_EmptyEmptyEmptyEmpt0", AuthMethod: clients.SecretBasic, Grants: orders}
	none := credential.New(credential.ClientSecret)
	empty.Secrets = []clients.Secret{{ID: none.ID()}} // a row whose digest is missing: ATTACKS A15
	b.registry.set(empty)
	// The ID part of the secret is right and the rest is not; and a row that was moved from another client.
	guessed, genuine := credential.New(credential.ClientSecret), credential.New(credential.ClientSecret)
	forged := &clients.Client{ID: "client_ForgedForgedForged00", AuthMethod: clients.SecretBasic, Grants: orders}
	forged.Secrets = []clients.Secret{
		{ID: guessed.ID(), Digest: b.pepper.Digest(forged.ID, genuine)},
		{ID: genuine.ID(), Digest: b.pepper.Digest(otherID, genuine)},
	}
	b.registry.set(forged)
	foreign := credential.New(credential.ClientSecret).Reveal()
	disabled := b.secrets["client_DisabledDisabledDi00"]

	cases := []struct {
		id, secret string
		reason     oauth.Reason
	}{
		{basicID, foreign, oauth.ReasonSecretMismatch},
		{basicID, b.secrets[otherID], oauth.ReasonSecretMismatch},
		{unknownID, foreign, oauth.ReasonClientUnknown},
		{unknownID, b.secrets[basicID], oauth.ReasonClientUnknown},
		{"client_DisabledDisabledDi00", disabled, oauth.ReasonClientDisabled}, // ATTACKS E7
		{"client_ExpiredExpiredExpi00", b.secrets["client_ExpiredExpiredExpi00"], oauth.ReasonClientExpired},
		{stale.ID, expired, oauth.ReasonSecretExpired}, // CAU-17
		{empty.ID, none.Reveal(), oauth.ReasonSecretMismatch},
		{forged.ID, guessed.Reveal(), oauth.ReasonSecretMismatch},
		{forged.ID, genuine.Reveal(), oauth.ReasonSecretMismatch},
		{keyID, foreign, oauth.ReasonSecretMismatch},
		{"not an id at all", foreign, oauth.ReasonClientUnknown},
		{basicID, "wrong", oauth.ReasonSecretMalformed},
		{unknownID, "wrong", oauth.ReasonSecretMalformed},
	}
	var first *answer
	for i, c := range cases {
		before := b.registry.reads
		a := b.send(t, request{basic: [2]string{c.id, c.secret}, form: ccForm()})
		wantError(t, a, 401, "invalid_client", c.reason)
		if first == nil {
			first = &a
		}
		if a.body != first.body {
			t.Errorf("case %d: the body differs: %s", i, a.body)
		}
		if diff := cmp.Diff(first.header, a.header); diff != "" {
			t.Errorf("case %d: the headers differ: %s", i, diff)
		}
		want := 1
		if c.reason == oauth.ReasonSecretMalformed {
			want = 0
		}
		if got := b.registry.reads - before; got != want {
			t.Errorf("case %d: %d reads of the database, want %d", i, got, want)
		}
	}
	if b.throttle.count() != len(cases) {
		t.Errorf("%d failures counted, want %d", b.throttle.count(), len(cases))
	}
}

// DESIGN.md §6: a secret that another replica made a moment ago works here at once, and so does an enabled client.
func TestSecretRereads(t *testing.T) {
	t.Parallel()
	b := setup(t)
	newer := *b.registry.clients[basicID]
	newer.Secrets = slices.Clone(newer.Secrets)
	fresh := b.addSecret(&newer, time.Time{})
	newer.Generation = 9
	b.registry.newer = map[string]*clients.Client{basicID: &newer}
	a := b.send(t, request{basic: [2]string{basicID, fresh}, form: ccForm()})
	if a.status != 200 || b.registry.reads != 1 {
		t.Fatalf("got %d after %d reads", a.status, b.registry.reads)
	}
	claims, err := b.tokens.Parse(a.token(), time.Now())
	if err != nil || claims.Generation != 9 {
		t.Errorf("generation %d of another record than the one that authenticated (%v)", claims.Generation, err)
	}
	// The database fails at the second look: nobody knows, so nobody is refused.
	b.registry.rereadDown = errors.New("reset")
	a = b.send(t, request{basic: [2]string{basicID, b.secrets[otherID]}, form: ccForm()})
	wantError(t, a, 503, "temporarily_unavailable", oauth.ReasonUnavailable)
	if b.throttle.count() != 0 {
		t.Error("an outage counts as a failed authentication")
	}
}

func TestSecretOverlap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		c := &clients.Client{ID: "client_RotateRotateRotate00", Grants: []clients.Grant{{API: ordersAPI, Scopes: []string{"orders:read"}}}}
		old := b.addSecret(c, time.Now().Add(time.Hour))
		b.add(c)
		for _, secret := range []string{old, b.secrets[c.ID]} {
			if a := b.send(t, request{basic: [2]string{c.ID, secret}, form: ccForm()}); a.status != 200 {
				t.Fatalf("during the overlap: %d %s", a.status, a.body)
			}
		}
		time.Sleep(time.Hour)
		a := b.send(t, request{basic: [2]string{c.ID, old}, form: ccForm()})
		wantError(t, a, 401, "invalid_client", oauth.ReasonSecretExpired)
		if a := b.send(t, request{basic: b.basic(c.ID), form: ccForm()}); a.status != 200 {
			t.Errorf("the new secret: %d", a.status)
		}
		if got := b.usage.uses[0].SecretID; got != c.Secrets[0].ID {
			t.Errorf("use of the old secret is counted as of %s", got)
		}
	})
}

// A pepper version that is not loaded is the operator's trouble: 503, and no failure of the client.
func TestSecretUnknownPepper(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.registry.clients[basicID].Secrets[0].Digest.Pepper = 99
	wantError(t, b.send(t, request{basic: b.basic(basicID), form: ccForm()}), 503, "temporarily_unavailable", oauth.ReasonUnavailable)
	if b.throttle.count() != 0 {
		t.Error("counted")
	}
}

func TestThrottleKeepsTheOwnerIn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.throttle.full = true
	wrong := credential.New(credential.ClientSecret).Reveal()
	for _, secret := range []string{wrong, "wrong"} {
		a := b.send(t, request{basic: [2]string{basicID, secret}, form: ccForm()})
		wantError(t, a, 429, "invalid_client", oauth.ReasonThrottled) // GEN-11
		if a.header.Get("Retry-After") != "2" {
			t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
		}
	}
	if b.registry.reads != 0 {
		t.Error("a limited caller costs a read")
	}
	// ATTACKS Q6: the right secret goes through.
	if a := b.send(t, request{basic: b.basic(basicID), form: ccForm()}); a.status != 200 {
		t.Errorf("the right secret got %d", a.status)
	}
}

// Q1, E11: other spellings of an ID give no further tries.
func TestThrottleBuckets(t *testing.T) {
	t.Parallel()
	b := setup(t)
	wrong := credential.New(credential.ClientSecret).Reveal()
	for _, id := range []string{basicID, strings.ToUpper(basicID), strings.ToLower(basicID)} {
		b.send(t, request{basic: [2]string{id, wrong}, form: ccForm()})
	}
	for _, id := range []string{basicID + " ", "x", "client_" + strings.Repeat("é", 10), strings.Repeat("y", 1000)} {
		b.send(t, request{basic: [2]string{id, wrong}, form: ccForm()})
	}
	slices.Sort(b.throttle.failed)
	if got := len(slices.Compact(b.throttle.failed)); got != 2 {
		t.Errorf("%d buckets, want 2: %q", got, b.throttle.failed)
	}
}

// LIBRARIES.md: x/oauth2 tries the body after Basic was refused. That is one failed authentication.
func TestThrottleCountsOneAttemptOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		wrong, second := credential.New(credential.ClientSecret).Reveal(), credential.New(credential.ClientSecret).Reveal()
		byBasic := func(secret string) { b.send(t, request{basic: [2]string{basicID, secret}, form: ccForm()}) }
		byPost := func(secret, from string) {
			b.send(t, request{form: ccForm("client_id", basicID, "client_secret", secret), from: from})
		}
		want := 0
		check := func(step string, more int) {
			t.Helper()
			want += more
			if got := b.throttle.count(); got != want {
				t.Fatalf("%s: %d failures counted, want %d", step, got, want)
			}
		}
		byBasic(wrong)
		check("Basic", 1)
		byPost(wrong, "")
		check("the same in the body", 0)
		byPost(wrong, "")
		check("the same in the body again", 1)
		byBasic(wrong)
		byPost(second, "")
		check("another secret in the body", 2)
		byBasic(wrong)
		byPost(wrong, "192.0.2.9")
		check("from another address", 2)
		byBasic(wrong)
		time.Sleep(time.Second + 1)
		byPost(wrong, "")
		check("later", 2)
		byBasic(wrong)
		byBasic(wrong)
		check("Basic twice", 2)
	})
}
