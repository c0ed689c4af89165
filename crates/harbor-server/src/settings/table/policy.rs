//! What holds for every tenant that does not say otherwise.

use std::ops::RangeInclusive;
use std::time::Duration;

use harbor_model::policy::written::{
    ATTEMPTS, CONSECUTIVE_FAILURES, FACTOR, IN_FLIGHT, JITTER, P95_MS, PER_DAY, PROBES, RATE, RETENTION_MAX,
    RETENTION_MIN, TIMEOUT_MS,
};

use crate::settings::table::{Key, MINUTE, at, key, long_at};
use crate::settings::value::LongDuration;

/// The bounds of a retention.
const KEPT: RangeInclusive<LongDuration> = LongDuration(RETENTION_MIN)..=LongDuration(RETENTION_MAX);

pub(super) fn policy() -> Vec<Key> {
    vec![
        key(
            "policy.timeout_ms",
            at!(policy.timeout_ms).bounded(TIMEOUT_MS),
            "The milliseconds that one attempt may take. 30000 unless set.",
        ),
        key(
            "policy.max_in_flight",
            at!(policy.max_in_flight).bounded(IN_FLIGHT),
            "The most requests to one endpoint at a time. 32 unless set.",
        ),
        key(
            "policy.ordering",
            at!(policy.ordering),
            "Whether the deliveries to an endpoint go one after the other: none, key (those of one ordering key) or endpoint (all). none unless set.",
        ),
        key(
            "policy.on_dead",
            at!(policy.on_dead),
            "What becomes of those behind an ordered delivery that is dead: skip lets the next one go, hold waits until somebody releases the lane. skip unless set.",
        ),
        key(
            "policy.rate_limit.per_second",
            at!(policy.rate_limit.per_second).bounded(RATE),
            "The most requests per second to one endpoint. No limit unless set.",
        ),
        key(
            "policy.rate_limit.burst",
            at!(policy.rate_limit.burst).bounded(RATE),
            "The requests that may go at once after a quiet time. As many as `per_second` unless set.",
        ),
        key(
            "policy.circuit_breaker.enabled",
            at!(policy.circuit_breaker.enabled),
            "Whether an endpoint that fails is left alone for a while. true unless set.",
        ),
        key(
            "policy.circuit_breaker.consecutive_failures",
            at!(policy.circuit_breaker.consecutive_failures).bounded(CONSECUTIVE_FAILURES),
            "The failures without a success between them that open the breaker. 10 unless set.",
        ),
        key(
            "policy.circuit_breaker.p95_ms",
            at!(policy.circuit_breaker.p95_ms).bounded(P95_MS),
            "The 95th percentile of the latest latencies above which the breaker opens. Never unless set.",
        ),
        key(
            "policy.circuit_breaker.cooldown",
            at!(policy.circuit_breaker.cooldown),
            "How long the breaker stays open the first time; each probe that fails doubles it. 30s unless set.",
        ),
        key(
            "policy.circuit_breaker.cooldown_max",
            at!(policy.circuit_breaker.cooldown_max),
            "The longest that the breaker stays open before a probe. 5m unless set.",
        ),
        key(
            "policy.circuit_breaker.probes",
            at!(policy.circuit_breaker.probes).bounded(PROBES),
            "How many probes must succeed before the breaker closes. 1 unless set.",
        ),
        key(
            "policy.signing.schemes",
            at!(policy.signing.schemes),
            "Which signatures a request carries: standard, harborhook or both. Both unless set.",
        ),
        key(
            "policy.retry.max_attempts",
            at!(policy.retry.max_attempts).bounded(ATTEMPTS),
            "The most attempts, the first among them. 5 unless set.",
        ),
        key(
            "policy.retry.strategy",
            at!(policy.retry.strategy),
            "How waits are reckoned: schedule, exponential, linear, fixed or standard.",
        ),
        key(
            "policy.retry.schedule",
            at!(policy.retry.schedule),
            "The waits in turn; the last one repeats. 1s,5s,10s,30s,1m unless set.",
        ),
        key("policy.retry.base", at!(policy.retry.base), "The first wait, for exponential and linear."),
        key(
            "policy.retry.factor",
            at!(policy.retry.factor).bounded(FACTOR),
            "What each wait is multiplied by for the next, for exponential. 2 unless set.",
        ),
        key(
            "policy.retry.increment",
            at!(policy.retry.increment),
            "What each wait adds to the one before, for linear.",
        ),
        key("policy.retry.delay", at!(policy.retry.delay), "The wait, for fixed."),
        key(
            "policy.retry.jitter",
            at!(policy.retry.jitter).bounded(JITTER),
            "How far a wait strays at random, as a part of it. 0.1 unless set.",
        ),
        key(
            "policy.retry.max_delay",
            at!(policy.retry.max_delay),
            "The longest wait, also of one that an endpoint asks for. 1h unless set, or the longest wait of the strategy.",
        ),
        key(
            "policy.retry.client_errors",
            at!(policy.retry.client_errors),
            "How many retries a client error like 404 is granted, or all. 0 unless set.",
        ),
    ]
}

pub(super) fn quota() -> Vec<Key> {
    vec![
        key(
            "quota.per_second",
            at!(quota.per_second).bounded(RATE),
            "The most events that a tenant may publish per second. No limit unless set.",
        ),
        key(
            "quota.burst",
            at!(quota.burst).bounded(RATE),
            "The events that may come at once after a quiet time. As many as `per_second` unless set.",
        ),
        key(
            "quota.per_day",
            at!(quota.per_day).bounded(PER_DAY),
            "The most events that a tenant may publish in a day of UTC. No limit unless set.",
        ),
    ]
}

pub(super) fn retention() -> Vec<Key> {
    vec![
        key(
            "retention.history",
            long_at!(retention.history).bounded(KEPT),
            "How long events, deliveries and attempts are kept. What is open, and dead letters, stay longer. 30d unless set.",
        ),
        key(
            "retention.dead_letters",
            long_at!(retention.dead_letters).bounded(KEPT),
            "How long a dead letter is kept with its event and attempts, from its death on. 90d unless set.",
        ),
        key(
            "retention.batch_rows",
            at!(upkeep.sweep_rows_max).within(1, 10_000),
            "The most rows that one transaction removes.",
        ),
        key(
            "retention.pause",
            at!(upkeep.sweep_pause).within(Duration::ZERO, MINUTE),
            "The rest after each of them. More rows and shorter rests remove faster, and publishes and deliveries wait longer.",
        ),
    ]
}
