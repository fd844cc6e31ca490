-- +goose Up
-- Times are microseconds since 1970 (UTC), NULL where there is none; *_ns are nanoseconds. The tables and columns are those
-- of PostgreSQL. STRICT refuses values of another type; text compares bytes.

-- One-row settings, such as the issuer.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

-- The one row is the lock of every change of the registry. Changes up to floor are no longer in registry_changes.
CREATE TABLE registry_epoch (
    one          INTEGER PRIMARY KEY CHECK (one = 1),
    epoch        INTEGER NOT NULL,
    floor        INTEGER NOT NULL,
    keys_version INTEGER NOT NULL
) STRICT;
INSERT INTO registry_epoch (one, epoch, floor, keys_version) VALUES (1, 0, 0, 0);

CREATE TABLE registry_changes (
    epoch INTEGER NOT NULL,
    kind  TEXT NOT NULL,
    id    TEXT NOT NULL,
    PRIMARY KEY (epoch, kind, id)
) STRICT;

CREATE TABLE apis (
    identifier   TEXT PRIMARY KEY,
    name         TEXT NOT NULL UNIQUE,
    alg          TEXT NOT NULL,
    typ          TEXT NOT NULL,
    token_ttl_ns INTEGER NOT NULL,
    disabled     INTEGER NOT NULL CHECK (disabled IN (0, 1)),
    created_at   INTEGER,
    updated_at   INTEGER
) STRICT;

CREATE TABLE api_scopes (
    api         TEXT NOT NULL REFERENCES apis (identifier),
    name        TEXT NOT NULL,
    description TEXT NOT NULL,
    scope_group TEXT NOT NULL,
    kind        TEXT NOT NULL,
    routes      TEXT NOT NULL, -- JSON list
    created_at  INTEGER,
    PRIMARY KEY (api, name)
) STRICT;

CREATE TABLE clients (
    id           TEXT PRIMARY KEY,
    name         TEXT NOT NULL UNIQUE,
    owner        TEXT NOT NULL,
    labels       TEXT NOT NULL, -- JSON object
    auth_method  TEXT NOT NULL,
    jwks         TEXT NOT NULL, -- empty: none
    jwks_uri     TEXT NOT NULL, -- empty: none
    allow_cidrs  TEXT NOT NULL, -- JSON list
    token_ttl_ns INTEGER NOT NULL,
    claims       TEXT NOT NULL, -- JSON object
    expires_at   INTEGER,
    disabled     INTEGER NOT NULL CHECK (disabled IN (0, 1)),
    generation   INTEGER NOT NULL,
    created_at   INTEGER,
    updated_at   INTEGER
) STRICT;

CREATE TABLE client_secrets (
    id          TEXT PRIMARY KEY,
    client_id   TEXT NOT NULL REFERENCES clients (id),
    position    INTEGER NOT NULL, -- rises with age: the newest has the highest
    hint        TEXT NOT NULL,
    digest      TEXT NOT NULL,
    created_at  INTEGER,
    expires_at  INTEGER,
    replaced_by TEXT NOT NULL,
    old_expiry  INTEGER
) STRICT;
CREATE INDEX client_secrets_client ON client_secrets (client_id);

CREATE TABLE client_grants (
    client_id  TEXT NOT NULL REFERENCES clients (id),
    api        TEXT NOT NULL,
    scope      TEXT NOT NULL,
    is_default INTEGER NOT NULL CHECK (is_default IN (0, 1)), -- 1: granted when a request names no scope
    PRIMARY KEY (client_id, api, scope),
    FOREIGN KEY (api, scope) REFERENCES api_scopes (api, name)
) STRICT;
CREATE INDEX client_grants_scope ON client_grants (api, scope, client_id);

CREATE TABLE client_introspects (
    client_id TEXT NOT NULL REFERENCES clients (id),
    api       TEXT NOT NULL REFERENCES apis (identifier),
    PRIMARY KEY (client_id, api)
) STRICT;
CREATE INDEX client_introspects_api ON client_introspects (api, client_id);

CREATE TABLE signing_keys (
    kid            TEXT PRIMARY KEY,
    alg            TEXT NOT NULL,
    state          TEXT NOT NULL,
    public_jwk     TEXT NOT NULL,
    sealed         TEXT NOT NULL, -- base64url
    master_version INTEGER NOT NULL,
    created_at     INTEGER,
    published_at   INTEGER,
    activated_at   INTEGER,
    retiring_at    INTEGER,
    ended_at       INTEGER
) STRICT;
-- However replicas race, two keys never sign for one algorithm.
CREATE UNIQUE INDEX signing_keys_active ON signing_keys (alg) WHERE state = 'active';

CREATE TABLE revocations (
    jti        TEXT PRIMARY KEY,
    client_id  TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER NOT NULL,
    reason     TEXT NOT NULL
) STRICT;
CREATE INDEX revocations_expires ON revocations (expires_at);
CREATE INDEX revocations_revoked ON revocations (revoked_at);

CREATE TABLE cut_offs (
    kind       TEXT NOT NULL,
    id         TEXT NOT NULL,
    generation INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT;
CREATE INDEX cut_offs_expires ON cut_offs (expires_at);

CREATE TABLE audit_events (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    at         INTEGER NOT NULL,
    actor      TEXT NOT NULL,
    request_id TEXT NOT NULL,
    source     TEXT NOT NULL,
    action     TEXT NOT NULL,
    subject    TEXT NOT NULL,
    client_id  TEXT NOT NULL,
    detail     TEXT NOT NULL -- JSON object
) STRICT;
CREATE INDEX audit_events_subject ON audit_events (subject, id);
CREATE INDEX audit_events_action ON audit_events (action, id);

-- The JWT IDs of client assertions, hashed: they are the caller's words, of any length and content.
CREATE TABLE assertion_uses (
    client_id  TEXT NOT NULL,
    jti_hash   TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (client_id, jti_hash)
) STRICT;
CREATE INDEX assertion_uses_expires ON assertion_uses (expires_at);

-- When a client or a secret was last used. Apart from their rows: only the usage flush writes here, and never waits for a
-- change, nor a change for it.
CREATE TABLE last_used (
    subject TEXT PRIMARY KEY,
    used_at INTEGER NOT NULL
) STRICT;

CREATE TABLE usage_daily (
    day       TEXT NOT NULL, -- UTC, 2006-01-02
    client_id TEXT NOT NULL,
    api       TEXT NOT NULL,
    tokens    INTEGER NOT NULL,
    PRIMARY KEY (client_id, day, api)
) STRICT;
