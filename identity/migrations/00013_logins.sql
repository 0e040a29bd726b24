-- Legacy user names and passwords that still stand for an identity until their sunset. password is a PHC string or '' (only in stage
-- observe); lists are words with one space between, brownouts are lines. stage is what an administrator set and stage_recorded the last
-- one on record: in between, the stage follows from the dates. version is the revision of the last change.

-- +goose Up
CREATE TABLE logins (
    user_name      TEXT PRIMARY KEY,
    identity       TEXT NOT NULL REFERENCES identities (name),
    owner          TEXT NOT NULL,
    description    TEXT NOT NULL,
    roles          TEXT NOT NULL,
    routes         TEXT NOT NULL,
    networks       TEXT NOT NULL,
    password       TEXT NOT NULL,
    sunset         BIGINT NOT NULL,
    stage          TEXT NOT NULL,
    warn_on        BIGINT NOT NULL,
    brownout_from  BIGINT NOT NULL,
    brownouts      TEXT NOT NULL,
    close_on       BIGINT NOT NULL,
    stage_recorded TEXT NOT NULL,
    version        BIGINT NOT NULL,
    created        BIGINT NOT NULL,
    updated        BIGINT NOT NULL
);
CREATE INDEX logins_identity ON logins (identity);

-- The one row is what holds for all logins.
CREATE TABLE login_policy (
    id         BIGINT PRIMARY KEY CHECK (id = 1),
    max_sunset BIGINT NOT NULL,
    contact    TEXT NOT NULL,
    guide      TEXT NOT NULL,
    realm      TEXT NOT NULL
);
INSERT INTO login_policy (id, max_sunset, contact, guide, realm) VALUES (1, 31536000000000000, '', '', 'tenantgate');

-- When each login was last accepted, as the nodes saw it. It is no part of the registry and changes without a revision.
CREATE TABLE login_uses (
    user_name TEXT PRIMARY KEY,
    last_used BIGINT NOT NULL
);

-- What would have become of the requests of logins in stage observe. It is no part of the registry, either.
CREATE TABLE login_findings (
    user_name TEXT NOT NULL,
    route     TEXT NOT NULL,
    would     TEXT NOT NULL,
    cause     TEXT NOT NULL,
    count     BIGINT NOT NULL,
    first     BIGINT NOT NULL,
    last      BIGINT NOT NULL,
    PRIMARY KEY (user_name, route, would, cause)
);

-- +goose Down
DROP TABLE login_findings;
DROP TABLE login_uses;
DROP TABLE login_policy;
DROP TABLE logins;
