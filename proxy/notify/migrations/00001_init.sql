-- What is told to the receiver, and what was told before. Times are microseconds since 1970 in UTC, 0 for none.

-- +goose Up

-- The one row: its lock puts the nodes in one line, and changes is the number of the last change record that was looked at, -1 before the first look.
CREATE TABLE notify_state (
    id      BIGINT PRIMARY KEY CHECK (id = 1),
    turn    BIGINT NOT NULL,
    changes BIGINT NOT NULL
);
INSERT INTO notify_state (id, turn, changes) VALUES (1, 0, -1);

-- What holds now and was told: one row an object. detail is what the event that ends it will name.
CREATE TABLE notify_conditions (
    kind   TEXT NOT NULL,
    object TEXT NOT NULL,
    rank   BIGINT NOT NULL,
    ends   BIGINT NOT NULL,
    node   TEXT NOT NULL,
    seen   BIGINT NOT NULL,
    detail TEXT NOT NULL,
    PRIMARY KEY (kind, object)
);

-- The events. While one is pending, next is when it is tried again; whoever tries it moves next ahead first, so that nobody else does. body is emptied
-- once it was delivered.
CREATE TABLE notify_events (
    id       TEXT PRIMARY KEY,
    type     TEXT NOT NULL,
    state    TEXT NOT NULL,
    created  BIGINT NOT NULL,
    next     BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    finished BIGINT NOT NULL,
    problem  TEXT NOT NULL,
    subject  TEXT NOT NULL,
    body     TEXT NOT NULL
);
CREATE INDEX notify_events_due ON notify_events (state, next);

-- +goose Down
DROP TABLE notify_events;
DROP TABLE notify_conditions;
DROP TABLE notify_state;
