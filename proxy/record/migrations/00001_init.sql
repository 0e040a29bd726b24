-- +goose Up
CREATE TABLE change_records (
    seq         BIGINT PRIMARY KEY,
    recorded_at BIGINT NOT NULL,
    actor       TEXT   NOT NULL,
    action      TEXT   NOT NULL,
    object      TEXT   NOT NULL,
    name        TEXT   NOT NULL,
    detail      TEXT   NOT NULL,
    prev_hash   TEXT   NOT NULL,
    hash        TEXT   NOT NULL
);

-- One row. Updating it takes its lock, so writers append one after the other and no number is left out.
CREATE TABLE change_head (
    id   BIGINT PRIMARY KEY,
    seq  BIGINT NOT NULL,
    hash TEXT   NOT NULL
);

INSERT INTO change_head (id, seq, hash) VALUES (1, 0, '');

-- +goose Down
DROP TABLE change_head;
DROP TABLE change_records;
