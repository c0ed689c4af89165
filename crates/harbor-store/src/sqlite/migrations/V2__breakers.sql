-- Circuit breakers that are not closed.

CREATE TABLE breakers (
    tenant      INTEGER NOT NULL,
    endpoint_id BLOB    NOT NULL,
    version     INTEGER NOT NULL, -- raised by every change
    opened_at   INTEGER NOT NULL,
    decided_at  INTEGER NOT NULL,
    probe_at    INTEGER NOT NULL,
    cooldown_ms INTEGER NOT NULL,
    prober      BLOB,             -- the worker that probes: half open; none while it is open
    PRIMARY KEY (tenant, endpoint_id)
) STRICT, WITHOUT ROWID;

-- The last version that any breaker had: one row. A breaker that opens anew goes on from there, so that
-- nobody takes it for the one that was closed.
CREATE TABLE breaker_version (
    last INTEGER NOT NULL
) STRICT;

INSERT INTO breaker_version (last) VALUES (0);
