-- When, from where and how much an identity may call, and what it has used today. '' and 0 are no limit. Windows have one line end between, networks one space.

-- +goose Up
ALTER TABLE identities ADD COLUMN calling_windows TEXT NOT NULL DEFAULT '';
ALTER TABLE identities ADD COLUMN networks TEXT NOT NULL DEFAULT '';
ALTER TABLE identities ADD COLUMN certificates_only BIGINT NOT NULL DEFAULT 0;
ALTER TABLE identities ADD COLUMN max_body BIGINT NOT NULL DEFAULT 0;
ALTER TABLE identities ADD COLUMN daily_requests BIGINT NOT NULL DEFAULT 0;
ALTER TABLE identities ADD COLUMN daily_octets BIGINT NOT NULL DEFAULT 0;

-- What identities with a daily quota have used, of all nodes together; each adds what it has counted since it last did.
CREATE TABLE daily_use (
    identity TEXT   NOT NULL,
    day      BIGINT NOT NULL, -- since 1970, in UTC
    requests BIGINT NOT NULL,
    octets   BIGINT NOT NULL, -- of bodies, both directions
    PRIMARY KEY (identity, day)
);

-- +goose Down
DROP TABLE daily_use;
ALTER TABLE identities DROP COLUMN daily_octets;
ALTER TABLE identities DROP COLUMN daily_requests;
ALTER TABLE identities DROP COLUMN max_body;
ALTER TABLE identities DROP COLUMN certificates_only;
ALTER TABLE identities DROP COLUMN networks;
ALTER TABLE identities DROP COLUMN calling_windows;
