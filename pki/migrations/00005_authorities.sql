-- The CA's own certificates, which of them sign, and what the nodes know of them.

-- +goose Up
CREATE TABLE pki_authorities (
    id        TEXT   PRIMARY KEY,             -- lower-case hex of the SHA-256 of der; of the public key while there is no certificate
    kind      TEXT   NOT NULL,                -- root, intermediate
    state     TEXT   NOT NULL,                -- requested, pending, active, retiring, retired
    parent    TEXT   NOT NULL DEFAULT '',     -- id of the root that signed it; '' of a root
    installed BIGINT NOT NULL DEFAULT 1,      -- 0 = known from a node's files: only nodes that have the file believe it
    der       BYTEA,                          -- the certificate; none while it is requested
    request   BYTEA,                          -- PKCS#10, of one that is requested
    crossed   BYTEA,                          -- the same name and key, signed by the root before
    location  TEXT   NOT NULL,                -- of the key: file, database, offline, or the URI of a KMS
    sealed    BYTEA,                          -- the key, encrypted under the passphrase and then under the master key
    created   BIGINT NOT NULL,
    trusted   BIGINT NOT NULL DEFAULT 0,      -- since when every node has it
    activated BIGINT NOT NULL DEFAULT 0,
    retired   BIGINT NOT NULL DEFAULT 0,
    reason    TEXT   NOT NULL DEFAULT ''
);

-- Grows with each change of the table above.
CREATE TABLE pki_authority_revision (id BIGINT PRIMARY KEY, revision BIGINT NOT NULL);
INSERT INTO pki_authority_revision (id, revision) VALUES (1, 1);

-- Which revision each node has taken up. A node whose beat stands still is not there any more.
CREATE TABLE pki_nodes (
    id       TEXT   PRIMARY KEY,
    name     TEXT   NOT NULL,
    revision BIGINT NOT NULL,
    beat     BIGINT NOT NULL,
    seen     BIGINT NOT NULL,
    problem  TEXT   NOT NULL DEFAULT ''       -- why it cannot sign with one of them
);

-- +goose Down
DROP TABLE pki_nodes;
DROP TABLE pki_authority_revision;
DROP TABLE pki_authorities;
