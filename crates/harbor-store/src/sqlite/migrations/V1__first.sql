-- Everything that Harborhook keeps.
--
-- Conventions:
--   * Ids are the 16 bytes of a ULID, big-endian, so that their order is the order of time. The time of
--     an event or a delivery is that of its id; it is not stored twice.
--   * `tenant` is tenants.number. It leads every key: nothing is found without it. It is small, since it
--     stands in every index, and never used again, so that nothing of a purged tenant can show under
--     another one that took its id.
--   * Times are milliseconds since 1970 UTC. What is sealed is encrypted under the tenant's data key.
--   * There are no foreign keys: what refers and what is referred to are written in one transaction,
--     and retention removes them at different times.

-- Facts about the store itself.
CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE tenants (
    number            INTEGER PRIMARY KEY AUTOINCREMENT,
    id                TEXT    NOT NULL UNIQUE,
    name              TEXT    NOT NULL,
    policy            TEXT    NOT NULL, -- JSON
    version           INTEGER NOT NULL,
    directory_version INTEGER NOT NULL, -- raised by every change that publish or delivery must obey
    endpoint_count    INTEGER NOT NULL, -- not counting deleted ones
    created_at        INTEGER NOT NULL,
    updated_at        INTEGER NOT NULL,
    deleted_at        INTEGER           -- access has ended; the row goes when its purge has
) STRICT;

-- What seals a tenant's secrets, itself wrapped by the master key.
CREATE TABLE data_keys (
    tenant     INTEGER NOT NULL,
    version    INTEGER NOT NULL,
    master_key BLOB    NOT NULL, -- names the master key that wraps it
    wrapped    BLOB    NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE endpoints (
    tenant      INTEGER NOT NULL,
    id          BLOB    NOT NULL,
    paused      INTEGER NOT NULL,
    disabled    TEXT,             -- why, if it is
    deleted_at  INTEGER,          -- the row outlives its open deliveries
    name        TEXT,
    description TEXT,
    url         TEXT    NOT NULL,
    secrets     BLOB,             -- sealed JSON; wiped when deleted
    headers     BLOB,             -- sealed JSON; wiped when deleted
    policy      TEXT    NOT NULL, -- JSON
    metadata    TEXT    NOT NULL, -- JSON
    version     INTEGER NOT NULL,
    url_version INTEGER NOT NULL, -- the version at which the URL last changed
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE subscriptions (
    tenant      INTEGER NOT NULL,
    id          BLOB    NOT NULL,
    endpoint_id BLOB    NOT NULL,
    pattern     TEXT    NOT NULL,
    version     INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX subscriptions_pair ON subscriptions (tenant, endpoint_id, pattern);

-- Events are wide, so they have a rowid: a row of a table without one leaves its page early.
CREATE TABLE events (
    number          INTEGER PRIMARY KEY,
    tenant          INTEGER NOT NULL,
    id              BLOB    NOT NULL,
    event_type      TEXT    NOT NULL,
    fan_out_count   INTEGER NOT NULL,
    skipped         BLOB,             -- ids of endpoints that matched and were disabled
    occurred_at     INTEGER,
    deliver_at      INTEGER,
    ordering_key    TEXT,
    idempotency_key TEXT,
    metadata        TEXT,             -- JSON
    source_id       BLOB,             -- the inbound door that it came through
    content_type    TEXT,             -- none for JSON that was published
    headers         TEXT,             -- JSON; the original headers of a relayed request
    trace_id        BLOB    NOT NULL,
    span_id         BLOB    NOT NULL,
    trace_sampled   INTEGER NOT NULL,
    trace_state     TEXT,
    expunged_at     INTEGER,
    payload         BLOB              -- byte for byte as published; none once expunged
) STRICT;

CREATE UNIQUE INDEX events_id ON events (tenant, id);

-- Deliveries are narrow and come in the order of their key.
CREATE TABLE deliveries (
    tenant            INTEGER NOT NULL,
    id                BLOB    NOT NULL,
    event_id          BLOB    NOT NULL,
    endpoint_id       BLOB    NOT NULL,
    event_type        TEXT    NOT NULL,
    payload_bytes     INTEGER NOT NULL,
    status            TEXT    NOT NULL, -- queued, failed, delivered, dead, cancelled; inflight is in memory
    attempt_count     INTEGER NOT NULL,
    interrupted_count INTEGER NOT NULL, -- attempts that ended with their worker
    due_at            INTEGER,          -- when it is tried next; none once it is final
    updated_at        INTEGER NOT NULL,
    delivered_at      INTEGER,
    replay_of         BLOB,
    new_webhook_id    INTEGER NOT NULL,
    replay_reason     TEXT,
    lane_key          TEXT,             -- the ordered lane that it stands in
    lane_number       INTEGER,          -- its place there
    cause             TEXT,
    dead_at           INTEGER,
    dlq_state         TEXT,             -- open, replayed, discarded; none unless it is dead
    replayed_by       BLOB,
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;

-- Only what is due has a place here, whatever else is stored.
CREATE INDEX deliveries_due ON deliveries (tenant, endpoint_id, due_at) WHERE due_at IS NOT NULL;

CREATE INDEX deliveries_by_event ON deliveries (tenant, event_id);
CREATE INDEX deliveries_by_endpoint ON deliveries (tenant, endpoint_id);

CREATE INDEX deliveries_dead ON deliveries (tenant, dlq_state) WHERE dlq_state IS NOT NULL;
CREATE INDEX deliveries_dead_by_endpoint ON deliveries (tenant, endpoint_id, dlq_state)
    WHERE dlq_state IS NOT NULL;

CREATE INDEX deliveries_by_original ON deliveries (tenant, replay_of) WHERE replay_of IS NOT NULL;

-- Attempts are never edited.
CREATE TABLE attempts (
    tenant           INTEGER NOT NULL,
    delivery_id      BLOB    NOT NULL,
    id               BLOB    NOT NULL,
    number           INTEGER,          -- none for one whose lease was lost
    started_at       INTEGER NOT NULL,
    latency_us       INTEGER NOT NULL,
    http_status      INTEGER,
    error_class      TEXT,
    error            TEXT,
    remote_address   TEXT,
    response_headers TEXT,             -- JSON
    response_body    BLOB,
    PRIMARY KEY (tenant, delivery_id, id)
) STRICT, WITHOUT ROWID;

-- What was promised for a key, until its window is over. The key stands as it was written, not hashed:
-- keys that callers count up stay beside each other.
CREATE TABLE idempotency_keys (
    tenant        INTEGER NOT NULL,
    scope         TEXT    NOT NULL, -- what was asked with it: publish, replay
    key           TEXT    NOT NULL,
    made_id       BLOB    NOT NULL, -- the event or delivery that it made
    fan_out_count INTEGER NOT NULL,
    fingerprint   BLOB    NOT NULL, -- what a repeat must agree in
    expires_at    INTEGER NOT NULL,
    PRIMARY KEY (tenant, scope, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_keys_by_end ON idempotency_keys (expires_at);

-- Ordered lanes: only the head of one is ever due.
CREATE TABLE lanes (
    tenant      INTEGER NOT NULL,
    endpoint_id BLOB    NOT NULL,
    lane_key    TEXT    NOT NULL,
    last_number INTEGER NOT NULL, -- of the delivery that joined last
    head_id     BLOB,             -- the delivery that is due; none where the lane is empty
    held_at     INTEGER,          -- since when its dead head holds it
    PRIMARY KEY (tenant, endpoint_id, lane_key)
) STRICT, WITHOUT ROWID;

-- Bulk replays.
CREATE TABLE replays (
    tenant          INTEGER NOT NULL,
    id              BLOB    NOT NULL,
    status          TEXT    NOT NULL, -- pending, running, done, cancelled, failed
    request         TEXT    NOT NULL, -- JSON
    position        BLOB,             -- how far it has come
    matched_count   INTEGER NOT NULL,
    queued_count    INTEGER NOT NULL,
    succeeded_count INTEGER NOT NULL,
    failed_count    INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;

-- Keys are kept by their hash alone. One that was revoked stays, so that a store that had one knows it.
CREATE TABLE api_keys (
    hash       BLOB    NOT NULL PRIMARY KEY,
    id         BLOB    NOT NULL,
    tenant     INTEGER,          -- none for one of the instance
    role       TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX api_keys_by_owner ON api_keys (tenant, id);
