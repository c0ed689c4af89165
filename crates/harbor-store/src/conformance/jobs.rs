//! Work on many deliveries, a step at a time, each made once.

use std::collections::HashSet;

use harbor_model::decide::retry::Next;
use harbor_model::delivery::{Cause, DeadLetterState, DeliveryStatus};
use harbor_model::endpoint::{DisabledReason, Endpoint};
use harbor_model::id::{DeliveryId, JobId, TenantId};
use harbor_model::job::{Job, JobCounts, JobKind, JobStatus, ReplayTask, Selection, Task};
use harbor_model::policy::order::Ordering;
use harbor_model::port::deliveries::Finish;
use harbor_model::port::history::DeliveryFilter;
use harbor_model::port::jobs::{JobCancelled, JobCreated, JobNote, NewJob, Outcomes, Stepped};
use harbor_model::time::Timestamp;

use crate::conformance::world::{ALL, DAY, SECOND, Store, World, done, walk};

/// Asks for a job; at most three may be open.
async fn ask<S: Store>(world: &World<S>, job: NewJob) -> JobCreated {
    world.store.create_job(job, 3).await.unwrap()
}

/// Makes a job, a moment after everything that is there.
async fn created<S: Store>(world: &World<S>, tenant: &TenantId, task: Task) -> Job {
    world.clock.advance(SECOND);
    let job = world.new_job(tenant, task);
    world.clock.advance(SECOND);
    let JobCreated::Done(made) = ask(world, NewJob { job: job.clone(), idempotency: None }).await else {
        panic!("no job was made")
    };
    assert_eq!(made, job);
    made
}

fn replay_task(selection: Selection) -> Task {
    Task::Replay(ReplayTask {
        selection,
        rate_per_second: Some(50),
        is_dry_run: false,
        new_webhook_id: false,
        reason: Some("the receiver lost a day".to_owned()),
    })
}

fn dead_letters(from: Timestamp, to: Timestamp) -> Task {
    replay_task(Selection::DeadLetters { from, to, endpoint_id: None })
}

/// Every dead letter there is.
fn all_dead_letters() -> Task {
    dead_letters(Timestamp::from_unix_ms(0), Timestamp::from_unix_ms(i64::MAX))
}

fn filter(filter: DeliveryFilter) -> Task {
    replay_task(Selection::Filter(filter))
}

fn made(stepped: Stepped) -> (Job, usize, bool) {
    match stepped {
        Stepped::Made { job, count, is_end } => (job, count, is_end),
        Stepped::Stale => panic!("the step was not made"),
    }
}

/// Takes steps until the end.
async fn stepped(job: Job, mut step: impl AsyncFnMut(&Job) -> Stepped) -> Job {
    let mut job = job;
    for _ in 0..1_000 {
        let (next, _, is_end) = made(step(&job).await);
        assert!(next.version > job.version);
        job = next;
        if is_end {
            return job;
        }
    }
    panic!("the steps do not end")
}

async fn counted<S: Store>(world: &World<S>, job: Job) -> Job {
    stepped(job, async |job| world.store.count_matches(job, 3, world.now()).await.unwrap()).await
}

fn new_ids<S: Store>(world: &World<S>, count: usize) -> Vec<DeliveryId> {
    (0..count).map(|_| DeliveryId::new(world.now(), &*world.rng)).collect()
}

async fn replay_batch<S: Store>(world: &World<S>, job: &Job, count: usize) -> Stepped {
    world.store.replay_batch(job, new_ids(world, count), world.now()).await.unwrap()
}

/// Counts and replays, two at a time.
async fn replayed<S: Store>(world: &World<S>, job: Job) -> Job {
    let job = counted(world, job).await;
    stepped(job, async |job| replay_batch(world, job, 2).await).await
}

async fn cancelled<S: Store>(world: &World<S>, job: Job) -> Job {
    stepped(job, async |job| world.store.cancel_batch(job, 2, world.now()).await.unwrap()).await
}

/// What the replays of the tenant repeat, in order; each once for each replay.
async fn repeated<S: Store>(world: &World<S>, tenant: &TenantId) -> Vec<DeliveryId> {
    let found = world.store.deliveries(tenant, DeliveryFilter::default(), ALL).await.unwrap().items;
    let mut ids: Vec<_> = found.iter().filter_map(|delivery| delivery.replay_of).collect();
    ids.sort_unstable();
    ids
}

fn sorted(ids: &[DeliveryId]) -> Vec<DeliveryId> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids
}

fn replay_counts(matched: u64, queued: u64, failed: u64) -> JobCounts {
    JobCounts { matched, queued, succeeded: 0, failed }
}

pub async fn a_job_can_be_read_and_listed<S: Store>(world: &World<S>) {
    let (acme, zebra) = (world.tenant("acme").await, world.tenant("zebra").await);
    let endpoint = world.endpoint(&acme).await;
    let tasks = [
        all_dead_letters(),
        replay_task(Selection::Ids(vec![DeliveryId::from_number(1), DeliveryId::from_number(2)])),
        Task::Cancel(DeliveryFilter {
            endpoint_id: Some(endpoint.id),
            event_type: Some("invoice.paid".parse().unwrap()),
            status: Some(DeliveryStatus::Failed),
            since: Some(world.now()),
            ..DeliveryFilter::default()
        }),
    ];
    let mut jobs = Vec::new();
    for task in tasks {
        jobs.insert(0, created(world, &acme, task).await);
    }
    let of_zebra = created(world, &zebra, all_dead_letters()).await;
    for job in &jobs {
        assert_eq!(world.store.find_job(Some(&acme), job.id).await.unwrap().as_ref(), Some(job));
        assert_eq!(world.store.find_job(None, job.id).await.unwrap().as_ref(), Some(job));
        assert_eq!(world.store.find_job(Some(&zebra), job.id).await.unwrap(), None);
    }
    let unknown = JobId::from_number(1);
    assert_eq!(world.store.find_job(Some(&acme), unknown).await.unwrap(), None);
    assert_eq!(world.store.find_job(None, unknown).await.unwrap(), None);

    let check = async |tenant: Option<&TenantId>, kinds: &[JobKind], expected: &[&Job]| {
        for limit in [1, 10] {
            let list = async |ask| world.store.jobs(tenant, kinds, ask).await.unwrap();
            let (found, _) = walk(limit, list).await;
            assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{tenant:?} {kinds:?}");
        }
    };
    let (replay, cancel) = (JobKind::Replay, JobKind::Cancel);
    check(Some(&acme), &[replay, cancel], &[&jobs[0], &jobs[1], &jobs[2]]).await;
    check(Some(&acme), &[replay], &[&jobs[1], &jobs[2]]).await;
    check(Some(&acme), &[cancel], &[&jobs[0]]).await;
    check(Some(&acme), &[JobKind::Purge], &[]).await;
    check(Some(&zebra), &[replay, cancel], &[&of_zebra]).await;
    check(None, &[replay], &[&of_zebra, &jobs[1], &jobs[2]]).await;
    let open = world.store.open_jobs(3).await.unwrap();
    assert_eq!(open.iter().collect::<Vec<_>>(), [&jobs[2], &jobs[1], &jobs[0]], "oldest first");
}

pub async fn a_tenant_has_few_open_jobs_at_a_time<S: Store>(world: &World<S>) {
    let (acme, zebra) = (world.tenant("acme").await, world.tenant("zebra").await);
    let first = created(world, &acme, all_dead_letters()).await;
    created(world, &acme, all_dead_letters()).await;
    created(world, &acme, Task::Cancel(DeliveryFilter::default())).await;
    let another = || NewJob { job: world.new_job(&acme, all_dead_letters()), idempotency: None };
    assert_eq!(ask(world, another()).await, JobCreated::TooMany);
    created(world, &zebra, all_dead_letters()).await;
    world.store.cancel_job(&acme, first.id, world.now()).await.unwrap();
    assert!(matches!(ask(world, another()).await, JobCreated::Done(_)));
    assert_eq!(ask(world, another()).await, JobCreated::TooMany);

    let nobody = "nobody".parse().unwrap();
    let of_nobody = NewJob { job: world.new_job(&nobody, all_dead_letters()), idempotency: None };
    assert_eq!(ask(world, of_nobody).await, JobCreated::NoTenant);
}

pub async fn the_same_request_again_answers_with_the_first_job<S: Store>(world: &World<S>) {
    let (acme, zebra) = (world.tenant("acme").await, world.tenant("zebra").await);
    world.stored(world.event(&acme, &[]).key("k", 9)).await;
    let request = async |tenant: &TenantId, content: u8| {
        let idempotency = Some(("k".to_owned(), [content; 32], world.now() + DAY));
        ask(world, NewJob { job: world.new_job(tenant, all_dead_letters()), idempotency }).await
    };
    let JobCreated::Done(first) = request(&acme, 1).await else { panic!("no job was made") };
    let moved = counted(world, first.clone()).await;
    assert_eq!(request(&acme, 1).await, JobCreated::Done(moved), "as it stands now");
    assert_eq!(request(&acme, 2).await, JobCreated::KeyReused);
    let JobCreated::Done(of_zebra) = request(&zebra, 2).await else { panic!("no job was made") };
    assert_ne!(of_zebra.id, first.id);
    world.clock.advance(DAY);
    let JobCreated::Done(later) = request(&acme, 2).await else { panic!("no job was made") };
    assert_ne!(later.id, first.id);

    // It is the same request, too, where no other would be taken.
    created(world, &acme, all_dead_letters()).await;
    let other = NewJob { job: world.new_job(&acme, all_dead_letters()), idempotency: None };
    assert_eq!(ask(world, other).await, JobCreated::TooMany);
    assert_eq!(request(&acme, 2).await, JobCreated::Done(later));
}

pub async fn a_stopped_job_takes_no_more_steps<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    for _ in 0..4 {
        world.dead(&endpoint).await;
    }
    let job = created(world, &tenant, all_dead_letters()).await;
    let job = counted(world, job).await;
    let (job, _, is_end) = made(replay_batch(world, &job, 2).await);
    assert!(!is_end);
    let cancel = async || world.store.cancel_job(&tenant, job.id, world.now()).await.unwrap();
    world.clock.advance(SECOND);
    let JobCancelled::Done(stopped) = cancel().await else { panic!("it was not stopped") };
    assert_eq!(
        (stopped.status, stopped.counts, stopped.updated_at),
        (JobStatus::Cancelled, job.counts, world.now())
    );
    assert_eq!(world.store.find_job(Some(&tenant), job.id).await.unwrap(), Some(stopped.clone()));
    assert_eq!(cancel().await, JobCancelled::Final(JobStatus::Cancelled));
    assert_eq!(world.store.open_jobs(10).await.unwrap(), []);

    // Whoever had planned a step learns that it is void.
    assert_eq!(replay_batch(world, &job, 2).await, Stepped::Stale);
    let note = JobNote { status: JobStatus::Done, counts: job.counts, error: None };
    assert_eq!(world.store.note_job(&job, note, world.now()).await.unwrap(), None);
    assert_eq!(repeated(world, &tenant).await.len(), 2, "what it did stays");

    let unknown = world.store.cancel_job(&tenant, JobId::from_number(1), world.now()).await.unwrap();
    assert_eq!(unknown, JobCancelled::Missing);
}

pub async fn how_a_job_stands_is_noted_by_who_saw_it_last<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let job = created(world, &tenant, all_dead_letters()).await;
    world.clock.advance(SECOND);
    let counts = JobCounts { matched: 9, queued: 7, succeeded: 5, failed: 2 };
    let note = JobNote { status: JobStatus::Running, counts, error: None };
    let running = world.store.note_job(&job, note.clone(), world.now()).await.unwrap().unwrap();
    assert_eq!((running.status, running.counts), (JobStatus::Running, counts));
    assert_eq!((running.updated_at, running.error.as_deref()), (world.now(), None));
    assert!(running.version > job.version);
    assert_eq!(world.store.note_job(&job, note, world.now()).await.unwrap(), None);
    assert_eq!(world.store.find_job(None, job.id).await.unwrap(), Some(running.clone()));

    let failed = JobNote { status: JobStatus::Failed, counts, error: Some("it is too old".to_owned()) };
    let failed = world.store.note_job(&running, failed, world.now()).await.unwrap().unwrap();
    assert_eq!((failed.status, failed.error.as_deref()), (JobStatus::Failed, Some("it is too old")));
    assert_eq!(world.store.open_jobs(10).await.unwrap(), []);
    let final_status = world.store.cancel_job(&tenant, job.id, world.now()).await.unwrap();
    assert_eq!(final_status, JobCancelled::Final(JobStatus::Failed));
}

pub async fn ended_jobs_are_forgotten<S: Store>(world: &World<S>) {
    let (acme, zebra) = (world.tenant("acme").await, world.tenant("zebra").await);
    let mut ended = Vec::new();
    for tenant in [&acme, &acme, &zebra] {
        let job = created(world, tenant, all_dead_letters()).await;
        world.store.cancel_job(tenant, job.id, world.now()).await.unwrap();
        ended.push(job.id);
    }
    let open = created(world, &acme, all_dead_letters()).await;
    let before = world.now();
    let late = created(world, &acme, all_dead_letters()).await;
    world.store.cancel_job(&acme, late.id, world.now()).await.unwrap();

    let forget = async |before| world.store.forget_jobs(before, 2).await.unwrap();
    assert_eq!(forget(Timestamp::from_unix_ms(0)).await, 0);
    assert_eq!((forget(before).await, forget(before).await, forget(before).await), (2, 1, 0));
    for id in ended {
        assert_eq!(world.store.find_job(None, id).await.unwrap(), None);
    }
    for id in [open.id, late.id] {
        assert!(world.store.find_job(Some(&acme), id).await.unwrap().is_some());
    }
}

pub async fn matches_are_counted_in_steps<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    for _ in 0..7 {
        world.dead(&endpoint).await;
    }
    world.delivered(&endpoint).await;
    let job = created(world, &tenant, all_dead_letters()).await;
    let (mut job, mut steps, mut matched) = (job, 0, 0);
    loop {
        let (next, count, is_end) = made(world.store.count_matches(&job, 3, world.now()).await.unwrap());
        assert!(count <= 3);
        assert!(next.counts.matched >= matched && next.counts.matched <= matched + 3);
        let stale = world.store.count_matches(&job, 3, world.now()).await.unwrap();
        assert_eq!(stale, Stepped::Stale, "no step is made twice");
        (matched, steps) = (next.counts.matched, steps + 1);
        job = next;
        assert_eq!(job.status, JobStatus::Pending, "its runner says when it runs");
        if is_end {
            break;
        }
        assert!(steps < 100, "the count does not end");
    }
    assert!(steps >= 3, "{steps} steps");
    assert_eq!(job.counts, replay_counts(7, 0, 0));
    assert_eq!(job.place, [0; 0], "the work begins at the beginning");
    assert_eq!(world.store.find_job(None, job.id).await.unwrap(), Some(job));
    assert_eq!(repeated(world, &tenant).await, [], "counting replays nothing");
}

pub async fn dead_letters_of_a_time_are_replayed_each_once<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let (one, other) = (world.endpoint(&tenant).await, world.endpoint(&tenant).await);
    world.dead(&one).await;
    let slow = world.event(&tenant, &[&one]).leased_to(world.worker().await);
    let slow_id = slow.delivery();
    let slow_lease = world.stored(slow).await.remove(0);
    world.clock.advance(SECOND);
    let from = world.now();
    let mut expected = vec![slow_id, world.dead(&one).await, world.dead(&other).await];
    let (discarded, replayed_before) = (world.dead(&one).await, world.dead(&one).await);
    world.store.discard(&tenant, discarded, world.now()).await.unwrap();
    let by_hand = world.replay(&tenant, replayed_before).await;
    world.delivered(&one).await;
    // One was made before the time, and dies within it.
    world.clock.advance(SECOND);
    world.finish(slow_lease, 500, Next::Dead(Cause::AttemptsExhausted)).await;
    for _ in 0..2 {
        expected.push(world.dead(&one).await);
    }
    world.clock.advance(SECOND);
    let to = world.now();
    world.dead(&other).await;

    let job = created(world, &tenant, dead_letters(from, to)).await;
    let mut job = counted(world, job).await;
    assert_eq!(job.counts, replay_counts(5, 0, 0));
    let mut rounds = 0;
    loop {
        let (next, _, is_end) = made(replay_batch(world, &job, 2).await);
        assert!(next.counts.queued <= job.counts.queued + 2, "one for each id");
        job = next;
        if is_end {
            break;
        }
        rounds += 1;
        assert!(rounds < 100, "the replays do not end");
    }
    assert_eq!(job.counts, replay_counts(5, 5, 0));
    let mut repeats = sorted(&expected);
    repeats.push(replayed_before);
    assert_eq!(repeated(world, &tenant).await, sorted(&repeats));
    for id in &expected {
        let dead = world.read(&tenant, *id).await.delivery.dead_letter.unwrap();
        assert_eq!(dead.state, DeadLetterState::Replayed);
        let replay = world.read(&tenant, dead.replayed_by.unwrap()).await.delivery;
        assert_eq!((replay.replay_of, replay.status), (Some(*id), DeliveryStatus::Queued));
        assert_eq!(replay.next_attempt_at, Some(world.now()));
    }

    // The place stays at the end.
    let (job, _, is_end) = made(replay_batch(world, &job, 2).await);
    assert_eq!((job.counts, is_end), (replay_counts(5, 5, 0), true));

    // The same again replays nothing, also when the first replays have ended.
    let again = created(world, &tenant, dead_letters(from, to)).await;
    assert_eq!(replayed(world, again).await.counts, replay_counts(0, 0, 0));
    assert_eq!(world.due(&one).await.len(), 5);
    for lease in world.lease(world.worker().await, &one, 10).await {
        world.finish(lease, 200, Next::Delivered).await;
    }
    let again = created(world, &tenant, dead_letters(from, to)).await;
    assert_eq!(replayed(world, again).await.counts, replay_counts(0, 0, 0));
    assert_eq!(world.read(&tenant, by_hand.id).await.delivery.status, DeliveryStatus::Delivered);
    assert_eq!(repeated(world, &tenant).await.len(), 6);
}

pub async fn dead_letters_of_one_endpoint_and_of_before_the_job_are_replayed<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let (one, other) = (world.endpoint(&tenant).await, world.endpoint(&tenant).await);
    let expected = [world.dead(&one).await, world.dead(&one).await];
    world.dead(&other).await;
    let selection =
        Selection::DeadLetters { from: world.now(), to: world.now() + DAY, endpoint_id: Some(one.id) };
    let job = created(world, &tenant, replay_task(selection)).await;
    // What dies later is not of before the job.
    world.dead(&one).await;
    assert_eq!(replayed(world, job).await.counts, replay_counts(2, 2, 0));
    assert_eq!(repeated(world, &tenant).await, sorted(&expected));
}

pub async fn deliveries_that_match_a_filter_are_replayed_each_once<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let (one, other) = (world.endpoint(&tenant).await, world.endpoint(&tenant).await);
    world.delivered(&one).await;
    world.clock.advance(SECOND);
    let since = world.now();
    let mut expected = vec![world.delivered(&one).await, world.dead(&one).await];
    let called_off = world.owed(&one).await;
    world.store.cancel(&tenant, called_off, world.now()).await.unwrap();
    expected.push(called_off);
    // What is open does not match, nor what was replayed before, whatever became of the replay.
    let open = world.owed(&one).await;
    let lease = world.lease_one(&one).await;
    world.finish(lease, 500, Next::RetryAt(world.now() + DAY * 9)).await;
    let once = world.delivered(&one).await;
    let replay = world.replay(&tenant, once).await;
    let lease = world.lease_one(&one).await;
    assert_eq!(lease.delivery.delivery_id, replay.id);
    world.finish(lease, 200, Next::Delivered).await;
    expected.push(replay.id);
    world.delivered(&other).await;
    world.clock.advance(SECOND);
    let until = world.now();
    world.delivered(&one).await;

    let asked = DeliveryFilter {
        endpoint_id: Some(one.id),
        since: Some(since),
        until: Some(until),
        ..DeliveryFilter::default()
    };
    let job = created(world, &tenant, filter(asked.clone())).await;
    let after = world.delivered(&one).await;
    let job = replayed(world, job).await;
    assert_eq!(job.counts, replay_counts(4, 4, 0));
    let mut repeats = expected;
    repeats.push(once);
    assert_eq!(repeated(world, &tenant).await, sorted(&repeats));
    assert!(!repeats.contains(&open) && !repeats.contains(&after));
    let again = created(world, &tenant, filter(asked)).await;
    assert_eq!(replayed(world, again).await.counts, replay_counts(0, 0, 0));

    let dead = DeliveryFilter {
        status: Some(DeliveryStatus::Dead),
        event_type: Some("invoice.paid".parse().unwrap()),
        ..DeliveryFilter::default()
    };
    world.dead(&other).await;
    let job = created(world, &tenant, filter(dead)).await;
    assert_eq!(replayed(world, job).await.counts, replay_counts(1, 1, 0));
}

pub async fn deliveries_that_are_named_are_replayed<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let (endpoint, disabled) = (world.endpoint(&tenant).await, world.endpoint(&tenant).await);
    let (delivered, dead) = (world.delivered(&endpoint).await, world.dead(&endpoint).await);
    let open = world.owed(&endpoint).await;
    let under_way = world.dead(&endpoint).await;
    world.replay(&tenant, under_way).await;
    let expired = world.event(&tenant, &[&endpoint]).leased_to(world.worker().await);
    let (event, expired_id) = (expired.id(), expired.delivery());
    let lease = world.stored(expired).await.remove(0);
    world.finish(lease, 200, Next::Delivered).await;
    assert!(world.store.expunge(&tenant, event, world.now()).await.unwrap());
    let of_disabled = world.dead(&disabled).await;
    world.change(&disabled, |now| now.disabled = Some(DisabledReason::Manual)).await;
    let unknown = DeliveryId::from_number(1);
    let refused = [open, unknown, under_way, expired_id, of_disabled];

    let ids = [open, delivered, unknown, under_way, dead, expired_id, of_disabled].to_vec();
    let job = created(world, &tenant, replay_task(Selection::Ids(ids))).await;
    let job = replayed(world, job).await;
    assert_eq!(job.counts, replay_counts(7, 2, 5));
    assert_eq!(repeated(world, &tenant).await, sorted(&[delivered, dead, under_way]));
    for id in refused {
        if id != unknown {
            let found = world.read(&tenant, id).await.delivery;
            assert!(
                found
                    .dead_letter
                    .is_none_or(|dead| dead.state != DeadLetterState::Replayed || id == under_way)
            );
        }
    }
}

pub async fn what_cannot_be_replayed_counts_as_failed<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let (kept, deleted) = (world.endpoint(&tenant).await, world.endpoint(&tenant).await);
    let replayable = world.dead(&kept).await;
    world.dead(&deleted).await;
    world.dead(&deleted).await;
    let expired = world.event(&tenant, &[&kept]);
    let event = expired.id();
    world.stored(expired).await;
    assert!(world.store.expunge(&tenant, event, world.now()).await.unwrap());
    done(world.store.delete_endpoint(&tenant, deleted.id, None, world.now()).await.unwrap());

    let job = created(world, &tenant, all_dead_letters()).await;
    let job = replayed(world, job).await;
    assert_eq!(job.counts, replay_counts(4, 1, 3));
    assert_eq!(repeated(world, &tenant).await, [replayable]);
}

pub async fn a_dry_run_counts_what_a_replay_would_find<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    for _ in 0..5 {
        world.dead(&endpoint).await;
    }
    world.delivered(&endpoint).await;
    for (selection, expected) in [
        (Selection::DeadLetters { from: world.now(), to: world.now() + SECOND, endpoint_id: None }, 5),
        (Selection::DeadLetters { from: world.now() + SECOND, to: world.now() + DAY, endpoint_id: None }, 0),
        (Selection::Filter(DeliveryFilter::default()), 6),
    ] {
        let task = Task::Replay(ReplayTask {
            selection,
            rate_per_second: None,
            is_dry_run: true,
            new_webhook_id: true,
            reason: None,
        });
        let job = created(world, &tenant, task.clone()).await;
        let job = counted(world, job).await;
        assert_eq!((job.counts.matched, job.task.clone()), (expected, task));
        world.store.cancel_job(&tenant, job.id, world.now()).await.unwrap();
    }
    assert_eq!(repeated(world, &tenant).await, []);
}

pub async fn a_step_is_made_once_however_many_plan_it<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let mut expected = Vec::new();
    for _ in 0..11 {
        expected.push(world.dead(&endpoint).await);
    }
    let job = created(world, &tenant, all_dead_letters()).await;
    let mut job = counted(world, job).await;
    for _ in 0..100 {
        let (a, b, c) = tokio::join!(
            replay_batch(world, &job, 2),
            replay_batch(world, &job, 3),
            replay_batch(world, &job, 2)
        );
        let mut steps: Vec<_> = [a, b, c].into_iter().filter(|step| *step != Stepped::Stale).collect();
        assert_eq!(steps.len(), 1, "{steps:?}");
        let (next, _, is_end) = made(steps.remove(0));
        assert_eq!(replay_batch(world, &job, 2).await, Stepped::Stale);
        job = next;
        if is_end {
            break;
        }
    }
    assert_eq!(job.counts, replay_counts(11, 11, 0));
    assert_eq!(repeated(world, &tenant).await, sorted(&expected));
}

pub async fn a_job_goes_on_after_a_restart<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let mut expected = Vec::new();
    for _ in 0..9 {
        expected.push(world.dead(&endpoint).await);
    }
    let job = created(world, &tenant, all_dead_letters()).await;
    let (counting, _, is_end) = made(world.store.count_matches(&job, 4, world.now()).await.unwrap());
    assert!(!is_end);

    let again = world.restarted().await;
    let world = again.as_ref().unwrap_or(world);
    assert_eq!(world.store.open_jobs(10).await.unwrap(), std::slice::from_ref(&counting));
    let job = counted(world, counting).await;
    assert_eq!(job.counts.matched, 9);
    let (planned, _, is_end) = made(replay_batch(world, &job, 4).await);
    assert!(!is_end);

    let again = world.restarted().await;
    let world = again.as_ref().unwrap_or(world);
    assert_eq!(replay_batch(world, &job, 4).await, Stepped::Stale, "its answer was lost, not the step");
    let found = world.store.find_job(Some(&tenant), job.id).await.unwrap().unwrap();
    assert_eq!(found, planned);
    let job = stepped(found, async |job| replay_batch(world, job, 4).await).await;
    assert_eq!(job.counts, replay_counts(9, 9, 0));
    assert_eq!(repeated(world, &tenant).await, sorted(&expected));
}

pub async fn what_became_of_replays_is_told<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    for _ in 0..5 {
        world.dead(&endpoint).await;
    }
    let by_hand = world.dead(&endpoint).await;
    world.replay(&tenant, by_hand).await;
    let lease = world.lease_one(&endpoint).await;
    world.finish(lease, 200, Next::Delivered).await;

    let task = Task::Replay(ReplayTask {
        selection: Selection::DeadLetters { from: world.now(), to: world.now() + DAY, endpoint_id: None },
        rate_per_second: None,
        is_dry_run: false,
        new_webhook_id: true,
        reason: None,
    });
    let job = created(world, &tenant, task).await;
    let outcomes = async |job: &Job| world.store.outcomes(job).await.unwrap();
    assert_eq!(outcomes(&job).await, Outcomes::default());
    let job = replayed(world, job).await;
    assert_eq!(outcomes(&job).await, Outcomes { open: 5, delivered: 0, failed: 0 });

    let mut leases = world.lease(world.worker().await, &endpoint, 4).await;
    assert!(leases.iter().all(|lease| lease.delivery.new_webhook_id && lease.delivery.replay_of.is_some()));
    let called_off = leases[0].delivery.delivery_id;
    for next in [Next::RetryAt(world.now() + DAY), Next::Dead(Cause::ClientError), Next::Delivered] {
        world.finish(leases.pop().unwrap(), 200, next).await;
    }
    assert_eq!(outcomes(&job).await, Outcomes { open: 3, delivered: 1, failed: 1 });
    world.store.cancel(&tenant, called_off, world.now()).await.unwrap();
    assert_eq!(outcomes(&job).await, Outcomes { open: 2, delivered: 1, failed: 2 });
    drop(leases);
    world.clock.advance(DAY);
    for lease in world.lease(world.worker().await, &endpoint, 10).await {
        world.finish(lease, 200, Next::Delivered).await;
    }
    assert_eq!(outcomes(&job).await, Outcomes { open: 0, delivered: 3, failed: 2 });
}

pub async fn replays_of_a_job_join_their_lanes<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let mut endpoint: Endpoint = world.new_endpoint(&tenant);
    endpoint.policy.ordering = Some(Ordering::Key);
    let endpoint = done(world.store.create_endpoint(endpoint, Vec::new(), 100).await.unwrap());
    let mut expected = HashSet::new();
    for round in 0..8 {
        expected.insert(world.owed_in(&endpoint, if round % 2 == 0 { "a" } else { "b" }).await);
    }
    while let Some(lease) = world.lease(world.worker().await, &endpoint, 1).await.pop() {
        world.finish(lease, 500, Next::Dead(Cause::AttemptsExhausted)).await;
    }
    let waiting = world.owed_in(&endpoint, "a").await;
    let job = created(world, &tenant, all_dead_letters()).await;
    let job = replayed(world, job).await;
    assert_eq!(job.counts, replay_counts(8, 8, 0));

    let due = world.due(&endpoint).await;
    assert_eq!(due.len(), 2, "the heads of two lanes");
    assert!(due.contains(&waiting), "replays come after what waited");
    let mut delivered = HashSet::new();
    for _ in 0..9 {
        for lease in world.lease(world.worker().await, &endpoint, 10).await {
            delivered.extend(lease.delivery.replay_of);
            let finish = world.finish(lease, 200, Next::Delivered).await;
            assert!(matches!(finish, Finish::Recorded { .. }));
        }
    }
    assert_eq!(delivered, expected);
    assert_eq!(world.store.outcomes(&job).await.unwrap(), Outcomes { open: 0, delivered: 8, failed: 0 });
}

pub async fn open_deliveries_that_match_are_cancelled<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let (one, other) = (world.endpoint(&tenant).await, world.endpoint(&tenant).await);
    world.delivered(&one).await;
    let dead = world.dead(&one).await;
    let of_other = world.owed(&other).await;
    let mut expected = Vec::new();
    for _ in 0..3 {
        expected.push(world.owed(&one).await);
    }
    let held = world.lease(world.worker().await, &one, 1).await.remove(0);
    let lease = world.lease(world.worker().await, &one, 1).await.remove(0);
    world.finish(lease, 500, Next::RetryAt(world.now() + DAY)).await;
    let scheduled = world.event(&tenant, &[&one]).due_at(world.now() + DAY * 9);
    expected.push(scheduled.delivery());
    world.stored(scheduled).await;

    let task = Task::Cancel(DeliveryFilter { endpoint_id: Some(one.id), ..DeliveryFilter::default() });
    let job = created(world, &tenant, task).await;
    let after = world.owed(&one).await;
    let job = cancelled(world, job).await;
    assert_eq!(job.counts, JobCounts { matched: 4, queued: 0, succeeded: 4, failed: 0 });
    for id in expected {
        let found = world.read(&tenant, id).await.delivery;
        assert_eq!((found.status, found.updated_at), (DeliveryStatus::Cancelled, world.now()));
    }
    assert_eq!(world.finish(held, 200, Next::Delivered).await, Finish::Superseded);
    assert_eq!(world.due(&one).await, [after], "what came after the job stays");
    assert_eq!(world.due(&other).await, [of_other]);
    assert_eq!(world.shown(&tenant, dead).await, "dead [500]");
}

pub async fn what_is_cancelled_is_chosen_by_every_part_of_the_filter<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let early = world.owed(&endpoint).await;
    let lease = world.lease_one(&endpoint).await;
    world.finish(lease, 500, Next::RetryAt(world.now() + DAY)).await;
    world.clock.advance(SECOND);
    let middle = world.now();
    let made = world.event(&tenant, &[&endpoint]).of_type("order.made");
    let (event, of_event) = (made.id(), made.delivery());
    world.stored(made).await;
    world.clock.advance(SECOND);
    let late = world.now();
    let last = world.owed(&endpoint).await;

    let check = async |filter: DeliveryFilter, expected: &[DeliveryId]| {
        // What is left of the four is cancelled at the end only, so each finds what others left.
        let job = created(world, &tenant, Task::Cancel(filter.clone())).await;
        let job = cancelled(world, job).await;
        let count = u64::try_from(expected.len()).unwrap();
        assert_eq!((job.counts.matched, job.counts.succeeded), (count, count), "{filter:?}");
        for id in expected {
            assert!(world.shown(&tenant, *id).await.starts_with("cancelled"), "{filter:?}");
        }
        world.store.cancel_job(&tenant, job.id, world.now()).await.unwrap();
    };
    let any = DeliveryFilter::default;
    check(DeliveryFilter { status: Some(DeliveryStatus::Delivered), ..any() }, &[]).await;
    check(DeliveryFilter { status: Some(DeliveryStatus::Failed), ..any() }, &[early]).await;
    check(DeliveryFilter { event_type: Some("order.paid".parse().unwrap()), ..any() }, &[]).await;
    check(DeliveryFilter { since: Some(middle), until: Some(middle), ..any() }, &[]).await;
    let of_type = Some("order.made".parse().unwrap());
    let within = DeliveryFilter { event_type: of_type, since: Some(middle), until: Some(late), ..any() };
    check(DeliveryFilter { status: Some(DeliveryStatus::Queued), ..within }, &[of_event]).await;
    check(DeliveryFilter { event_id: Some(event), ..any() }, &[]).await;
    check(any(), &[last]).await;
}

pub async fn whole_lanes_are_cancelled_in_steps<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    for lane in ["a", "b"] {
        for _ in 0..5 {
            world.owed_in(&endpoint, lane).await;
        }
    }
    let held = world.lease(world.worker().await, &endpoint, 1).await;
    let job = created(world, &tenant, Task::Cancel(DeliveryFilter::default())).await;
    let after = world.owed_in(&endpoint, "a").await;
    let job = cancelled(world, job).await;
    assert_eq!(job.counts, JobCounts { matched: 10, queued: 0, succeeded: 10, failed: 0 });
    assert_eq!(world.due(&endpoint).await, [after]);
    let lanes = world.store.lanes(&tenant, endpoint.id, ALL).await.unwrap().items;
    assert_eq!(lanes.len(), 1);
    assert_eq!((lanes[0].key.as_str(), lanes[0].waiting_count), ("a", 0));
    drop(held);
    assert_eq!(world.due(&endpoint).await, [after]);
}
