//! What follows later: replays, jobs and clearing up.

use std::time::Duration;

use crate::settings::table::{DAY, HOUR, Key, MINUTE, at, key};

pub(super) fn replay() -> Vec<Key> {
    vec![
        key(
            "replay.reason_chars_max",
            at!(replay.reason_chars_max).within(0, 65_536),
            "The most characters in the reason of a replay.",
        ),
        key(
            "replay.key_chars_max",
            at!(replay.key_chars_max).within(1, 1024),
            "The most characters in the idempotency key of a replay.",
        ),
        key(
            "replay.idempotency_window",
            at!(replay.idempotency_window).within(MINUTE, 90 * DAY),
            "How long the idempotency key of a replay is remembered.",
        ),
    ]
}

pub(super) fn jobs() -> Vec<Key> {
    vec![
        key(
            "jobs.ids_max",
            at!(jobs.ids_max).within(1, 30_000),
            "The most deliveries that a replay names one by one.",
        ),
        key("jobs.open_max", at!(jobs.open_max).within(1, 1_000), "The most open jobs of one tenant."),
        key(
            "jobs.interval",
            at!(job_runner.interval).within(Duration::from_millis(10), HOUR),
            "How often new jobs are looked for.",
        ),
        key(
            "jobs.read_max",
            at!(job_runner.read_max).within(1, 100_000),
            "The most jobs of all tenants that are at work. Younger ones wait until older ones have ended.",
        ),
        key(
            "jobs.at_once_max",
            at!(job_runner.at_once_max).within(1, 64),
            "The most jobs of which a step is made at the same moment.",
        ),
        key(
            "jobs.batch_rows_max",
            at!(job_runner.batch_rows_max).within(1, 10_000),
            "The most deliveries, or rows, that one step of a job changes. One step is one transaction.",
        ),
        key(
            "jobs.count_rows_max",
            at!(job_runner.count_rows_max).within(1, 100_000),
            "The most deliveries that one step of a job looks at to count them.",
        ),
        key(
            "jobs.pause",
            at!(job_runner.pause).within(Duration::ZERO, MINUTE),
            "The rest between two steps of a job.",
        ),
        key(
            "jobs.look_interval",
            at!(job_runner.look_interval).within(Duration::from_millis(10), HOUR),
            "How soon it is looked again what became of a job's replays, while that changes.",
        ),
        key(
            "jobs.look_interval_max",
            at!(job_runner.look_interval_max).within(Duration::from_millis(10), DAY),
            "How soon at the latest, while nothing changes or it costs much to find out.",
        ),
        key(
            "jobs.give_up_after",
            at!(job_runner.give_up_after).within(MINUTE, 365 * DAY),
            "A job whose steps have failed for so long without a break has failed.",
        ),
        key(
            "jobs.kept",
            at!(upkeep.jobs_kept).within(HOUR, 365 * DAY),
            "How long a job is kept after its end.",
        ),
    ]
}

pub(super) fn upkeep() -> Vec<Key> {
    vec![
        key(
            "upkeep.interval",
            at!(upkeep.interval).within(Duration::from_millis(100), HOUR),
            "The wait between rounds of clearing up.",
        ),
        key(
            "upkeep.batch_rows_max",
            at!(upkeep.batch_rows_max).within(1, 10_000),
            "The most rows that one transaction clears up.",
        ),
        key(
            "upkeep.batches_max",
            at!(upkeep.batches_max).within(1, 10_000),
            "The most transactions of one job in one round.",
        ),
        key(
            "upkeep.announced_at_once_max",
            at!(upkeep.announced_at_once_max).within(1, 1_000),
            "The most operational events that are published at the same moment.",
        ),
    ]
}

pub(super) fn leadership() -> Vec<Key> {
    vec![
        key(
            "leadership.confirm_interval",
            at!(leadership.confirm_interval).within(Duration::from_millis(100), HOUR),
            "How often the process that has a task confirms it, and the others look.",
        ),
        key(
            "leadership.fence_after",
            at!(leadership.fence_after).within(Duration::from_millis(200), HOUR),
            "How long after its last confirmation that process does nothing more of the task.",
        ),
        key(
            "leadership.outlived_after",
            at!(leadership.outlived_after).within(Duration::from_millis(300), 2 * HOUR),
            "How long a confirmation stands still when another process takes the task over.",
        ),
    ]
}
