-- Callers of logins that are on their way to a certificate, or have arrived: what they look like (JSON), to which identity, for how long the login goes on
-- working for them behind the first request with the certificate (nanoseconds), when they were moved and when that request came (microseconds, 0 is not yet).

-- +goose Up
CREATE TABLE login_moves (
    login    TEXT NOT NULL,
    caller   TEXT NOT NULL,
    identity TEXT NOT NULL,
    looks    TEXT NOT NULL,
    grace    BIGINT NOT NULL,
    moved    BIGINT NOT NULL,
    seen     BIGINT NOT NULL,
    PRIMARY KEY (login, caller)
);

-- +goose Down
DROP TABLE login_moves;
