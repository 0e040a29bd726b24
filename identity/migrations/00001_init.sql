-- One schema for SQLite and PostgreSQL. Times are microseconds since 1970 in UTC, 0 for none; durations are nanoseconds; booleans
-- are 0 or 1; lists are words with one space between.

-- +goose Up

-- The one row counts changes: each takes the next revision, and its lock puts writers of all nodes in one line.
-- registry_changes is complete for revisions above oldest. key_check is a known text, sealed, that tells a wrong key at once.
CREATE TABLE registry (
    id        BIGINT PRIMARY KEY CHECK (id = 1),
    revision  BIGINT NOT NULL,
    oldest    BIGINT NOT NULL,
    key_check BYTEA
);
INSERT INTO registry (id, revision, oldest) VALUES (1, 0, 0);

-- What each revision touched, so that other nodes read only that.
CREATE TABLE registry_changes (
    revision BIGINT NOT NULL,
    object   TEXT NOT NULL,
    name     TEXT NOT NULL,
    PRIMARY KEY (revision, object, name)
);

CREATE TABLE tenants (
    name           TEXT PRIMARY KEY,
    description    TEXT NOT NULL,
    base_url       TEXT NOT NULL,
    token_url      TEXT NOT NULL,
    auth_style     TEXT NOT NULL,
    scope          TEXT NOT NULL,
    ca_bundle      TEXT NOT NULL,
    case_sensitive BIGINT NOT NULL,
    timeout        BIGINT NOT NULL,
    created        BIGINT NOT NULL,
    updated        BIGINT NOT NULL
);

CREATE TABLE routes (
    name             TEXT PRIMARY KEY,
    host             TEXT NOT NULL,
    path             TEXT NOT NULL,
    methods          TEXT NOT NULL,
    tenant           TEXT NOT NULL REFERENCES tenants (name),
    tenant_path      TEXT NOT NULL,
    role             TEXT NOT NULL,
    case_rule        TEXT NOT NULL,
    max_body         BIGINT NOT NULL,
    response_timeout BIGINT NOT NULL,
    idle_timeout     BIGINT NOT NULL,
    scope            TEXT NOT NULL,
    created          BIGINT NOT NULL,
    updated          BIGINT NOT NULL
);
CREATE INDEX routes_tenant ON routes (tenant);

CREATE TABLE identities (
    name        TEXT PRIMARY KEY,
    owner       TEXT NOT NULL,
    description TEXT NOT NULL,
    roles       TEXT NOT NULL,
    disabled    BIGINT NOT NULL,
    review_date TEXT NOT NULL,
    created     BIGINT NOT NULL,
    updated     BIGINT NOT NULL
);

CREATE TABLE credentials (
    id          TEXT PRIMARY KEY,
    identity    TEXT NOT NULL REFERENCES identities (name),
    tenant      TEXT NOT NULL REFERENCES tenants (name),
    client_id   TEXT NOT NULL,
    auth_style  TEXT NOT NULL,
    token_url   TEXT NOT NULL,
    scope       TEXT NOT NULL,
    kind        TEXT NOT NULL,
    certificate TEXT NOT NULL,
    not_after   BIGINT NOT NULL,
    created     BIGINT NOT NULL,
    secret      BYTEA NOT NULL
);
CREATE INDEX credentials_identity ON credentials (identity);
CREATE INDEX credentials_tenant ON credentials (tenant);

-- A certificate outlives its identity: revoked, so that whoever still shows it is known by name. Hence no reference.
CREATE TABLE certificates (
    fingerprint       TEXT PRIMARY KEY,
    identity          TEXT NOT NULL,
    serial            TEXT NOT NULL,
    subject           TEXT NOT NULL,
    not_before        BIGINT NOT NULL,
    not_after         BIGINT NOT NULL,
    created           BIGINT NOT NULL,
    revoked_at        BIGINT NOT NULL,
    revocation_reason TEXT NOT NULL
);

-- +goose Down
DROP TABLE certificates;
DROP TABLE credentials;
DROP TABLE identities;
DROP TABLE routes;
DROP TABLE tenants;
DROP TABLE registry_changes;
DROP TABLE registry;
