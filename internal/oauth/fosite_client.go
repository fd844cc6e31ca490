package oauth

import "github.com/ory/fosite"

// The methods that make an authenticated caller a fosite.Client. Fosite asks none of them to decide anything here; those
// that could widen what a client may do answer with nothing.

// GetID gives the client ID.
func (c *caller) GetID() string { return c.client.ID }

// GetHashedSecret gives none: fosite compares no secrets.
func (c *caller) GetHashedSecret() []byte { return nil }

// GetRedirectURIs gives none: there is no authorization endpoint.
func (c *caller) GetRedirectURIs() []string { return nil }

// GetGrantTypes gives client_credentials to clients that are granted something.
func (c *caller) GetGrantTypes() fosite.Arguments {
	if len(c.client.Grants) == 0 {
		return nil
	}
	return fosite.Arguments{grantClientCredentials}
}

// GetResponseTypes gives none: there is no authorization endpoint.
func (c *caller) GetResponseTypes() fosite.Arguments { return nil }

// GetScopes gives none: the policy reads the client's grants itself, because scopes belong to an API.
func (c *caller) GetScopes() fosite.Arguments { return nil }

// IsPublic is false: every client is confidential.
func (c *caller) IsPublic() bool { return false }

// GetAudience gives none, like GetScopes.
func (c *caller) GetAudience() fosite.Arguments { return nil }
