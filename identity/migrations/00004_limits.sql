-- What an identity may cost, and when a tenant is left alone. 0 is no limit, or the default.

-- +goose Up
ALTER TABLE identities ADD COLUMN rate DOUBLE PRECISION NOT NULL DEFAULT 0;
ALTER TABLE identities ADD COLUMN burst BIGINT NOT NULL DEFAULT 0;
ALTER TABLE identities ADD COLUMN concurrency BIGINT NOT NULL DEFAULT 0;
ALTER TABLE identities ADD COLUMN bandwidth BIGINT NOT NULL DEFAULT 0;
ALTER TABLE tenants ADD COLUMN concurrency BIGINT NOT NULL DEFAULT 0;
ALTER TABLE tenants ADD COLUMN breaker_failures BIGINT NOT NULL DEFAULT 0;
ALTER TABLE tenants ADD COLUMN breaker_cooldown BIGINT NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE tenants DROP COLUMN breaker_cooldown;
ALTER TABLE tenants DROP COLUMN breaker_failures;
ALTER TABLE tenants DROP COLUMN concurrency;
ALTER TABLE identities DROP COLUMN bandwidth;
ALTER TABLE identities DROP COLUMN concurrency;
ALTER TABLE identities DROP COLUMN burst;
ALTER TABLE identities DROP COLUMN rate;
