package sqlstore

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/seed-1972b8eb/signet/internal/clients"
	"github.com/seed-1972b8eb/signet/internal/credential"
)

// clientRow is a row of clients.
type clientRow struct {
	ID         string `gorm:"primaryKey"`
	Name       string
	Owner      string
	Labels     string
	AuthMethod string
	JWKS       string `gorm:"column:jwks"`
	JWKSURI    string `gorm:"column:jwks_uri"`
	AllowCIDRs string `gorm:"column:allow_cidrs"`
	TokenTTL   int64  `gorm:"column:token_ttl_ns"`
	Claims     string
	ExpiresAt  instant
	Disabled   int64
	Generation int64
	Created    instant `gorm:"column:created_at"`
	Updated    instant `gorm:"column:updated_at"`
}

// TableName implements gorm's Tabler.
func (clientRow) TableName() string { return "clients" }

// secretRow is a row of client_secrets; its JSON form is how the database lists them beside their client.
type secretRow struct {
	ID         string  `gorm:"primaryKey" json:"id"`
	ClientID   string  `json:"-"`
	Position   int64   `json:"position"`
	Hint       string  `json:"hint"`
	Digest     string  `json:"digest"`
	Created    instant `gorm:"column:created_at" json:"created_at"`
	ExpiresAt  instant `json:"expires_at"`
	ReplacedBy string  `json:"replaced_by"`
	OldExpiry  instant `json:"old_expiry"`
	UsedAt     instant `gorm:"-" json:"used_at"` // of last_used
}

// TableName implements gorm's Tabler.
func (secretRow) TableName() string { return "client_secrets" }

// grantRow is a row of client_grants: one scope.
type grantRow struct {
	ClientID  string `gorm:"primaryKey" json:"-"`
	API       string `gorm:"column:api;primaryKey" json:"api"`
	Scope     string `gorm:"primaryKey" json:"scope"`
	IsDefault int64  `json:"is_default"`
}

// TableName implements gorm's Tabler.
func (grantRow) TableName() string { return "client_grants" }

// introspectRow is a row of client_introspects.
type introspectRow struct {
	ClientID string `gorm:"primaryKey" json:"-"`
	API      string `gorm:"column:api;primaryKey" json:"api"`
}

// TableName implements gorm's Tabler.
func (introspectRow) TableName() string { return "client_introspects" }

// clientRecord is a client with all that belongs to it, as one statement reads it.
type clientRecord struct {
	Row         clientRow `gorm:"embedded"`
	UsedAt      instant
	Secrets     string
	Grants      string
	Introspects string
}

func clientRowOf(c *clients.Client) (clientRow, error) {
	row := clientRow{
		ID: c.ID, Name: c.Name, Owner: c.Owner, AuthMethod: string(c.AuthMethod), JWKS: string(c.JWKS), JWKSURI: c.JWKSURI,
		TokenTTL: int64(c.TokenTTL), ExpiresAt: instantOf(c.ExpiresAt), Disabled: flag(c.Disabled), Generation: c.Generation,
		Created: instantOf(c.CreatedAt), Updated: instantOf(c.UpdatedAt),
	}
	var err error
	if row.Labels, err = encodeMap(c.Labels); err != nil {
		return row, err
	}
	if row.AllowCIDRs, err = encodeList(c.AllowCIDRs); err != nil {
		return row, err
	}
	row.Claims, err = encodeMap(c.Claims)
	return row, err
}

func secretRowOf(client string, position int64, s clients.Secret) secretRow {
	return secretRow{
		ID: s.ID, ClientID: client, Position: position, Hint: s.Hint, Digest: s.Digest.Text(), Created: instantOf(s.CreatedAt),
		ExpiresAt: instantOf(s.ExpiresAt), ReplacedBy: s.ReplacedBy, OldExpiry: instantOf(s.OldExpiry),
	}
}

func grantRowsOf(c *clients.Client) []grantRow {
	var rows []grantRow
	for _, g := range c.Grants {
		for _, scope := range g.Scopes {
			rows = append(rows, grantRow{c.ID, g.API, scope, flag(g.Defaults == nil || slices.Contains(g.Defaults, scope))})
		}
	}
	return rows
}

func introspectRowsOf(c *clients.Client) []introspectRow {
	rows := make([]introspectRow, len(c.Introspects))
	for i, api := range c.Introspects {
		rows[i] = introspectRow{c.ID, api}
	}
	return rows
}

// client converts what was read. A secret whose digest cannot be read is an error that names it: guessing which secrets a
// client has is no way to let it in.
func (r *clientRecord) client() (*clients.Client, error) {
	c := &clients.Client{
		ID: r.Row.ID, Name: r.Row.Name, Owner: r.Row.Owner, AuthMethod: clients.AuthMethod(r.Row.AuthMethod), JWKSURI: r.Row.JWKSURI,
		TokenTTL: time.Duration(r.Row.TokenTTL), ExpiresAt: r.Row.ExpiresAt.time(), Disabled: r.Row.Disabled != 0, Generation: r.Row.Generation,
		CreatedAt: r.Row.Created.time(), UpdatedAt: r.Row.Updated.time(), LastUsedAt: r.UsedAt.time(),
	}
	if r.Row.JWKS != "" {
		c.JWKS = []byte(r.Row.JWKS)
	}
	if err := r.decode(c); err != nil {
		return nil, fmt.Errorf("read client %s: %w", r.Row.ID, err)
	}
	return c, nil
}

// decode fills in what is stored as JSON. Empty lists and maps come back as nil.
func (r *clientRecord) decode(c *clients.Client) error {
	var secrets []secretRow
	var grants []grantRow
	var introspects []introspectRow
	for _, column := range []struct {
		name, text string
		into       any
	}{
		{"labels", r.Row.Labels, &c.Labels},
		{"allow_cidrs", r.Row.AllowCIDRs, &c.AllowCIDRs},
		{"claims", r.Row.Claims, &c.Claims},
		{"secrets", r.Secrets, &secrets},
		{"grants", r.Grants, &grants},
		{"introspects", r.Introspects, &introspects},
	} {
		if column.text == "[]" || column.text == "{}" {
			continue
		}
		if err := json.Unmarshal([]byte(column.text), column.into); err != nil {
			return fmt.Errorf("%s: %w", column.name, err)
		}
	}
	for _, row := range secrets {
		secret, err := row.secret()
		if err != nil {
			return err
		}
		c.Secrets = append(c.Secrets, secret)
	}
	for _, row := range grants {
		row.add(c)
	}
	for _, row := range introspects {
		c.Introspects = append(c.Introspects, row.API)
	}
	return nil
}

func (r secretRow) secret() (clients.Secret, error) {
	digest, err := credential.ParseDigest(r.Digest)
	if err != nil {
		return clients.Secret{}, fmt.Errorf("secret %s: %w", r.ID, err)
	}
	return clients.Secret{
		ID: r.ID, Hint: r.Hint, Digest: digest, CreatedAt: r.Created.time(), ExpiresAt: r.ExpiresAt.time(),
		LastUsedAt: r.UsedAt.time(), ReplacedBy: r.ReplacedBy, OldExpiry: r.OldExpiry.time(),
	}, nil
}

// add adds a granted scope; rows come in the order of API and scope. While all scopes of a grant are default, it names none;
// from the first that is not, it names those that are, be there none.
func (r grantRow) add(c *clients.Client) {
	if n := len(c.Grants); n == 0 || c.Grants[n-1].API != r.API {
		c.Grants = append(c.Grants, clients.Grant{API: r.API})
	}
	g := &c.Grants[len(c.Grants)-1]
	switch {
	case r.IsDefault == 0 && g.Defaults == nil:
		g.Defaults = append([]string{}, g.Scopes...)
	case r.IsDefault != 0 && g.Defaults != nil:
		g.Defaults = append(g.Defaults, r.Scope)
	}
	g.Scopes = append(g.Scopes, r.Scope)
}
