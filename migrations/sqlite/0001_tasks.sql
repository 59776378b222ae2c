-- The task table. Times are integer microseconds since 1970 in UTC, ids the 16 bytes of a UUID.
--
-- seq gives insertion order its tie-break, and keeps it over a VACUUM, which may renumber a bare rowid.
-- queue_rank is -priority of a ready task, else 0; queue_at is when the task became ready, is due, was claimed or
-- was finished. lease_token 0 means that there is no lease. unique_held is 1 while the unique key is held.
CREATE TABLE {table} (
    seq           INTEGER PRIMARY KEY,
    shard         INTEGER NOT NULL,
    id            BLOB    NOT NULL,
    type          TEXT    NOT NULL,
    status        INTEGER NOT NULL,
    priority      INTEGER NOT NULL,
    queue_rank    INTEGER NOT NULL,
    queue_at      INTEGER NOT NULL,
    due_at        INTEGER,
    attempts      INTEGER NOT NULL,
    max_retries   INTEGER NOT NULL,
    reclaims      INTEGER NOT NULL,
    lease_token   INTEGER NOT NULL,
    lease_number  INTEGER NOT NULL,
    lease_until   INTEGER,
    heartbeat_at  INTEGER,
    scheduled_at  INTEGER NOT NULL,
    started_at    INTEGER,
    completed_at  INTEGER,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    worker_id     TEXT,
    region        TEXT,
    unique_key    TEXT,
    unique_held   INTEGER,
    metadata      TEXT,
    last_error    TEXT,
    payload       TEXT    NOT NULL,
    CHECK (length(id) = 16),
    CHECK (status BETWEEN 0 AND 6),
    CHECK (queue_rank = CASE WHEN status = 0 THEN -priority ELSE 0 END),
    CHECK ((due_at IS NOT NULL) = (status IN (1, 4))),
    CHECK ((completed_at IS NOT NULL) = (status IN (3, 5, 6))),
    CHECK ((lease_until IS NOT NULL) = (status = 2)),
    CHECK (status <> 2 OR lease_token <> 0),
    CHECK (attempts >= 0 AND max_retries >= 1 AND reclaims >= 0 AND lease_number >= 0),
    CHECK ((unique_held IS NOT NULL) = (unique_key IS NOT NULL AND status IN (0, 1, 2, 4))),
    CHECK (unique_held IS NULL OR unique_held = 1)
);

CREATE UNIQUE INDEX {table}_id ON {table} (shard, id);

-- Claims read the ready prefix of a type in its order; reclaim, statistics and cleanup read the others.
CREATE INDEX {table}_pos ON {table} (shard, status, type, queue_rank, queue_at);

-- Promotion: over all types, earliest first, and never over what is not due. Costs a task without delay nothing.
CREATE INDEX {table}_due ON {table} (shard, due_at) WHERE due_at IS NOT NULL;

CREATE UNIQUE INDEX {table}_unique ON {table} (shard, type, unique_key) WHERE unique_held = 1;

CREATE TABLE {table}_paused (
    type      TEXT    NOT NULL PRIMARY KEY,
    paused_at INTEGER NOT NULL
) WITHOUT ROWID;

-- Sums over finished tasks, kept by whoever finishes or removes one, so that statistics never scan them.
-- Engines with many writers spread a sum over slots; here there is one writer, and so one slot, and
-- one below 0 for transactions of the service.
CREATE TABLE {table}_totals (
    type    TEXT    NOT NULL,
    status  INTEGER NOT NULL,
    slot    INTEGER NOT NULL,
    tasks   INTEGER NOT NULL,
    busy_us INTEGER NOT NULL,
    PRIMARY KEY (type, status, slot)
) WITHOUT ROWID;
