-- Tables of package pki. Times are microseconds since 1970 (UTC), 0 = never. Readable by SQLite and PostgreSQL.

-- +goose Up
CREATE TABLE pki_certificates (
    serial            TEXT   PRIMARY KEY,          -- lower-case hex, no colons
    fingerprint       TEXT   NOT NULL UNIQUE,      -- lower-case hex of the SHA-256 of der
    issuer            TEXT   NOT NULL,             -- fingerprint of the intermediate that signed it
    profile           TEXT   NOT NULL,             -- client, admin, server
    name              TEXT   NOT NULL,             -- the identity, administrator or host it was issued to
    not_before        BIGINT NOT NULL,
    not_after         BIGINT NOT NULL,
    created           BIGINT NOT NULL,
    revoked_at        BIGINT NOT NULL DEFAULT 0,
    revocation_reason TEXT   NOT NULL DEFAULT '',
    der               BYTEA  NOT NULL
);
CREATE INDEX pki_certificates_name ON pki_certificates (profile, name);
CREATE INDEX pki_certificates_revoked ON pki_certificates (issuer, revoked_at);

CREATE TABLE pki_storage (
    path     TEXT   PRIMARY KEY,                   -- certmagic's key, slash-separated
    value    BYTEA  NOT NULL,                      -- sealed; the path is bound into the seal
    size     BIGINT NOT NULL,                      -- of the value before sealing, bytes
    modified BIGINT NOT NULL
);

CREATE TABLE pki_locks (
    name    TEXT   PRIMARY KEY,
    holder  TEXT   NOT NULL,                       -- random, one per lock taken
    expires BIGINT NOT NULL
);
