-- How OAuth clients prove themselves, and what else is asked for with a token. token_parameters are form-urlencoded, sorted by name.

-- +goose Up
ALTER TABLE tenants ADD COLUMN issuer TEXT NOT NULL DEFAULT '';
ALTER TABLE tenants ADD COLUMN token_parameters TEXT NOT NULL DEFAULT '';
ALTER TABLE routes ADD COLUMN token_parameters TEXT NOT NULL DEFAULT '';
ALTER TABLE credentials ADD COLUMN issuer TEXT NOT NULL DEFAULT '';
ALTER TABLE credentials ADD COLUMN token_parameters TEXT NOT NULL DEFAULT '';
ALTER TABLE credentials ADD COLUMN key_id TEXT NOT NULL DEFAULT '';
ALTER TABLE credentials ADD COLUMN assertion_algorithm TEXT NOT NULL DEFAULT '';
ALTER TABLE credentials ADD COLUMN assertion_audience TEXT NOT NULL DEFAULT '';
ALTER TABLE credentials ADD COLUMN keyless BIGINT NOT NULL DEFAULT 0;
ALTER TABLE credentials ADD COLUMN lifetime BIGINT NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE credentials DROP COLUMN lifetime;
ALTER TABLE credentials DROP COLUMN keyless;
ALTER TABLE credentials DROP COLUMN assertion_audience;
ALTER TABLE credentials DROP COLUMN assertion_algorithm;
ALTER TABLE credentials DROP COLUMN key_id;
ALTER TABLE credentials DROP COLUMN token_parameters;
ALTER TABLE credentials DROP COLUMN issuer;
ALTER TABLE routes DROP COLUMN token_parameters;
ALTER TABLE tenants DROP COLUMN token_parameters;
ALTER TABLE tenants DROP COLUMN issuer;
