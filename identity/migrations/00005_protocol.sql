-- What is spoken with a tenant: '' is HTTP/1.1.

-- +goose Up
ALTER TABLE tenants ADD COLUMN protocol TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE tenants DROP COLUMN protocol;
