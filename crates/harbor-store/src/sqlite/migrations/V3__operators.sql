-- What operators do with deliveries: ordered lanes, drains, jobs, notices, quotas.

-- Whether anybody of the tenant subscribes to operational events: notices are written for those alone.
ALTER TABLE tenants ADD COLUMN watched INTEGER NOT NULL DEFAULT 0;
CREATE INDEX subscriptions_watching ON subscriptions (tenant)
    WHERE pattern >= 'harborhook.' AND pattern < 'harborhook/'; -- all that begins with the former
UPDATE tenants SET watched = EXISTS (
    SELECT 1 FROM subscriptions
    WHERE tenant = tenants.number AND pattern >= 'harborhook.' AND pattern < 'harborhook/');

ALTER TABLE endpoints ADD COLUMN drain_per_second INTEGER;
ALTER TABLE endpoints ADD COLUMN drain_since INTEGER;      -- when it was resumed; none where nothing drains
ALTER TABLE endpoints ADD COLUMN enabled_at INTEGER;       -- what is open from before dies: it was disabled then

CREATE INDEX endpoints_draining ON endpoints (tenant, id) WHERE drain_since IS NOT NULL;
CREATE INDEX endpoints_enabled ON endpoints (tenant, id) WHERE enabled_at IS NOT NULL;

ALTER TABLE deliveries ADD COLUMN replay_job BLOB;         -- the job that made it

-- The due time of a delivery behind the head of its ordered lane is the end of time (9223372036854775807): it
-- is open, and never due until it is its turn.
CREATE INDEX deliveries_in_lane ON deliveries (tenant, endpoint_id, lane_key, lane_number, due_at)
    WHERE lane_key IS NOT NULL AND due_at IS NOT NULL;

CREATE INDEX deliveries_by_job ON deliveries (tenant, replay_job, status) WHERE replay_job IS NOT NULL;

CREATE INDEX deliveries_dead_counted ON deliveries (tenant, endpoint_id, cause, dead_at) WHERE dlq_state = 'open';

-- An ordered lane has a row while somebody is in it or its dead head holds it.
DROP TABLE lanes;
CREATE TABLE lanes (
    tenant      INTEGER NOT NULL,
    endpoint_id BLOB    NOT NULL,
    lane_key    TEXT    NOT NULL, -- empty for the one lane of an endpoint that orders everything
    id          BLOB    NOT NULL, -- the delivery that opened it: its place in lists
    last_number INTEGER NOT NULL, -- of the delivery that joined last
    head_id     BLOB    NOT NULL, -- the delivery that is due, or that holds the lane dead
    held_at     INTEGER,          -- since when its dead head holds it
    PRIMARY KEY (tenant, endpoint_id, lane_key)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX lanes_by_id ON lanes (tenant, endpoint_id, id);

-- Work on many deliveries, done a little at a time.
DROP TABLE replays;
CREATE TABLE jobs (
    id              BLOB    NOT NULL PRIMARY KEY,
    tenant          INTEGER NOT NULL,
    tenant_id       TEXT    NOT NULL, -- a purge outlives its tenant
    kind            TEXT    NOT NULL, -- replay, cancel, purge
    status          TEXT    NOT NULL, -- pending, running, done, cancelled, failed
    request         TEXT    NOT NULL, -- JSON
    place           BLOB    NOT NULL, -- where it goes on
    version         INTEGER NOT NULL, -- raised by every step
    matched_count   INTEGER NOT NULL,
    queued_count    INTEGER NOT NULL,
    succeeded_count INTEGER NOT NULL,
    failed_count    INTEGER NOT NULL,
    removed         TEXT    NOT NULL, -- JSON; what a purge removed, by kind
    error           TEXT,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX jobs_by_tenant ON jobs (tenant, id);
CREATE INDEX jobs_open ON jobs (id) WHERE status IN ('pending', 'running');
CREATE INDEX jobs_open_of_tenant ON jobs (tenant) WHERE status IN ('pending', 'running');
CREATE INDEX jobs_ended ON jobs (updated_at) WHERE status NOT IN ('pending', 'running');

-- What happened and is to be published as an operational event.
CREATE TABLE notices (
    id        BLOB    NOT NULL PRIMARY KEY,
    tenant    INTEGER NOT NULL,
    kind      TEXT    NOT NULL, -- the type of the event
    subject   TEXT    NOT NULL  -- JSON
) STRICT, WITHOUT ROWID;

CREATE INDEX notices_by_tenant ON notices (tenant);

-- Endpoints from which nothing but failures came for a while.
CREATE TABLE failing_endpoints (
    tenant      INTEGER NOT NULL,
    endpoint_id BLOB    NOT NULL,
    url_version INTEGER NOT NULL, -- the URL that fails
    since       INTEGER NOT NULL, -- its first failure
    PRIMARY KEY (tenant, endpoint_id)
) STRICT, WITHOUT ROWID;

-- What tenants with a quota published of a day. Days are counted from 1970 in UTC.
CREATE TABLE usage_days (
    tenant INTEGER NOT NULL,
    day    INTEGER NOT NULL,
    count  INTEGER NOT NULL,
    PRIMARY KEY (tenant, day)
) STRICT, WITHOUT ROWID;
