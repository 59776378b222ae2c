-- The task table for CockroachDB: the columns, invariants and indexes of postgres/0001_tasks.sql, which says what they
-- hold. Each statement is sent on its own, is a transaction by itself, and may be repeated; it ends where its
-- last line does. Integers are named by their widths, since "integer" has eight bytes there; text compares by its bytes unless it is
-- said otherwise; and there are no storage parameters. A claim sets queue_rank to NULL here: there are no HOT updates.
CREATE TABLE IF NOT EXISTS {table} (
    shard         int2        NOT NULL,
    id            uuid        NOT NULL,
    type          varchar(64) NOT NULL,
    status        int2        NOT NULL,
    priority      int4        NOT NULL,
    queue_rank    int8,
    queue_at      timestamptz NOT NULL,
    due_at        timestamptz,
    attempts      int4        NOT NULL,
    max_retries   int4        NOT NULL,
    reclaims      int4        NOT NULL,
    lease_token   int8        NOT NULL,
    lease_number  int8        NOT NULL,
    lease_until   timestamptz,
    heartbeat_at  timestamptz,
    scheduled_at  timestamptz NOT NULL,
    started_at    timestamptz,
    completed_at  timestamptz,
    dead_at       timestamptz,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    worker_id     varchar(100),
    region        varchar(50),
    unique_key    text,
    unique_held   int2,
    metadata      text,
    last_error    text,
    payload       text        NOT NULL,
    PRIMARY KEY (shard, id),
    CHECK (status BETWEEN 0 AND 6),
    CHECK ((queue_rank IS NOT NULL) = (status = 0)),
    CHECK ((due_at IS NOT NULL) = (status IN (1, 4))),
    CHECK ((completed_at IS NOT NULL) = (status IN (3, 5, 6))),
    CHECK ((dead_at IS NOT NULL) = (status = 5)),
    CHECK ((lease_until IS NOT NULL) = (status = 2)),
    CHECK (status <> 2 OR lease_token <> 0),
    CHECK (attempts >= 0 AND max_retries >= 1 AND reclaims >= 0 AND lease_number >= 0),
    CHECK ((unique_held IS NOT NULL) = (unique_key IS NOT NULL AND status IN (0, 1, 2, 4)))
);

-- Claims name it in their statements.
CREATE INDEX IF NOT EXISTS {table}_ready ON {table} (shard, type, queue_rank, queue_at) WHERE queue_rank IS NOT NULL;

-- The order of promotion whole: a sort would lock all that is due.
CREATE INDEX IF NOT EXISTS {table}_due ON {table} (shard, due_at, queue_at) WHERE due_at IS NOT NULL;

CREATE INDEX IF NOT EXISTS {table}_dead ON {table} (shard, id) WHERE dead_at IS NOT NULL;

CREATE UNIQUE INDEX IF NOT EXISTS {table}_unique ON {table} (shard, type, unique_key) WHERE unique_held = 1;

CREATE TABLE IF NOT EXISTS {table}_leases (
    token    int8        NOT NULL PRIMARY KEY,
    shard    int2        NOT NULL,
    check_at timestamptz NOT NULL,
    ids      uuid[]      NOT NULL
);

CREATE INDEX IF NOT EXISTS {table}_leases_check ON {table}_leases (shard, check_at);

CREATE TABLE IF NOT EXISTS {table}_paused (
    type      varchar(64) NOT NULL PRIMARY KEY,
    paused_at timestamptz NOT NULL
);

-- Rows have a key, which a fold names them by; its values are random, so that appends spread.
CREATE TABLE IF NOT EXISTS {table}_totals (
    id      uuid        NOT NULL DEFAULT gen_random_uuid() PRIMARY KEY,
    type    varchar(64) NOT NULL,
    status  int2        NOT NULL,
    tasks   int8        NOT NULL,
    busy_us int8        NOT NULL
);
