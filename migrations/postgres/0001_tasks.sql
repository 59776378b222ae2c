-- The task table. Times are timestamptz, whose precision is the microsecond.
--
-- queue_rank is -priority of a ready task, and of a running one whose claim left it; else NULL. queue_at is when the task
-- became ready last. due_at is set only while a task is delayed or failed, dead_at only while it is a dead letter. No index
-- names status, completed_at or lease_until: so a heartbeat is a HOT update, and either the claim or the completion is, by
-- which of them takes the rank away. fillfactor leaves as much room on a page as its tasks take: a claim writes each anew
-- beside the old one, and a completion writes it where the old one was. So in the index of the key, which gets an entry more
-- for each task that is claimed. lease_token 0 means that there is no lease.
-- unique_held is 1 while the unique key is held.
CREATE TABLE {table} (
    shard         smallint    NOT NULL,
    id            uuid        NOT NULL,
    type          varchar(64) COLLATE "C" NOT NULL,
    status        smallint    NOT NULL,
    priority      integer     NOT NULL,
    queue_rank    bigint,
    queue_at      timestamptz NOT NULL,
    due_at        timestamptz,
    attempts      integer     NOT NULL,
    max_retries   integer     NOT NULL,
    reclaims      integer     NOT NULL,
    lease_token   bigint      NOT NULL,
    lease_number  bigint      NOT NULL,
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
    unique_key    text COLLATE "C",
    unique_held   smallint,
    metadata      text,
    last_error    text,
    payload       text        NOT NULL,
    PRIMARY KEY (shard, id) WITH (fillfactor = 50),
    -- What each state sets and what it does not. The server reads the text of a CHECK anew in each statement that writes
    -- rows, and that takes as long as the text is: hence one that says it in few words.
    CHECK (num_nonnulls(due_at, lease_until, completed_at) = least(status, '1'::smallint)
        AND (dead_at IS NULL OR completed_at IS NOT NULL)
        AND status = ANY (CASE
            WHEN lease_until IS NOT NULL THEN '{2}'::smallint[]
            WHEN queue_rank IS NOT NULL THEN '{0}'
            WHEN due_at IS NOT NULL THEN '{1,4}'
            WHEN dead_at IS NOT NULL THEN '{5}'
            ELSE '{3,6}'
        END)
        AND (unique_held IS NULL) = (unique_key IS NULL OR completed_at IS NOT NULL))
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);

-- Claims: the ready tasks of a type in their order, and running ones that keep their rank. The hash of the type instead of
-- the type: the server finds what follows a text of any length in an entry only by walking over it, in each comparison, which
-- is a tenth of an insert. The type itself is there for statistics.
CREATE INDEX {table}_ready ON {table} (shard, hashtext(type), queue_rank, queue_at) INCLUDE (type)
    WHERE queue_rank IS NOT NULL;

-- Promotion: over all types, earliest first, and never over what is not due.
CREATE INDEX {table}_due ON {table} (shard, due_at) WHERE due_at IS NOT NULL;

-- Lists and redrives of dead letters, by id.
CREATE INDEX {table}_dead ON {table} (shard, id) WHERE dead_at IS NOT NULL;

CREATE UNIQUE INDEX {table}_unique ON {table} (shard, type, unique_key) WHERE unique_held = 1;

-- One row a claim statement: what reclaim looks at when check_at has come, instead of an index over running tasks.
CREATE TABLE {table}_leases (
    token    bigint      NOT NULL PRIMARY KEY,
    shard    smallint    NOT NULL,
    check_at timestamptz NOT NULL,
    ids      uuid[]      NOT NULL
);

-- Ids hardly compress, and trying costs as much as the rest of the row.
ALTER TABLE {table}_leases ALTER COLUMN ids SET STORAGE EXTERNAL;

CREATE INDEX {table}_leases_check ON {table}_leases (shard, check_at);

CREATE TABLE {table}_paused (
    type      varchar(64) COLLATE "C" NOT NULL PRIMARY KEY,
    paused_at timestamptz NOT NULL
);

-- Sums over finished tasks, kept by whoever finishes or removes one, so that statistics never scan them. Without a
-- key: each settle appends what it finished and waits for nobody; reclaim folds many rows into few.
CREATE TABLE {table}_totals (
    type    varchar(64) COLLATE "C" NOT NULL,
    status  smallint NOT NULL,
    tasks   bigint   NOT NULL,
    busy_us bigint   NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02);
