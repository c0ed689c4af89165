-- Everything that Harborhook keeps. It stands in the schema `harborhook`, which the program makes and
-- which is the only one on its search path.
--
-- Conventions:
--   * Ids are the 16 bytes of a ULID as a uuid, so that their order is the order of time. The time of an
--     event or a delivery is that of its id; it is not stored twice.
--   * `tenant` is tenants.number. It leads every key: nothing is found without it. It is never used again,
--     so that nothing of a purged tenant can show under another one that took its id.
--   * Times are milliseconds since 1970 UTC. What is sealed is encrypted under the tenant's data key.
--   * There are no foreign keys: what refers and what is referred to are written in one transaction,
--     and retention removes them at different times.
--   * Open work stands apart from history: open_deliveries and leases stay small however much was ever
--     delivered. What only grows is partitioned by week, by the ids, and is dropped, not deleted.

-- Facts about the store itself.
CREATE TABLE meta (
    name  text  NOT NULL PRIMARY KEY,
    value bytea NOT NULL
);

CREATE TABLE tenants (
    number            bigint NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id                text   NOT NULL UNIQUE,
    name              text   NOT NULL,
    policy            text   NOT NULL, -- JSON
    version           bigint NOT NULL,
    directory_version bigint NOT NULL, -- raised by every change that publish or delivery must obey
    endpoint_count    bigint NOT NULL, -- not counting deleted ones
    created_at        bigint NOT NULL,
    updated_at        bigint NOT NULL,
    deleted_at        bigint           -- access has ended; the row goes when its purge has
);

-- What seals a tenant's secrets, itself wrapped by the master key.
CREATE TABLE data_keys (
    tenant     bigint NOT NULL,
    version    bigint NOT NULL,
    master_key bytea  NOT NULL, -- names the master key that wraps it
    wrapped    bytea  NOT NULL,
    created_at bigint NOT NULL,
    PRIMARY KEY (tenant, version)
);

CREATE TABLE endpoints (
    tenant      bigint  NOT NULL,
    id          uuid    NOT NULL,
    paused      boolean NOT NULL,
    disabled    text,             -- why, if it is
    deleted_at  bigint,           -- the row outlives its open deliveries
    name        text,
    description text,
    url         text    NOT NULL,
    secrets     bytea,            -- sealed JSON; wiped when deleted
    headers     bytea,            -- sealed JSON; wiped when deleted
    policy      text    NOT NULL, -- JSON
    metadata    text    NOT NULL, -- JSON
    version     bigint  NOT NULL,
    url_version bigint  NOT NULL, -- the version at which the URL last changed
    created_at  bigint  NOT NULL,
    updated_at  bigint  NOT NULL,
    PRIMARY KEY (tenant, id)
);

CREATE TABLE subscriptions (
    tenant      bigint NOT NULL,
    id          uuid   NOT NULL,
    endpoint_id uuid   NOT NULL,
    pattern     text   NOT NULL,
    version     bigint NOT NULL,
    created_at  bigint NOT NULL,
    updated_at  bigint NOT NULL,
    PRIMARY KEY (tenant, id)
);

CREATE UNIQUE INDEX subscriptions_pair ON subscriptions (tenant, endpoint_id, pattern);

-- Keys are kept by their hash alone. One that was revoked stays, so that a store that had one knows it.
CREATE TABLE api_keys (
    hash       bytea  NOT NULL PRIMARY KEY,
    id         uuid   NOT NULL,
    tenant     bigint,          -- none for one of the instance
    role       text   NOT NULL,
    name       text   NOT NULL,
    created_at bigint NOT NULL,
    expires_at bigint,
    revoked_at bigint
);

CREATE UNIQUE INDEX api_keys_by_owner ON api_keys (tenant, id);

-- Partitioned by week.
CREATE TABLE events (
    tenant          bigint  NOT NULL,
    id              uuid    NOT NULL,
    event_type      text    NOT NULL,
    fan_out_count   integer NOT NULL,
    skipped         bytea,            -- ids of endpoints that matched and were disabled
    occurred_at     bigint,
    deliver_at      bigint,
    ordering_key    text,
    idempotency_key text,
    metadata        text,             -- JSON
    source_id       uuid,             -- the inbound door that it came through
    content_type    text,             -- none for JSON that was published
    headers         text,             -- JSON; the original headers of a relayed request
    trace_id        bytea   NOT NULL,
    span_id         bytea   NOT NULL,
    trace_sampled   boolean NOT NULL,
    trace_state     text,
    expunged_at     bigint,
    payload         bytea,            -- byte for byte as published; none once expunged
    PRIMARY KEY (tenant, id)
) PARTITION BY RANGE (id);

-- What is not final. A delivery leaves this table by the transaction that ends it.
CREATE TABLE open_deliveries (
    tenant            bigint   NOT NULL,
    id                uuid     NOT NULL,
    event_id          uuid     NOT NULL,
    endpoint_id       uuid     NOT NULL,
    event_type        text     NOT NULL,
    payload_bytes     bigint   NOT NULL,
    status            text     NOT NULL, -- queued, failed; inflight is a lease
    attempt_count     integer  NOT NULL,
    interrupted_count integer  NOT NULL, -- attempts that ended with their worker
    due_at            bigint,            -- when it is tried next; none behind another one in an ordered lane
    updated_at        bigint   NOT NULL,
    replay_of         uuid,
    new_webhook_id    boolean  NOT NULL,
    replay_reason     text,
    lane_key          text,              -- the ordered lane that it stands in
    lane_number       bigint             -- its place there
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000,
        autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);

CREATE INDEX open_deliveries_due ON open_deliveries (tenant, endpoint_id, due_at, id) WHERE due_at IS NOT NULL;
CREATE INDEX open_deliveries_by_endpoint ON open_deliveries (tenant, endpoint_id, id);
CREATE INDEX open_deliveries_by_event ON open_deliveries (tenant, event_id, id);
CREATE INDEX open_deliveries_by_original ON open_deliveries (tenant, replay_of) WHERE replay_of IS NOT NULL;
-- The last one: where all cost the same, because the server believes the table to be empty, it takes the
-- index that was made last.
ALTER TABLE open_deliveries ADD PRIMARY KEY (tenant, id);

-- Who holds which open delivery. A result counts only while its lease stands here.
-- Its key begins with the tenant, so that what of one tenant is in flight can be listed.
CREATE TABLE leases (
    tenant      bigint  NOT NULL,
    delivery_id uuid    NOT NULL,
    worker      uuid    NOT NULL,
    number      bigint  NOT NULL,
    is_started  boolean NOT NULL, -- an attempt began; noted only where one was interrupted before
    PRIMARY KEY (tenant, delivery_id)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000,
        autovacuum_vacuum_cost_delay = 0);

-- A worker never uses a number again, so that holder and number name a lease without its delivery.
CREATE UNIQUE INDEX leases_by_holder ON leases (worker, number);

-- What is final. Partitioned by week.
CREATE TABLE deliveries_done (
    tenant            bigint  NOT NULL,
    id                uuid    NOT NULL,
    event_id          uuid    NOT NULL,
    endpoint_id       uuid    NOT NULL,
    event_type        text    NOT NULL,
    payload_bytes     bigint  NOT NULL,
    status            text    NOT NULL, -- delivered, dead, cancelled
    attempt_count     integer NOT NULL,
    interrupted_count integer NOT NULL,
    updated_at        bigint  NOT NULL,
    replay_of         uuid,
    new_webhook_id    boolean NOT NULL,
    replay_reason     text,
    lane_key          text,
    lane_number       bigint,
    delivered_at      bigint,
    cause             text,
    dead_at           bigint,
    dlq_state         text,             -- open, replayed, discarded; none unless it is dead
    replayed_by       uuid,
    PRIMARY KEY (tenant, id)
) PARTITION BY RANGE (id);

CREATE INDEX deliveries_done_by_endpoint ON deliveries_done (tenant, endpoint_id, id);
CREATE INDEX deliveries_done_by_event ON deliveries_done (tenant, event_id, id);
CREATE INDEX deliveries_done_by_original ON deliveries_done (tenant, replay_of) WHERE replay_of IS NOT NULL;
CREATE INDEX deliveries_done_dead ON deliveries_done (tenant, dlq_state, id) WHERE dlq_state IS NOT NULL;
CREATE INDEX deliveries_done_dead_by_endpoint ON deliveries_done (tenant, endpoint_id, dlq_state, id)
    WHERE dlq_state IS NOT NULL;

-- Attempts are never edited. Partitioned by the week of their delivery, so that both are found, and
-- leave, together.
CREATE TABLE attempts (
    tenant           bigint   NOT NULL,
    delivery_id      uuid     NOT NULL,
    id               uuid     NOT NULL,
    number           integer,          -- none for one whose lease was lost
    started_at       bigint   NOT NULL,
    latency_us       bigint   NOT NULL,
    http_status      integer,
    error_class      text,
    error            text,
    remote_address   text,
    response_headers text,             -- JSON
    response_body    bytea,
    PRIMARY KEY (tenant, delivery_id, id)
) PARTITION BY RANGE (delivery_id);

-- What was promised for a key, until its window is over. The key stands as it was written, not hashed:
-- keys that callers count up stay beside each other.
CREATE TABLE idempotency_keys (
    tenant        bigint  NOT NULL,
    scope         text    NOT NULL, -- what was asked with it: publish, replay
    key           text    NOT NULL COLLATE "C",
    made_id       uuid    NOT NULL, -- the event or delivery that it made
    fan_out_count integer NOT NULL,
    fingerprint   bytea   NOT NULL, -- what a repeat must agree in
    expires_at    bigint  NOT NULL,
    PRIMARY KEY (tenant, scope, key)
);

CREATE INDEX idempotency_keys_by_end ON idempotency_keys (expires_at);

-- Who is at work. A counter that stands still for long enough is that of a dead worker.
CREATE TABLE workers (
    id          uuid   NOT NULL PRIMARY KEY,
    count       bigint NOT NULL,
    enlisted_at bigint NOT NULL
) WITH (fillfactor = 50);

-- Tasks that one process does at a time.
CREATE TABLE leaders (
    task   text   NOT NULL PRIMARY KEY,
    worker uuid   NOT NULL,
    count  bigint NOT NULL
) WITH (fillfactor = 50);

-- Circuit breakers that are not closed.
CREATE TABLE breakers (
    tenant      bigint NOT NULL,
    endpoint_id uuid   NOT NULL,
    version     bigint NOT NULL,
    opened_at   bigint NOT NULL,
    decided_at  bigint NOT NULL,
    probe_at    bigint NOT NULL,
    cooldown_ms bigint NOT NULL,
    prober      uuid,
    PRIMARY KEY (tenant, endpoint_id)
);

-- Where their versions come from: one that opens anew has none that it had before.
CREATE SEQUENCE breaker_versions;

-- Ordered lanes: only the head of one is ever due.
CREATE TABLE lanes (
    tenant      bigint NOT NULL,
    endpoint_id uuid   NOT NULL,
    lane_key    text   NOT NULL,
    last_number bigint NOT NULL, -- of the delivery that joined last
    head_id     uuid,            -- the delivery that is due; none where the lane is empty
    held_at     bigint,          -- since when its dead head holds it
    PRIMARY KEY (tenant, endpoint_id, lane_key)
);

-- Bulk replays.
CREATE TABLE replays (
    tenant          bigint NOT NULL,
    id              uuid   NOT NULL,
    status          text   NOT NULL, -- pending, running, done, cancelled, failed
    request         text   NOT NULL, -- JSON
    position        uuid,            -- how far it has come
    matched_count   bigint NOT NULL,
    queued_count    bigint NOT NULL,
    succeeded_count bigint NOT NULL,
    failed_count    bigint NOT NULL,
    created_at      bigint NOT NULL,
    updated_at      bigint NOT NULL,
    PRIMARY KEY (tenant, id)
);

-- The first id of an instant.
CREATE FUNCTION ulid_floor(ms bigint) RETURNS uuid LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT (lpad(to_hex(ms), 12, '0') || repeat('0', 20))::uuid
$$;

-- When an id was made, for people.
CREATE FUNCTION ulid_time(id uuid) RETURNS timestamptz LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT to_timestamp((('x' || substr(replace(id::text, '-', ''), 1, 12))::bit(48)::bigint) / 1000.0)
$$;

-- An id as the API writes it, for people.
CREATE FUNCTION ulid_text(prefix text, id uuid) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT prefix || '_' || string_agg(
        substr('0123456789abcdefghjkmnpqrstvwxyz', substring(bits FROM place * 5 + 1 FOR 5)::integer + 1, 1),
        '' ORDER BY place)
    FROM (SELECT B'00' || ('x' || replace(id::text, '-', ''))::bit(128) AS bits) AS padded,
         generate_series(0, 25) AS place
$$;

-- Makes the partitions of the weeks from `from_ms` to `until_ms` that are not there yet. Weeks begin on
-- Monday. A partition is made beside its table and attached, which does not stop anybody who writes.
CREATE FUNCTION make_partitions(from_ms bigint, until_ms bigint) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    week   CONSTANT bigint := 7 * 24 * 60 * 60 * 1000;
    monday CONSTANT bigint := 4 * 24 * 60 * 60 * 1000; -- 1970 began on a Thursday
    start  bigint := (from_ms - monday) / week * week + monday;
    made   integer := 0;
    parent text;
    child  text;
    bound  text;
BEGIN
    WHILE start <= until_ms LOOP
        FOREACH parent IN ARRAY ARRAY['events', 'deliveries_done', 'attempts'] LOOP
            child := parent || '_' || to_char(to_timestamp(start / 1000) AT TIME ZONE 'UTC', 'YYYYMMDD');
            IF to_regclass('harborhook.' || child) IS NULL THEN
                bound := CASE parent WHEN 'attempts' THEN 'delivery_id' ELSE 'id' END;
                EXECUTE format('CREATE TABLE harborhook.%I (LIKE harborhook.%I INCLUDING ALL)', child, parent);
                EXECUTE format(
                    'ALTER TABLE harborhook.%I ATTACH PARTITION harborhook.%I FOR VALUES FROM (%L) TO (%L)',
                    parent, child, harborhook.ulid_floor(start), harborhook.ulid_floor(start + week));
                made := made + 1;
            END IF;
        END LOOP;
        start := start + week;
    END LOOP;
    RETURN made;
END
$$;

-- Deliveries under the plain name, for people.
CREATE VIEW deliveries AS
    SELECT t.id AS tenant_id, harborhook.ulid_text('dlv', d.id) AS id,
           harborhook.ulid_text('evt', d.event_id) AS event_id,
           harborhook.ulid_text('ep', d.endpoint_id) AS endpoint_id, d.event_type,
           CASE WHEN l.delivery_id IS NULL THEN d.status ELSE 'inflight' END AS status, d.attempt_count,
           harborhook.ulid_time(d.id) AS created_at, to_timestamp(d.updated_at / 1000.0) AS updated_at,
           to_timestamp(d.due_at / 1000.0) AS next_attempt_at, NULL::timestamptz AS delivered_at,
           NULL::text AS cause, harborhook.ulid_text('dlv', d.replay_of) AS replay_of
    FROM open_deliveries AS d JOIN tenants AS t ON t.number = d.tenant
         LEFT JOIN leases AS l ON l.tenant = d.tenant AND l.delivery_id = d.id
    UNION ALL
    SELECT t.id, harborhook.ulid_text('dlv', d.id), harborhook.ulid_text('evt', d.event_id),
           harborhook.ulid_text('ep', d.endpoint_id), d.event_type, d.status, d.attempt_count,
           harborhook.ulid_time(d.id), to_timestamp(d.updated_at / 1000.0), NULL,
           to_timestamp(d.delivered_at / 1000.0), d.cause, harborhook.ulid_text('dlv', d.replay_of)
    FROM deliveries_done AS d JOIN tenants AS t ON t.number = d.tenant;

-- Dead letters, for people.
CREATE VIEW dlq AS
    SELECT t.id AS tenant_id, harborhook.ulid_text('dlv', d.id) AS delivery_id,
           harborhook.ulid_text('evt', d.event_id) AS event_id,
           harborhook.ulid_text('ep', d.endpoint_id) AS endpoint_id, d.event_type, d.cause,
           to_timestamp(d.dead_at / 1000.0) AS dead_at, d.dlq_state AS state,
           harborhook.ulid_text('dlv', d.replayed_by) AS replayed_by, d.attempt_count
    FROM deliveries_done AS d JOIN tenants AS t ON t.number = d.tenant
    WHERE d.dlq_state IS NOT NULL;
