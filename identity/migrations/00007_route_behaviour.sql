-- What a route does about CSRF protection, and the header that names the caller.

-- +goose Up
ALTER TABLE routes ADD COLUMN csrf TEXT NOT NULL DEFAULT '';
ALTER TABLE routes ADD COLUMN csrf_path TEXT NOT NULL DEFAULT '';
ALTER TABLE routes ADD COLUMN caller_header TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE routes DROP COLUMN caller_header;
ALTER TABLE routes DROP COLUMN csrf_path;
ALTER TABLE routes DROP COLUMN csrf;
