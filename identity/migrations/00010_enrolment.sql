-- How an identity's callers come by their certificates: for how long after its end one may still be renewed (nanoseconds, 0 is not at
-- all), and which types of keys are certified (words, none is all).

-- +goose Up
ALTER TABLE identities ADD COLUMN renew_grace BIGINT NOT NULL DEFAULT 0;
ALTER TABLE identities ADD COLUMN key_types TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE identities DROP COLUMN key_types;
ALTER TABLE identities DROP COLUMN renew_grace;
