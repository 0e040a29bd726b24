-- Further CAs that callers may come from, and what each of their certificates stands for. Times are microseconds since 1970 in UTC, 0 for
-- none; durations are nanoseconds; lists are words with one space between.

-- +goose Up
CREATE TABLE authorities (
    name                  TEXT PRIMARY KEY,
    description           TEXT NOT NULL,
    ca                    TEXT NOT NULL,
    intermediates         TEXT NOT NULL,
    intermediate_anchor   BIGINT NOT NULL,
    disabled              BIGINT NOT NULL,
    crl_required          BIGINT NOT NULL,
    crl_urls              TEXT NOT NULL,
    crl_refresh           BIGINT NOT NULL,
    crl_on_stale          TEXT NOT NULL,
    ocsp_url              TEXT NOT NULL,
    ocsp_from_certificate BIGINT NOT NULL,
    ocsp_on_failure       TEXT NOT NULL,
    created               BIGINT NOT NULL,
    updated               BIGINT NOT NULL
);

-- identity is a name or, for a template, * : whichever the template names. Hence no reference.
CREATE TABLE authority_mappings (
    authority TEXT NOT NULL REFERENCES authorities (name),
    kind      TEXT NOT NULL,
    value     TEXT NOT NULL,
    identity  TEXT NOT NULL,
    created   BIGINT NOT NULL,
    PRIMARY KEY (authority, kind, value)
);

-- Single certificates of an authority that are refused: kind is serial or fingerprint.
CREATE TABLE authority_blocks (
    authority TEXT NOT NULL REFERENCES authorities (name),
    kind      TEXT NOT NULL,
    value     TEXT NOT NULL,
    reason    TEXT NOT NULL,
    created   BIGINT NOT NULL,
    PRIMARY KEY (authority, kind, value)
);

-- The last revocation list that was believed, of each source: a URL, or what was uploaded. The number has up to 20 octets and is in decimal.
CREATE TABLE authority_crls (
    authority   TEXT NOT NULL REFERENCES authorities (name),
    source      TEXT NOT NULL,
    issuer      TEXT NOT NULL,
    number      TEXT NOT NULL,
    this_update BIGINT NOT NULL,
    next_update BIGINT NOT NULL,
    entries     BIGINT NOT NULL,
    fetched     BIGINT NOT NULL,
    der         BYTEA NOT NULL,
    PRIMARY KEY (authority, source)
);

-- How fetching stands. It is no part of the registry's revisions: of several nodes, the one that moves next_attempt fetches.
CREATE TABLE authority_fetches (
    authority    TEXT NOT NULL,
    source       TEXT NOT NULL,
    attempted    BIGINT NOT NULL,
    next_attempt BIGINT NOT NULL,
    failures     BIGINT NOT NULL,
    error        TEXT NOT NULL,
    PRIMARY KEY (authority, source)
);

-- +goose Down
DROP TABLE authority_fetches;
DROP TABLE authority_crls;
DROP TABLE authority_blocks;
DROP TABLE authority_mappings;
DROP TABLE authorities;
