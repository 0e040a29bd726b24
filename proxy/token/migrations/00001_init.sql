-- One schema for SQLite and PostgreSQL. Times are microseconds since 1970 in UTC. They are here in the clear so that statements can compare them; those that
-- are believed are in the sealed part.

-- +goose Up

-- The token of a credential, a scope and further parameters, sealed, and when it was last used, to some minutes. An empty sealed part is no token.
CREATE TABLE tokens (
    credential TEXT NOT NULL,
    scope      TEXT NOT NULL,
    parameters TEXT NOT NULL,
    obtained   BIGINT NOT NULL,
    expires    BIGINT NOT NULL,
    last_use   BIGINT NOT NULL,
    sealed     BYTEA NOT NULL,
    PRIMARY KEY (credential, scope, parameters)
);

-- How often a token server refused a credential in a row, and until when it is left alone, sealed.
CREATE TABLE token_refusals (
    credential TEXT PRIMARY KEY,
    until      BIGINT NOT NULL,
    sealed     BYTEA NOT NULL
);

-- +goose Down
DROP TABLE token_refusals;
DROP TABLE tokens;
