package oauth

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/seed-1972b8eb/signet/internal/clients"
)

// assertionType is the one kind of assertion that authenticates a client (RFC 7523 §2.2).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// caller is a client that has proven who it is, from a network that it may use. Only authenticate makes one, so that code
// that holds a caller needs no further proof.
type caller struct {
	client   *clients.Client // shared: only read
	method   clients.AuthMethod
	secretID string // empty for private_key_jwt
}

// presented is what a request offers as proof.
type presented struct {
	method    clients.AuthMethod
	clientID  string // claimed; of an assertion known only once it is read
	secret    string
	assertion string
}

// verdict is the outcome of holding a proof against a client's record.
type verdict struct {
	reason  Reason // empty: the proof is right
	told    string // what the caller may be told, where it has earned more than the same answer for everybody
	trouble *Error // the proof could not be judged: no failure of the client
}

// authenticate finds out which client sends the request (RFC 6749 §2.3). Every error is an *Error.
func (s *Server) authenticate(ctx context.Context, req *Request, form url.Values) (*caller, error) {
	// 1. Which method? Exactly one (RFC 6749 §2.3).
	p, err := s.readProof(req.HTTP.Header, form)
	if err != nil {
		return nil, err
	}
	// 2. Is the proof right?
	began := time.Now()
	var c *caller
	var a assertion
	if p.method == clients.PrivateKeyJWT {
		c, a, err = s.byAssertion(ctx, req.ClientIP, &p)
	} else {
		c, err = s.bySecret(ctx, req.ClientIP, p)
	}
	if err != nil {
		pace(ctx, began)
		return nil, mapped(err, p.clientID)
	}
	// 3. May it ask from there?
	if err := checkNetwork(c.client, req.ClientIP); err != nil {
		return nil, mapped(err, c.client.ID)
	}
	// 4. An assertion counts once. This is last, so that nothing but a fully valid one uses its "jti" up (PKJ-20).
	if p.method == clients.PrivateKeyJWT {
		if err := s.spend(ctx, c.client.ID, a); err != nil {
			return nil, mapped(err, c.client.ID)
		}
	}
	return c, nil
}

// denialStep is the grain of time in which failed authentications are answered.
const denialStep = 10 * time.Millisecond

// pace holds a denial back to the next step since began: the record of a known client takes longer to read than that no
// client has this ID, and an answer must not tell which it was (ATTACKS F6, F10). Waiting costs no CPU.
func pace(ctx context.Context, began time.Time) {
	wait := time.NewTimer(denialStep - time.Since(began)%denialStep)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
	}
}

// readProof finds the one proof of the request.
func (s *Server) readProof(h http.Header, form url.Values) (presented, error) {
	bodyID, secret := form.Get("client_id"), form.Get("client_secret")
	assertionText, kind := form.Get("client_assertion"), form.Get("client_assertion_type")
	headers := h["Authorization"]
	if len(headers) > 1 {
		return presented{}, badRequest(ReasonAuthRepeated, "more than one Authorization header")
	}
	byAssertion := assertionText != "" || kind != ""
	if (len(headers) == 1 && (secret != "" || byAssertion)) || (secret != "" && byAssertion) {
		return presented{}, badRequest(ReasonMethodsMixed,
			"more than one way of client authentication; send either an Authorization header, or client_secret, or client_assertion")
	}
	switch {
	case len(headers) == 1:
		return s.readBasic(headers[0], bodyID)
	case byAssertion && (kind != assertionType || assertionText == ""):
		return presented{}, badRequest(ReasonAssertionType, "client_assertion goes with client_assertion_type=%s", assertionType)
	case byAssertion:
		return presented{method: clients.PrivateKeyJWT, clientID: bodyID, assertion: assertionText}, nil
	case secret != "" && bodyID != "":
		return presented{method: clients.SecretPost, clientID: bodyID, secret: secret}, nil
	default:
		return presented{}, mapped(s.challenge(ReasonNoCredentials,
			"no client authentication: send HTTP Basic, or client_id and client_secret in the body, or a client_assertion"), bodyID)
	}
}

func (s *Server) readBasic(header, bodyID string) (presented, error) {
	sent, form := parseBasic(header)
	switch {
	case form == basicForeign:
		return presented{}, s.challenge(ReasonAuthScheme, "this endpoint takes client authentication; of Authorization schemes only Basic")
	case form == basicMalformed:
		return presented{}, s.challenge(ReasonBasicMalformed, "the Authorization header is malformed: want Basic, then base64 of client_id:client_secret")
	case bodyID != "" && bodyID != sent.id:
		return presented{}, mapped(badRequest(ReasonClientIDDiffers, "client_id differs from the Authorization header"), sent.id)
	case sent.secret == "":
		return presented{}, mapped(s.challenge(ReasonNoCredentials, "the client secret is empty"), sent.id)
	default:
		return presented{method: clients.SecretBasic, clientID: sent.id, secret: sent.secret}, nil
	}
}

// identify looks the client up and lets judge hold the proof against its record; judge gets nil where there is no such
// client, and must then take as long as otherwise. A proof that fails on the record in memory is judged once more on the
// record in the database, so that a new secret works everywhere at once, and so that known and unknown clients cost one
// read each (DESIGN.md §6; ATTACKS F6, F10). Who has failed too often gets no second look, but a right proof still passes:
// an attacker must not be able to lock a client out (ATTACKS Q6).
func (s *Server) identify(
	ctx context.Context, ip netip.Addr, p presented, judge func(*clients.Client) verdict,
) (*clients.Client, error) {
	client, err := s.cfg.Registry.Client(ctx, p.clientID)
	unknown := errors.Is(err, clients.ErrNotFound)
	if err != nil && !unknown {
		return nil, unavailable(err)
	}
	v := judge(client)
	if v.trouble != nil {
		return nil, v.trouble
	}
	if v.reason == "" {
		return client, nil
	}
	retryAfter, limited := s.cfg.Throttle.Limited(bucket(p.clientID), ip)
	if limited {
		return nil, throttled(retryAfter)
	}
	if unknown { // read from the database just now
		return nil, s.denied(ip, p, v)
	}
	client, err = s.cfg.Registry.Reread(ctx, p.clientID)
	if err != nil && !errors.Is(err, clients.ErrNotFound) {
		return nil, unavailable(err)
	}
	if v = judge(client); v.trouble != nil {
		return nil, v.trouble
	}
	if v.reason == "" {
		return client, nil
	}
	return nil, s.denied(ip, p, v)
}

// denied counts a failure and makes the answer: the same for every reason, unless the verdict says more.
func (s *Server) denied(ip netip.Addr, p presented, v verdict) error {
	if v.told != "" {
		return s.challenge(v.reason, v.told)
	}
	s.count(ip, p)
	return s.challenge(v.reason, "client authentication failed: unknown client, wrong, mistyped or expired credentials, or the client is "+
		"disabled or expired; an admin can see which with: signet explain REQUEST_ID (header X-Request-Id of this answer)")
}

// challenge makes an answer of 401 (RFC 6749 §5.2, RFC 9110 §11.6.1).
func (s *Server) challenge(reason Reason, description string) *Error {
	e := refuse(http.StatusUnauthorized, CodeInvalidClient, reason, "%s", description)
	e.Challenge = `Basic realm="` + s.cfg.Issuer + `", charset="UTF-8"`
	return e
}

// standing judges what holds for every method once the proof itself is right.
func standing(c *clients.Client, method clients.AuthMethod, now time.Time) verdict {
	switch {
	case c.Disabled:
		return verdict{reason: ReasonClientDisabled}
	case c.Expired(now):
		return verdict{reason: ReasonClientExpired}
	case c.AuthMethod != method:
		// The caller has proven itself, so it may be told what is wrong (RFC 7591 §2: the method is part of registration).
		return verdict{reason: ReasonAuthMethod, told: "the credentials are right, but this client is registered to send them by " +
			string(c.AuthMethod) + ", not by " + string(method)}
	default:
		return verdict{}
	}
}

// checkNetwork holds the client's allowlist against the source of the request.
func checkNetwork(c *clients.Client, ip netip.Addr) error {
	if len(c.AllowCIDRs) == 0 {
		return nil
	}
	ip = ip.Unmap().WithZone("")
	for _, prefix := range c.AllowCIDRs {
		if prefix.Contains(ip) {
			return nil
		}
	}
	return refuse(http.StatusBadRequest, CodeUnauthorizedClient, ReasonNotAllowedFrom,
		"source address %s is not in the client's allowlist", ip)
}
