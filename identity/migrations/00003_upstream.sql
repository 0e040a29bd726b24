-- How tenants are reached.

-- +goose Up
ALTER TABLE routes ADD COLUMN upgrade TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE routes DROP COLUMN upgrade;
