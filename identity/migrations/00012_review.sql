-- Who gets no certificate, for all identities, and when certificates were last used. The words are those of identity.Policy; review_grace
-- and review_interval are nanoseconds. calls_since is when calls were first noted, 0 before that.

-- +goose Up
CREATE TABLE registry_policy (
    id                   BIGINT PRIMARY KEY CHECK (id = 1),
    refuse_without_owner TEXT NOT NULL,
    refuse_past_review   TEXT NOT NULL,
    review_grace         BIGINT NOT NULL,
    review_interval      BIGINT NOT NULL,
    calls_since          BIGINT NOT NULL
);
INSERT INTO registry_policy (id, refuse_without_owner, refuse_past_review, review_grace, review_interval, calls_since)
    VALUES (1, 'new', 'new', 2592000000000000, 31536000000000000, 0);

-- The last call with each certificate, to the minute. It is no part of the registry's revisions: a call changes nothing.
CREATE TABLE last_calls (
    fingerprint TEXT PRIMARY KEY,
    seen        BIGINT NOT NULL
);
CREATE INDEX last_calls_seen ON last_calls (seen);

-- +goose Down
DROP TABLE last_calls;
DROP TABLE registry_policy;
