-- The task table, for MySQL and MariaDB. Times are datetime(6) in UTC; ids are the 16 bytes of a UUID.
--
-- DDL commits by itself here, so each statement can be repeated after a migration that was cut short; the indexes are
-- inline because MySQL has no CREATE INDEX IF NOT EXISTS. No column has the server's default collation, which ignores
-- case; region and unique_key are bytes, because the collations that both engines have ignore trailing blanks.
--
-- queue_rank is -priority of a ready task, else 0; queue_at is when the task became ready, is due, was claimed, became a
-- dead letter or was cancelled. listed is the status that the index has: a completed task stays among the running ones, where
-- its claim put it, so that a completion writes no index. lease_token 0 means that there is no lease.
--
-- What claims and completions write has the same width before and after: a row that grows takes its place anew, and
-- splits its page. So the times they set are the year 1000 where there is none, never NULL, and worker_id is filled up
-- with zeros to 40 bytes.
--
-- The defaults are those of a task that is ready at once: what an INSERT does not name is not parsed, bound and
-- computed for each row, which is a quarter of its cost.
CREATE TABLE IF NOT EXISTS {table} (
    shard         smallint     NOT NULL,
    id            binary(16)   NOT NULL,
    type          varchar(64)  CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    status        smallint     NOT NULL DEFAULT 0,
    listed        smallint     AS (IF(status = 3, 2, status)) STORED,
    priority      int          NOT NULL,
    created_at    datetime(6)  NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
    queue_rank    bigint       NOT NULL DEFAULT (-priority),
    queue_at      datetime(6)  NOT NULL DEFAULT (created_at),
    due_at        datetime(6)  NULL,
    attempts      int          NOT NULL DEFAULT 0,
    max_retries   int          NOT NULL,
    reclaims      int          NOT NULL DEFAULT 0,
    lease_token   bigint       NOT NULL DEFAULT 0,
    lease_number  bigint       NOT NULL DEFAULT 0,
    lease_until   datetime(6)  NOT NULL DEFAULT '1000-01-01',
    heartbeat_at  datetime(6)  NOT NULL DEFAULT '1000-01-01',
    scheduled_at  datetime(6)  NOT NULL DEFAULT (created_at),
    started_at    datetime(6)  NOT NULL DEFAULT '1000-01-01',
    completed_at  datetime(6)  NOT NULL DEFAULT '1000-01-01',
    updated_at    datetime(6)  NOT NULL DEFAULT (created_at),
    worker_id     varchar(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL
                  DEFAULT X'00000000000000000000000000000000000000000000000000000000000000000000000000000000',
    region        varbinary(200) NULL,
    unique_key    varbinary(200) NULL,
    metadata      longtext     CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    last_error    longtext     CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    payload       longtext     CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    PRIMARY KEY (shard, id),
    -- Claims read the ready prefix of a type in its order; promotion, reclaim, statistics and cleanup read the others.
    INDEX {table}_pos (shard, listed, type, queue_rank, queue_at),
    CHECK (status BETWEEN 0 AND 6),
    CHECK (queue_rank = CASE WHEN status = 0 THEN -priority ELSE 0 END),
    CHECK ((due_at IS NOT NULL) = (status IN (1, 4))),
    CHECK ((completed_at > '1000-01-01') = (status IN (3, 5, 6))),
    CHECK ((lease_until > '1000-01-01') = (status = 2)),
    CHECK (status <> 2 OR lease_token <> 0),
    CHECK (attempts >= 0 AND max_retries >= 1 AND reclaims >= 0 AND lease_number >= 0)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- A row for each unique key that is held, with the task that holds it. Not an index of the tasks: it would have an entry for
-- each of those without a key as well.
CREATE TABLE IF NOT EXISTS {table}_keys (
    shard      smallint       NOT NULL,
    type       varchar(64)    CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    unique_key varbinary(200) NOT NULL,
    id         binary(16)     NOT NULL,
    PRIMARY KEY (shard, type, unique_key)
) ENGINE = InnoDB;

-- A row for each type that a claim has taken: what reclaim looks at when check_at has come, and where in the index the tasks of
-- the claim are.
CREATE TABLE IF NOT EXISTS {table}_leases (
    token      bigint      NOT NULL,
    type       varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    shard      smallint    NOT NULL,
    claimed_at datetime(6) NOT NULL,
    check_at   datetime(6) NOT NULL,
    PRIMARY KEY (token, type),
    INDEX {table}_leases_check (shard, check_at)
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS {table}_paused (
    type      varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    paused_at datetime(6) NOT NULL
) ENGINE = InnoDB;

-- Sums over finished tasks, kept by whoever finishes or removes one, so that statistics never scan them. Each sum can
-- be spread over slots, so that settlers do not wait for one another's row.
CREATE TABLE IF NOT EXISTS {table}_totals (
    type    varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    status  smallint NOT NULL,
    slot    smallint NOT NULL,
    tasks   bigint   NOT NULL,
    busy_us bigint   NOT NULL,
    PRIMARY KEY (type, status, slot)
) ENGINE = InnoDB;
