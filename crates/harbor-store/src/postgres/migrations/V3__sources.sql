-- Inbound doors, and the last requests that each refused.

CREATE TABLE sources (
    tenant         bigint NOT NULL,
    id             uuid   NOT NULL,
    settings       text   NOT NULL, -- JSON
    secrets        bytea  NOT NULL, -- sealed JSON
    rejected_count bigint NOT NULL, -- raised beside the version
    version        bigint NOT NULL,
    created_at     bigint NOT NULL,
    updated_at     bigint NOT NULL,
    PRIMARY KEY (tenant, id)
);

-- An address names a source alone.
CREATE UNIQUE INDEX sources_by_id ON sources (id);

CREATE TABLE rejections (
    tenant      bigint NOT NULL,
    source_id   uuid   NOT NULL,
    id          uuid   NOT NULL,
    request     text   NOT NULL, -- JSON: what it was, and why it was refused
    signed_text bytea,
    PRIMARY KEY (tenant, source_id, id)
);
