use harbor_model::chance::SeededRng;
use harbor_model::id::JobId;
use harbor_model::job::{ReplayTask, Selection};
use harbor_model::port::history::DeliveryFilter;
use harbor_model::time::Timestamp;

use super::*;
use crate::tenants::pending;

const T0: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);

const FRESH: Known = Known { is_walked: false, is_hopeless: false };
const WALKED: Known = Known { is_walked: true, is_hopeless: false };
const HOPELESS: Known = Known { is_walked: false, is_hopeless: true };

/// A place somewhere on the way.
const ON_THE_WAY: &[u8] = b"7";

fn replay(is_dry_run: bool) -> Task {
    Task::Replay(ReplayTask {
        selection: Selection::Filter(DeliveryFilter::default()),
        rate_per_second: None,
        is_dry_run,
        new_webhook_id: false,
        reason: None,
    })
}

fn job(task: Task, status: JobStatus, place: &[u8], counts: [u64; 4]) -> Job {
    let [matched, queued, succeeded, failed] = counts;
    let id = JobId::new(T0, &SeededRng::new(1));
    let counts = JobCounts { matched, queued, succeeded, failed };
    let tenant = "tn_a".parse().unwrap();
    Job { status, counts, place: place.to_vec(), ..pending(id, tenant, task, T0) }
}

#[test]
fn a_replay_is_counted_then_made_then_watched() {
    use JobStatus::{Cancelled, Done, Failed, Pending, Running};
    let check = |status, place: &[u8], counts, known, expected| {
        let job = job(replay(false), status, place, counts);
        assert_eq!(next(&job, known), expected, "{status} {place:?} {counts:?} {known:?}");
    };
    check(Pending, b"", [0, 0, 0, 0], FRESH, Step::Count);
    check(Pending, ON_THE_WAY, [5, 0, 0, 0], FRESH, Step::Count);
    check(Pending, b"", [9, 0, 0, 0], WALKED, Step::Begin);
    check(Pending, b"", [0, 0, 0, 0], WALKED, Step::Begin);
    // After a restart between the last count and the begin: it is not counted twice.
    check(Pending, b"", [9, 0, 0, 0], FRESH, Step::Begin);

    check(Running, b"", [9, 0, 0, 0], FRESH, Step::Replay);
    check(Running, ON_THE_WAY, [9, 4, 0, 1], FRESH, Step::Replay);
    // All that was counted is made, but more may have come to match: only the walk knows.
    check(Running, ON_THE_WAY, [9, 8, 0, 1], FRESH, Step::Replay);
    check(Running, ON_THE_WAY, [9, 8, 0, 1], WALKED, Step::Look);
    check(Running, ON_THE_WAY, [1, 0, 0, 1], WALKED, Step::End);
    check(Running, b"", [0, 0, 0, 0], WALKED, Step::End);
    // After a restart the counts show that the walk has ended, once anything was noted of what came of it.
    check(Running, ON_THE_WAY, [9, 8, 3, 1], FRESH, Step::Look);
    check(Running, ON_THE_WAY, [9, 8, 0, 2], FRESH, Step::Look);

    check(Pending, b"", [0, 0, 0, 0], HOPELESS, Step::GiveUp);
    check(Running, ON_THE_WAY, [9, 4, 0, 1], HOPELESS, Step::GiveUp);
    for ended in [Done, Cancelled, Failed] {
        check(ended, ON_THE_WAY, [9, 4, 0, 1], HOPELESS, Step::Nothing);
    }
}

#[test]
fn a_dry_run_ends_with_the_count() {
    let check = |place: &[u8], matched, known, expected| {
        let job = job(replay(true), JobStatus::Pending, place, [matched, 0, 0, 0]);
        assert_eq!(next(&job, known), expected, "{place:?} {matched} {known:?}");
    };
    check(b"", 0, FRESH, Step::Count);
    check(ON_THE_WAY, 5, FRESH, Step::Count);
    check(b"", 9, WALKED, Step::End);
    check(b"", 9, FRESH, Step::End);
}

#[test]
fn other_jobs_are_walked_to_their_end() {
    for (task, step) in [(Task::Cancel(DeliveryFilter::default()), Step::Cancel), (Task::Purge, Step::Purge)]
    {
        let check = |status, known, expected| {
            let job = job(task.clone(), status, b"", [0; 4]);
            assert_eq!(next(&job, known), expected, "{task:?} {status} {known:?}");
        };
        check(JobStatus::Pending, FRESH, Step::Begin);
        check(JobStatus::Running, FRESH, step);
        check(JobStatus::Running, WALKED, Step::End);
        check(JobStatus::Running, HOPELESS, Step::GiveUp);
        check(JobStatus::Done, WALKED, Step::Nothing);
    }
}

#[test]
fn what_became_of_replays_is_added_to_what_was_refused() {
    let check = |before: [u64; 4], open, delivered, failed, expected: [u64; 4]| {
        let job = job(replay(false), JobStatus::Running, ON_THE_WAY, before);
        let JobCounts { matched, queued, succeeded, failed } =
            counts_after(&job, Outcomes { open, delivered, failed });
        assert_eq!([matched, queued, succeeded, failed], expected, "{before:?} {open} {delivered}");
    };
    check([10, 8, 0, 2], 8, 0, 0, [10, 8, 0, 2]);
    check([10, 8, 0, 2], 3, 4, 1, [10, 8, 4, 3]);
    check([10, 8, 4, 3], 0, 7, 1, [10, 8, 7, 3]);
    // Retention has removed some of them meanwhile.
    check([10, 8, 7, 3], 0, 1, 0, [10, 8, 7, 3]);
}
