-- Inbound doors, and the last requests that each refused.

CREATE TABLE sources (
    tenant         INTEGER NOT NULL,
    id             BLOB    NOT NULL,
    settings       TEXT    NOT NULL, -- JSON
    secrets        BLOB    NOT NULL, -- sealed JSON
    rejected_count INTEGER NOT NULL, -- raised beside the version
    version        INTEGER NOT NULL,
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;

-- An address names a source alone.
CREATE UNIQUE INDEX sources_by_id ON sources (id);

CREATE TABLE rejections (
    tenant      INTEGER NOT NULL,
    source_id   BLOB    NOT NULL,
    id          BLOB    NOT NULL,
    request     TEXT    NOT NULL, -- JSON: what it was, and why it was refused
    signed_text BLOB,
    PRIMARY KEY (tenant, source_id, id)
) STRICT, WITHOUT ROWID;
