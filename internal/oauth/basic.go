package oauth

import (
	"encoding/base64"
	"net/url"
	"strings"
)

// maxAuthorization is the most bytes of an Authorization header that are decoded.
const maxAuthorization = 4 << 10

// basicForm says how far an Authorization header can be read.
type basicForm int

const (
	basicForeign   basicForm = iota // another scheme
	basicMalformed                  // Basic, but not of the form that RFC 7617 and RFC 6749 give it
	basicRead
)

// basicCredentials is what HTTP Basic carries.
type basicCredentials struct{ id, secret string }

// parseBasic reads HTTP Basic credentials. Unlike http.Request.BasicAuth it undoes the form-encoding that RFC 6749 §2.3.1
// and appendix B put on the client ID and the secret before base64. Our own IDs and secrets hold only letters, digits and
// "_", so that clients which skip that step are understood all the same.
func parseBasic(header string) (basicCredentials, basicForm) {
	scheme, encoded, found := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Basic") { // RFC 9110 §11.1: the scheme ignores case
		return basicCredentials{}, basicForeign
	}
	if !found || len(header) > maxAuthorization {
		return basicCredentials{}, basicMalformed
	}
	decoded, err := base64.StdEncoding.Strict().DecodeString(strings.TrimLeft(encoded, " "))
	if err != nil {
		return basicCredentials{}, basicMalformed
	}
	rawID, rawSecret, found := strings.Cut(string(decoded), ":")
	if !found {
		return basicCredentials{}, basicMalformed
	}
	id, errID := url.QueryUnescape(rawID)
	secret, errSecret := url.QueryUnescape(rawSecret)
	if errID != nil || errSecret != nil || !plain(id) || !plain(secret) || id == "" {
		return basicCredentials{}, basicMalformed
	}
	return basicCredentials{id: id, secret: secret}, basicRead
}
