-- Enrolment tokens and what became of them, and which certificate was renewed by which.

-- +goose Up
CREATE TABLE pki_enrolment_tokens (
    id        TEXT   PRIMARY KEY,
    hash      TEXT   NOT NULL UNIQUE,              -- lower-case hex of the SHA-256 of the whole token, which is stored nowhere
    name      TEXT   NOT NULL,                     -- the identity whose certificate it is good for
    source    TEXT   NOT NULL,                     -- host name, address or network from which alone it may be used; '' is anywhere
    key       TEXT   NOT NULL,                     -- lower-case hex of the SHA-256 of the one key that is certified; '' is any
    lifetime  BIGINT NOT NULL,                     -- of the certificate, nanoseconds; 0 is the profile's
    created   BIGINT NOT NULL,
    expires   BIGINT NOT NULL,
    withdrawn BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX pki_enrolment_tokens_name ON pki_enrolment_tokens (name);

-- A token is used when it has a row here: the primary key lets one use win, however many come at once, on however many nodes.
CREATE TABLE pki_enrolments (
    token  TEXT   PRIMARY KEY,
    key    TEXT   NOT NULL,                        -- of the certificate: whoever has it may fetch the certificate again
    serial TEXT   NOT NULL,
    used   BIGINT NOT NULL
);

-- Likewise one renewal for each certificate and new key, so that a caller who has lost the answer gets it again.
CREATE TABLE pki_renewals (
    renewed TEXT   NOT NULL,                       -- serial number of the old certificate
    key     TEXT   NOT NULL,
    serial  TEXT   NOT NULL,
    at      BIGINT NOT NULL,
    PRIMARY KEY (renewed, key)
);

-- +goose Down
DROP TABLE pki_renewals;
DROP TABLE pki_enrolments;
DROP TABLE pki_enrolment_tokens;
