//! Logs and metrics.

use crate::settings::table::{GIB, KIB, Key, at, bytes_at, key};
use crate::settings::value::ByteSize;

pub(super) fn log() -> Vec<Key> {
    vec![
        key("log.level", at!(log.level), "Which lines are written: a level, or levels by module like info,harbor_deliver=debug. Read anew on SIGHUP.")
            .flag("log-level"),
        key("log.format", at!(log.format), "What a line looks like: json or text.")
            .flag("log-format"),
        key("log.file", at!(log.file), "The file that lines go to; standard error without one. Opened anew on SIGHUP.")
            .flag("log-file"),
        key(
            "log.buffer_bytes_max",
            bytes_at!(log.buffer_bytes_max).within(ByteSize(64 * KIB), ByteSize(GIB)),
            "How much may wait to be written; lines beyond it are dropped and counted.",
        ),
    ]
}

pub(super) fn metrics() -> Vec<Key> {
    vec![
        key(
            "metrics.tenants_max",
            at!(metrics.tenants_max).within(0, 100_000),
            "So many tenants have series of their own; the rest are counted as `other`.",
        ),
        key(
            "metrics.endpoint_labels",
            at!(metrics.endpoint_labels),
            "Whether deliveries and attempts are told apart by endpoint.",
        ),
        key(
            "metrics.endpoints_max",
            at!(metrics.endpoints_max).within(0, 100_000),
            "So many endpoints have series of their own; the rest are counted as `other`.",
        ),
    ]
}
