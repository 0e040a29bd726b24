-- How tenants are reached.

-- +goose Up
ALTER TABLE tenants ADD COLUMN http_proxy TEXT NOT NULL DEFAULT '';
ALTER TABLE tenants ADD COLUMN client_certificate TEXT NOT NULL DEFAULT '';
ALTER TABLE routes ADD COLUMN upgrade TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE routes DROP COLUMN upgrade;
ALTER TABLE tenants DROP COLUMN client_certificate;
ALTER TABLE tenants DROP COLUMN http_proxy;
