-- Callers of logins that are on their way to a certificate, or have arrived: what they look like (JSON, with when each was first seen with the
-- certificate), to which identity, for how long the login goes on working for them after that (nanoseconds), and when they were moved (microseconds).

-- +goose Up
CREATE TABLE login_moves (
    login    TEXT NOT NULL,
    caller   TEXT NOT NULL,
    identity TEXT NOT NULL,
    looks    TEXT NOT NULL,
    grace    BIGINT NOT NULL,
    moved    BIGINT NOT NULL,
    PRIMARY KEY (login, caller)
);

-- +goose Down
DROP TABLE login_moves;
