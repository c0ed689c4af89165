//! The API, and what is published through it.

use std::time::Duration;

use crate::settings::table::{DAY, KIB, Key, MIB, MINUTE, SECOND, at, bytes_at, key};
use crate::settings::value::ByteSize;

pub(super) fn api() -> Vec<Key> {
    vec![
        key(
            "api.publish_body_bytes_max",
            bytes_at!(api.publish_body_bytes_max).within(ByteSize(KIB), ByteSize(64 * MIB)),
            "The most bytes in the body of a publish.",
        ),
        key(
            "api.batch_body_bytes_max",
            bytes_at!(api.batch_body_bytes_max).within(ByteSize(KIB), ByteSize(256 * MIB)),
            "The most bytes in the body of a batch.",
        ),
        key(
            "api.batch_events_max",
            at!(api.batch_events_max).within(1, 10_000),
            "The most events in a batch.",
        ),
        key(
            "api.ingest_body_bytes_max",
            bytes_at!(api.ingest_body_bytes_max).within(ByteSize(KIB), ByteSize(64 * MIB)),
            "The most bytes in what a provider sends to a source.",
        ),
        key(
            "api.ingest_bodies_bytes_max",
            bytes_at!(api.ingest_bodies_bytes_max).within(ByteSize(MIB), ByteSize(16 * 1024 * MIB)),
            "The most bytes in all that is being taken in from providers at a time. More are refused with 503.",
        ),
        key(
            "api.body_bytes_max",
            bytes_at!(api.body_bytes_max).within(ByteSize(KIB), ByteSize(16 * MIB)),
            "The most bytes in any other body.",
        ),
        key(
            "api.body_timeout",
            at!(api.body_timeout).within(SECOND, 10 * MINUTE),
            "The time in which a body must have arrived.",
        ),
        key(
            "api.request_timeout",
            at!(api.request_timeout).within(SECOND, 10 * MINUTE),
            "The time for any request but a publish, from its head to its answer.",
        ),
        key(
            "api.readiness_timeout",
            at!(api.readiness_timeout).within(Duration::from_millis(10), MINUTE),
            "The time in which the store must say that it is there.",
        ),
        key(
            "api.list_limit_default",
            at!(api.list_limit_default).within(1, 500),
            "The items on a page that names no limit.",
        ),
        key("api.list_limit_max", at!(api.list_limit_max).within(1, 500), "The most items on a page."),
        key(
            "api.endpoints_max",
            at!(api.endpoints_max).within(1, 1_000_000),
            "The most endpoints of one tenant.",
        ),
        key(
            "api.subscriptions_per_endpoint_max",
            at!(api.subscriptions_per_endpoint_max).within(1, 100_000),
            "The most subscriptions of one endpoint.",
        ),
        key(
            "api.sources_max",
            at!(api.sources_max).within(1, 100_000),
            "The most sources of one tenant. All of them are kept in memory with the tenant's endpoints.",
        ),
        key(
            "api.trusted_proxies",
            at!(api.trusted_proxies),
            "Subnets of the proxies before the API, whose X-Forwarded-For says where a request to a source comes from.",
        ),
        key(
            "api.secret_overlap_default",
            at!(api.secret_overlap_default).within(Duration::ZERO, 365 * DAY),
            "How long an old secret signs as well, unless the caller says so.",
        ),
        key(
            "api.secret_overlap_max",
            at!(api.secret_overlap_max).within(Duration::ZERO, 365 * DAY),
            "The longest that an old secret may sign as well.",
        ),
        key("api.secrets_max", at!(api.secrets_max).within(2, 10), "The most secrets that sign at a time."),
    ]
}

pub(super) fn publish() -> Vec<Key> {
    vec![
        key(
            "publish.payload_bytes_max",
            bytes_at!(publish.payload_bytes_max).within(ByteSize(1), ByteSize(16 * MIB)),
            "The most bytes in one payload.",
        ),
        key(
            "publish.fan_out_max",
            at!(publish.fan_out_max).within(1, 100_000),
            "The most deliveries of one event.",
        ),
        key(
            "publish.key_chars_max",
            at!(publish.key_chars_max).within(1, 1024),
            "The most characters in an idempotency key or an ordering key.",
        ),
        key(
            "publish.metadata_pairs_max",
            at!(publish.metadata_pairs_max).within(0, 1000),
            "The most pairs of metadata on one event.",
        ),
        key(
            "publish.metadata_key_bytes_max",
            at!(publish.metadata_key_bytes_max).within(1, 1024),
            "The most bytes in a key of metadata.",
        ),
        key(
            "publish.metadata_value_bytes_max",
            at!(publish.metadata_value_bytes_max).within(1, 65_536),
            "The most bytes in a value of metadata.",
        ),
        key(
            "publish.deliver_ahead_max",
            at!(publish.deliver_ahead_max).within(SECOND, 365 * DAY),
            "How far ahead `deliver_at` may lie.",
        ),
        key(
            "publish.idempotency_window",
            at!(publish.idempotency_window).within(MINUTE, 90 * DAY),
            "How long an idempotency key is remembered.",
        ),
    ]
}
