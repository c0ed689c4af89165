//! Delivering.

use std::time::Duration;

use crate::settings::table::{DAY, GIB, HOUR, KIB, Key, MIB, MINUTE, SECOND, at, bytes_at, key};
use crate::settings::value::ByteSize;

pub(super) fn worker() -> Vec<Key> {
    vec![
        key(
            "worker.slots_max",
            at!(worker.lanes.slots_max).within(1, 100_000),
            "The most requests to all endpoints at a time.",
        ),
        key(
            "worker.lane_items_max",
            at!(worker.lanes.lane_items_max).within(1, 100_000),
            "The most deliveries held in memory for one endpoint. The rest wait in the store.",
        ),
        key(
            "worker.items_max",
            at!(worker.lanes.items_max).within(1, 10_000_000),
            "The most deliveries held in memory for all endpoints.",
        ),
        key(
            "worker.bytes_max",
            bytes_at!(worker.lanes.bytes_max).within(ByteSize(MIB), ByteSize(64 * GIB)),
            "The most payload bytes held in memory.",
        ),
        key(
            "worker.tenant_bytes_max",
            bytes_at!(worker.lanes.tenant_bytes_max).within(ByteSize(MIB), ByteSize(64 * GIB)),
            "The most payload bytes held in memory for one tenant.",
        ),
        key(
            "worker.tenant_items_max",
            at!(worker.lanes.tenant_items_max).within(1, 10_000_000),
            "The most deliveries held in memory for one tenant.",
        ),
        key(
            "worker.endpoints_max",
            at!(worker.lanes.endpoints_max).within(1, 10_000_000),
            "The most endpoints noted that wait for room in memory. The walk finds the others.",
        ),
        key(
            "worker.refill_interval",
            at!(worker.refill_interval).within(Duration::from_millis(10), MINUTE),
            "How often the store is asked for due deliveries that nobody announced.",
        ),
        key(
            "worker.nudge_interval",
            at!(worker.nudge_interval).within(Duration::from_millis(1), MINUTE),
            "How soon after the store was asked a hint may have it asked again.",
        ),
        key(
            "worker.refill_endpoints",
            at!(worker.refill_endpoints).within(1, 100_000),
            "How many endpoints one step of that walk names.",
        ),
        key(
            "worker.trouble_pause",
            at!(worker.trouble_pause).within(Duration::from_millis(100), 10 * MINUTE),
            "How long nothing new is taken up after a result could not be recorded.",
        ),
        key(
            "worker.wakeups_max",
            at!(worker.wakeups_max).within(1, 10_000_000),
            "The most retries whose time is kept in memory. The walk finds the others.",
        ),
        key(
            "worker.beat_interval",
            at!(worker.beat_interval).within(Duration::from_millis(100), HOUR),
            "How often a worker tells the others that it lives.",
        ),
        key(
            "worker.fence_after",
            at!(worker.fence_after).within(Duration::from_millis(200), HOUR),
            "How long after its last confirmed beat a worker begins no more requests.",
        ),
        key(
            "worker.death_after",
            at!(worker.death_after).within(Duration::from_millis(300), 2 * HOUR),
            "How long after its last beat a worker is dead to the others, which take over its deliveries.",
        ),
        key(
            "worker.reconcile_interval",
            at!(worker.reconcile_interval).within(SECOND, DAY),
            "How often what the store believes a worker to hold is compared with what it holds.",
        ),
        key(
            "worker.failing_disable_after",
            at!(worker.failing_disable_after).within(Duration::ZERO, 365 * DAY),
            "How long an endpoint has done nothing but fail when it is disabled. 0s for never, else at least 1h.",
        ),
        key(
            "worker.idle_per_host_max",
            at!(send.idle_per_host_max).within(0, 100_000),
            "The most idle connections kept to one host.",
        ),
        key(
            "worker.idle_total_max",
            at!(send.idle_total_max).within(0, 1_000_000),
            "The most idle connections kept in all. Each holds a file descriptor.",
        ),
        key(
            "worker.idle_timeout",
            at!(send.idle_timeout).within(SECOND, HOUR),
            "How long an idle connection to an endpoint is kept.",
        ),
        key(
            "worker.connection_age_max",
            at!(send.connection_age_max).within(SECOND, DAY),
            "How long a connection to an endpoint is used, so that endpoints that move are followed.",
        ),
        key(
            "worker.addresses_max",
            at!(send.addresses_max).within(1, 64),
            "How many addresses of one host are tried.",
        ),
        key(
            "worker.address_patience",
            at!(send.address_patience).within(Duration::from_millis(50), MINUTE),
            "How long one address is tried while another is left.",
        ),
        key(
            "worker.response_head_bytes_max",
            bytes_at!(send.response_head_bytes_max).within(ByteSize(8 * KIB), ByteSize(16 * MIB)),
            "The most bytes in the head of an endpoint's answer.",
        ),
        key(
            "worker.response_body_bytes_max",
            bytes_at!(send.response_body_bytes_max).within(ByteSize(16 * KIB), ByteSize(16 * MIB)),
            "The most bytes that are read of an endpoint's answer.",
        ),
        key(
            "worker.body_grace",
            at!(send.body_grace).within(Duration::ZERO, MINUTE),
            "How long the body of an answer is waited for after its head.",
        ),
        key(
            "worker.tls_sessions_max",
            at!(send.tls_sessions_max).within(0, 1_000_000),
            "How many TLS sessions are remembered for resumption.",
        ),
    ]
}
