-- Usage history. One schema for SQLite and PostgreSQL. Instants are microseconds since 1970 in UTC, days are counted from 1970-01-01, UTC.

-- +goose Up

-- One row: whether addresses are kept as pseudonyms, and the sealed key of those. Each batch of a node updates it first, so that batches of several nodes
-- come one after the other and each is written as the settings then are.
CREATE TABLE usage_settings (
    id            INTEGER PRIMARY KEY CHECK (id = 1),
    batches       BIGINT NOT NULL,
    pseudonymous  BIGINT NOT NULL,
    key_generation BIGINT NOT NULL,
    sealed_key    BYTEA
);
INSERT INTO usage_settings (id, batches, pseudonymous, key_generation, sealed_key) VALUES (1, 0, 0, 0, NULL);

-- A caller: who looks like whom. A name is an operator's word, merged_into the caller that this one is shown as a part of (0 is none); last_served is when it last got
-- the tenant's answer (0 is never).
CREATE TABLE usage_callers (
    id          BIGINT PRIMARY KEY,
    kind        TEXT NOT NULL,
    subject     TEXT NOT NULL,
    source      TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    agent       TEXT NOT NULL,
    network     TEXT NOT NULL,
    name        TEXT NOT NULL DEFAULT '',
    merged_into BIGINT NOT NULL DEFAULT 0,
    first_seen  BIGINT NOT NULL,
    last_seen   BIGINT NOT NULL,
    last_served BIGINT NOT NULL,
    UNIQUE (kind, subject, source, fingerprint, agent)
);

-- What a caller did on a route on one day. Seconds are of that day.
CREATE TABLE usage_days (
    caller       BIGINT NOT NULL,
    day          INTEGER NOT NULL,
    route        TEXT NOT NULL,
    requests     BIGINT NOT NULL,
    failures     BIGINT NOT NULL,
    octets       BIGINT NOT NULL,
    first_second INTEGER NOT NULL,
    last_second  INTEGER NOT NULL,
    PRIMARY KEY (caller, day, route)
);

-- Networks that have a name.
CREATE TABLE usage_networks (
    cidr TEXT PRIMARY KEY,
    name TEXT NOT NULL
);

-- +goose Down
DROP TABLE usage_networks;
DROP TABLE usage_days;
DROP TABLE usage_callers;
DROP TABLE usage_settings;
