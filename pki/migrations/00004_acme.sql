-- ACME (RFC 8555) for callers: which account may have certificates of which identity, and what is under way.

-- +goose Up
-- The key of a certificate, to find those that share one. '' in rows that are older than this column.
ALTER TABLE pki_certificates ADD COLUMN key TEXT NOT NULL DEFAULT '';
CREATE INDEX pki_certificates_key ON pki_certificates (key);

-- External account bindings (section 7.3.4): each lets one account register, for one identity and the hosts named.
CREATE TABLE pki_acme_keys (
    id       TEXT   PRIMARY KEY,                   -- the "kid" of the binding
    name     TEXT   NOT NULL,                      -- the identity whose certificates its account gets
    hosts    TEXT   NOT NULL,                      -- the DNS names that may be asked for, separated by blanks
    secret   BYTEA,                                -- the MAC key, sealed; NULL when it is of no use any more
    lifetime BIGINT NOT NULL,                      -- of certificates, nanoseconds; 0 is the profile's
    created  BIGINT NOT NULL,
    expires  BIGINT NOT NULL,                      -- until when an account may register
    bound    BIGINT NOT NULL DEFAULT 0,            -- when it did
    removed  BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX pki_acme_keys_name ON pki_acme_keys (name);

-- The unique binding lets one account win, however many register at once, on however many nodes.
CREATE TABLE pki_acme_accounts (
    id         TEXT   PRIMARY KEY,
    binding    TEXT   NOT NULL UNIQUE,             -- pki_acme_keys.id
    thumbprint TEXT   NOT NULL UNIQUE,             -- of its key (RFC 7638, SHA-256)
    jwk        TEXT   NOT NULL,                    -- its public key
    status     TEXT   NOT NULL,                    -- valid, deactivated
    created    BIGINT NOT NULL
);

-- Nonces that were used. Those that were not are known by their seal.
CREATE TABLE pki_acme_nonces (
    nonce TEXT   PRIMARY KEY,                      -- lower-case hex of its SHA-256
    used  BIGINT NOT NULL
);

CREATE TABLE pki_acme_orders (
    id      TEXT   PRIMARY KEY,
    account TEXT   NOT NULL,
    status  TEXT   NOT NULL,                       -- pending, ready, valid, invalid
    problem TEXT   NOT NULL DEFAULT '',            -- why it is invalid, JSON
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    serial  TEXT   NOT NULL DEFAULT '',            -- of the certificate
    key     TEXT   NOT NULL DEFAULT ''             -- that it was finalized with
);
CREATE INDEX pki_acme_orders_account ON pki_acme_orders (account, created);
CREATE INDEX pki_acme_orders_serial ON pki_acme_orders (serial);

CREATE TABLE pki_acme_authorizations (
    id       TEXT   PRIMARY KEY,
    order_id TEXT   NOT NULL,
    account  TEXT   NOT NULL,
    place    BIGINT NOT NULL,                      -- among those of its order, from 0
    host     TEXT   NOT NULL,
    token    TEXT   NOT NULL,
    status   TEXT   NOT NULL,                      -- pending, valid, invalid
    expires  BIGINT NOT NULL
);
CREATE INDEX pki_acme_authorizations_order ON pki_acme_authorizations (order_id);

CREATE TABLE pki_acme_challenges (
    authorization_id TEXT   NOT NULL,
    type             TEXT   NOT NULL,              -- http-01, tls-alpn-01
    status           TEXT   NOT NULL,              -- pending, valid, invalid
    problem          TEXT   NOT NULL DEFAULT '',   -- JSON
    validated        BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (authorization_id, type)
);

-- +goose Down
DROP TABLE pki_acme_challenges;
DROP TABLE pki_acme_authorizations;
DROP TABLE pki_acme_orders;
DROP TABLE pki_acme_nonces;
DROP TABLE pki_acme_accounts;
DROP TABLE pki_acme_keys;
DROP INDEX pki_certificates_key;
ALTER TABLE pki_certificates DROP COLUMN key;
