-- The revocation lists, one of each issuer.

-- +goose Up
CREATE TABLE pki_crls (
    issuer      TEXT   PRIMARY KEY,             -- fingerprint of the intermediate, as in pki_certificates
    number      BIGINT NOT NULL,                -- CRL number (RFC 5280 section 5.2.3); 0 = none was made yet
    stale       BIGINT NOT NULL DEFAULT 1,      -- 1 = something was revoked since
    this_update BIGINT NOT NULL DEFAULT 0,
    next_update BIGINT NOT NULL DEFAULT 0,
    entries     BIGINT NOT NULL DEFAULT 0,
    der         BYTEA
);
