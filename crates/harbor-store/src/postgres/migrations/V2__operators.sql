-- What operators do with deliveries: ordered lanes, drains, jobs, notices, quotas.

-- Whether anybody of the tenant subscribes to operational events: notices are written for those alone.
ALTER TABLE tenants ADD COLUMN watched boolean NOT NULL DEFAULT false;

ALTER TABLE endpoints
    ADD COLUMN drain_per_second integer,
    ADD COLUMN drain_since bigint,         -- when it was resumed; none where nothing drains
    ADD COLUMN enabled_at bigint;          -- what is open from before dies: it was disabled then

ALTER TABLE open_deliveries ADD COLUMN replay_job uuid; -- the job that made it
ALTER TABLE deliveries_done ADD COLUMN replay_job uuid;

-- Lanes are locked in the order of their bytes, and followers are found by the same comparison.
ALTER TABLE open_deliveries ALTER COLUMN lane_key TYPE text COLLATE "C";

CREATE INDEX open_deliveries_in_lane ON open_deliveries (tenant, endpoint_id, lane_key, lane_number)
    WHERE lane_key IS NOT NULL;
CREATE INDEX open_deliveries_by_job ON open_deliveries (tenant, replay_job) WHERE replay_job IS NOT NULL;
CREATE INDEX deliveries_done_by_job ON deliveries_done (tenant, replay_job, status) WHERE replay_job IS NOT NULL;
CREATE INDEX deliveries_done_dead_counted ON deliveries_done (tenant, endpoint_id, cause, dead_at)
    WHERE dlq_state = 'open';

-- An ordered lane has a row while somebody is in it or its dead head holds it.
DROP TABLE lanes;
CREATE TABLE lanes (
    tenant      bigint NOT NULL,
    endpoint_id uuid   NOT NULL,
    lane_key    text   NOT NULL COLLATE "C", -- empty for the one lane of an endpoint that orders everything
    id          uuid   NOT NULL, -- the delivery that opened it: its place in lists
    last_number bigint NOT NULL, -- of the delivery that joined last
    head_id     uuid   NOT NULL, -- the delivery that is due, or that holds the lane dead
    head_number bigint NOT NULL DEFAULT 1, -- its place: nobody who is open has a lower one
    held_at     bigint           -- since when its dead head holds it
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000,
        autovacuum_vacuum_cost_delay = 0);

CREATE UNIQUE INDEX lanes_by_id ON lanes (tenant, endpoint_id, id);
-- The last one, as with open_deliveries.
ALTER TABLE lanes ADD PRIMARY KEY (tenant, endpoint_id, lane_key);

-- Work on many deliveries, done a little at a time.
DROP TABLE replays;
CREATE TABLE jobs (
    id              uuid   NOT NULL PRIMARY KEY,
    tenant          bigint NOT NULL,
    tenant_id       text   NOT NULL, -- a purge outlives its tenant
    kind            text   NOT NULL, -- replay, cancel, purge
    status          text   NOT NULL, -- pending, running, done, cancelled, failed
    request         text   NOT NULL, -- JSON
    place           bytea  NOT NULL, -- where it goes on
    version         bigint NOT NULL, -- raised by every step
    matched_count   bigint NOT NULL,
    queued_count    bigint NOT NULL,
    succeeded_count bigint NOT NULL,
    failed_count    bigint NOT NULL,
    removed         text   NOT NULL, -- JSON; what a purge removed, by kind
    error           text,
    created_at      bigint NOT NULL,
    updated_at      bigint NOT NULL
);

CREATE INDEX jobs_by_tenant ON jobs (tenant, id);
CREATE INDEX jobs_open ON jobs (id) WHERE status IN ('pending', 'running');
CREATE INDEX jobs_ended ON jobs (updated_at) WHERE status NOT IN ('pending', 'running');

-- What happened and is to be published as an operational event.
CREATE TABLE notices (
    id      uuid   NOT NULL PRIMARY KEY,
    tenant  bigint NOT NULL,
    kind    text   NOT NULL, -- the type of the event
    subject text   NOT NULL  -- JSON
);

CREATE INDEX notices_by_tenant ON notices (tenant);

-- Endpoints from which nothing but failures came for a while.
CREATE TABLE failing_endpoints (
    tenant      bigint NOT NULL,
    endpoint_id uuid   NOT NULL,
    url_version bigint NOT NULL, -- the URL that fails
    since       bigint NOT NULL, -- its first failure
    PRIMARY KEY (tenant, endpoint_id)
);

-- What tenants with a quota published of a day. Days are counted from 1970 in UTC.
CREATE TABLE usage_days (
    tenant bigint NOT NULL,
    day    bigint NOT NULL,
    count  bigint NOT NULL,
    PRIMARY KEY (tenant, day)
);

-- The processes that take events, by when the database last heard of them.
CREATE TABLE intake_nodes (
    id       uuid        NOT NULL PRIMARY KEY,
    heard_at timestamptz NOT NULL
);

-- Both few at a time.
CREATE INDEX endpoints_draining ON endpoints (tenant, id) WHERE drain_since IS NOT NULL;
CREATE INDEX endpoints_enabled_again ON endpoints (tenant, id) WHERE enabled_at IS NOT NULL;

-- Weeks past everybody's history that were replaced by what is kept of them, by the name of the table.
CREATE TABLE kept_weeks (
    name    text   NOT NULL PRIMARY KEY,
    kept_at bigint NOT NULL
);

-- What has changed in a week while what is kept of it is copied, by the name of the table. A row changed
-- there is copied anew before the copy takes the week's place.
CREATE TABLE week_changes (
    name   text   NOT NULL,
    tenant bigint NOT NULL,
    id     uuid   NOT NULL  -- of the event or delivery
);

CREATE INDEX week_changes_by_name ON week_changes (name, tenant, id);
CREATE INDEX week_changes_by_tenant ON week_changes (tenant);

-- The trigger of a week that is being replaced. Its argument is the column by which the week is known.
CREATE FUNCTION note_week_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed record;
BEGIN
    IF TG_OP = 'DELETE' THEN
        changed := OLD;
    ELSE
        changed := NEW;
    END IF;
    IF TG_ARGV[0] = 'delivery_id' THEN
        INSERT INTO harborhook.week_changes VALUES (TG_TABLE_NAME, changed.tenant, changed.delivery_id);
    ELSE
        INSERT INTO harborhook.week_changes VALUES (TG_TABLE_NAME, changed.tenant, changed.id);
    END IF;
    RETURN NULL;
END
$$;
