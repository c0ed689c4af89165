//! The stores.

use std::time::Duration;

use crate::settings::table::{GIB, KIB, Key, MIB, MINUTE, SECOND, at, bytes_at, key};
use crate::settings::value::ByteSize;

pub(super) fn store() -> Vec<Key> {
    vec![
        key(
            "store.database_url",
            at!(store.database_url),
            "Where the store is: `sqlite:` and its file, or a `postgres://` URL. harborhook.db in the data directory unless set.",
        )
        .flag("database-url")
        .short("HARBORHOOK_DATABASE_URL"),
        key(
            "store.readers",
            at!(store.sqlite.readers).within(1, 64),
            "Connections that read for publish and delivery.",
        ),
        key(
            "store.browsers",
            at!(store.sqlite.browsers).within(1, 64),
            "Connections that read what people look at.",
        ),
        key(
            "store.read_time_max",
            at!(store.sqlite.read_time_max).within(Duration::from_millis(10), MINUTE),
            "After how long a read is cut.",
        ),
        key(
            "store.batch_items_max",
            at!(store.sqlite.batch_items_max).within(1, 10_000),
            "The most rows' worth of changes in one transaction.",
        ),
        key(
            "store.batch_bytes_max",
            bytes_at!(store.sqlite.batch_bytes_max).within(ByteSize(KIB), ByteSize(256 * MIB)),
            "The most payload bytes in one transaction.",
        ),
        key(
            "store.batch_time_max",
            at!(store.sqlite.batch_time_max).within(Duration::from_millis(1), SECOND),
            "How long a transaction takes in more changes.",
        ),
        key(
            "store.queue_items_max",
            at!(store.sqlite.queue_items_max).within(1, 1_000_000),
            "The most rows' worth of changes that wait for the writer.",
        ),
        key(
            "store.tenant_queue_items_max",
            at!(store.sqlite.tenant_queue_items_max).within(1, 1_000_000),
            "The most rows' worth of one tenant's events that wait for the writer. Who publishes more gets 429.",
        ),
        key(
            "store.wal_passive_bytes",
            bytes_at!(store.sqlite.wal_passive_bytes).within(ByteSize(64 * KIB), ByteSize(16 * GIB)),
            "Bytes of the write-ahead log at which it is copied beside the writer.",
        ),
        key(
            "store.wal_restart_bytes",
            bytes_at!(store.sqlite.wal_restart_bytes).within(ByteSize(64 * KIB), ByteSize(64 * GIB)),
            "Bytes of the write-ahead log at which the writer waits until the log begins anew.",
        ),
        key(
            "store.writer_cache_bytes",
            bytes_at!(store.sqlite.writer_cache_bytes).within(ByteSize(64 * KIB), ByteSize(64 * GIB)),
            "Bytes of pages that the writer keeps in memory.",
        ),
        key(
            "store.reader_cache_bytes",
            bytes_at!(store.sqlite.reader_cache_bytes).within(ByteSize(64 * KIB), ByteSize(64 * GIB)),
            "Bytes of pages that each reader keeps in memory.",
        ),
        key(
            "store.directory_tenants_max",
            at!(store.sqlite.directory_tenants_max).within(1, 10_000_000),
            "The most tenants whose endpoints and subscriptions are kept in memory.",
        ),
    ]
}

pub(super) fn postgres() -> Vec<Key> {
    vec![
        key(
            "postgres.publishers",
            at!(store.postgres.publishers).within(1, 64),
            "Connections that store what is published.",
        ),
        key(
            "postgres.finishers",
            at!(store.postgres.finishers).within(1, 64),
            "Connections that record what came of attempts.",
        ),
        key(
            "postgres.readers",
            at!(store.postgres.readers).within(1, 64),
            "Connections that read and lease for publish and delivery.",
        ),
        key(
            "postgres.browsers",
            at!(store.postgres.browsers).within(1, 64),
            "Connections for what people look at and set up.",
        ),
        key(
            "postgres.connect_time_max",
            at!(store.postgres.connect_time_max).within(Duration::from_millis(10), MINUTE),
            "How long a connection may take to be made.",
        ),
        key(
            "postgres.statement_time_max",
            at!(store.postgres.statement_time_max).within(Duration::from_millis(10), 10 * MINUTE),
            "After how long a statement is given up.",
        ),
        key(
            "postgres.batch_items_max",
            at!(store.postgres.batch_items_max).within(1, 10_000),
            "The most rows' worth of changes in one statement.",
        ),
        key(
            "postgres.batch_bytes_max",
            bytes_at!(store.postgres.batch_bytes_max).within(ByteSize(KIB), ByteSize(256 * MIB)),
            "The most payload bytes in one statement.",
        ),
        key(
            "postgres.queue_items_max",
            at!(store.postgres.queue_items_max).within(1, 1_000_000),
            "The most rows' worth of events that wait to be stored.",
        ),
        key(
            "postgres.tenant_queue_items_max",
            at!(store.postgres.tenant_queue_items_max).within(1, 1_000_000),
            "The most rows' worth of one tenant's events that wait to be stored.",
        ),
        key(
            "postgres.directory_tenants_max",
            at!(store.postgres.directory_tenants_max).within(1, 10_000_000),
            "The most tenants whose endpoints and subscriptions are kept in memory.",
        ),
    ]
}
