use std::collections::HashSet;
use std::time::Duration;

use harbor_model::delivery::{DeadLetterState, DeliveryStatus};
use harbor_model::id::DeliveryId;
use harbor_model::job::{Job, JobCounts, JobKind, JobStatus};
use harbor_model::port::history::{DeadLetterFilter, DeliveryFilter};
use harbor_recover::jobs::{DeadLetterRange, ReplayJobRequest, StopRefusal};
use harbor_testkit::receivers::Answer;
use harbor_testkit::world::{Shop, WORLD_BEGINS, World};
use tokio_util::sync::CancellationToken;

const SECOND: Duration = Duration::from_secs(1);

const HOUR: Duration = Duration::from_secs(3600);

/// An endpoint with so many dead letters, that has been repaired.
async fn repaired(world: &World, dead: usize) -> Shop {
    let shop = world.endpoint().answers([400]).await;
    for _ in 0..dead {
        world.publish("a").await;
    }
    world.run_until_idle().await;
    world.receivers.script(&shop.path, vec![Answer::Status(200)]);
    world.advance(HOUR).await;
    shop
}

/// All dead letters until now.
fn all(world: &World) -> ReplayJobRequest {
    let range = DeadLetterRange { from: WORLD_BEGINS, to: world.now(), endpoint_id: None };
    ReplayJobRequest { dlq_range: Some(range), ..ReplayJobRequest::default() }
}

async fn start(world: &World, request: ReplayJobRequest) -> Job {
    world.jobs().start_replay(&world.tenant, request).await.unwrap()
}

async fn open_letters(world: &World) -> usize {
    let filter = DeadLetterFilter { state: Some(DeadLetterState::Open), ..DeadLetterFilter::default() };
    world.dead_letters(filter).await.len()
}

fn counts(matched: u64, queued: u64, succeeded: u64, failed: u64) -> JobCounts {
    JobCounts { matched, queued, succeeded, failed }
}

#[tokio::test]
async fn the_dead_letters_of_a_range_are_replayed_at_the_rate_that_was_asked_for() {
    let world = World::new().await;
    let shop = repaired(&world, 30).await;

    let job = start(&world, ReplayJobRequest { rate_per_second: Some(10), ..all(&world) }).await;
    for second in 1..=3 {
        world.work_jobs(SECOND).await;
        let made = world.received(&shop).len() - 30;
        assert!((second * 10 - 2..=second * 10 + 1).contains(&made), "{made} after {second} s");
        let shown = world.job(&job).await.counts;
        assert_eq!((shown.matched, shown.queued), (30, made as u64));
    }
    let ended = world.end_job(&job).await;

    assert_eq!((ended.status, ended.counts), (JobStatus::Done, counts(30, 30, 30, 0)));
    assert_eq!((world.received(&shop).len(), open_letters(&world).await), (60, 0));
}

#[tokio::test]
async fn a_range_holds_those_that_died_within_it() {
    let world = World::new().await;
    let early = repaired(&world, 2).await;
    let from = world.now();
    let shop = repaired(&world, 3).await;
    let other = repaired(&world, 4).await;

    let range = DeadLetterRange { from, to: world.now(), endpoint_id: Some(shop.id) };
    let job = start(&world, ReplayJobRequest { dlq_range: Some(range), ..ReplayJobRequest::default() }).await;
    let ended = world.end_job(&job).await;

    assert_eq!(ended.counts, counts(3, 3, 3, 0));
    let received = [&early, &shop, &other].map(|shop| world.received(shop).len());
    assert_eq!(received[1..], [3 + 4 + 3, 4], "each wants every event; those of the others stay dead");
    assert_eq!(received[0], 2 + 3 + 4);
}

#[tokio::test]
async fn a_range_is_replayed_once_however_often_it_is_asked_for() {
    let world = World::new().await;
    let shop = repaired(&world, 5).await;
    let (first, second) = (start(&world, all(&world)).await, start(&world, all(&world)).await);
    let ended = [world.end_job(&first).await, world.end_job(&second).await];
    let third = start(&world, all(&world)).await;
    let third = world.end_job(&third).await;

    let queued: u64 = ended.iter().map(|job| job.counts.queued).sum();
    assert_eq!((queued, third.counts), (5, counts(0, 0, 0, 0)));
    assert_eq!(world.received(&shop).len(), 10);
}

#[tokio::test]
async fn a_dry_run_counts_and_sends_nothing() {
    let world = World::new().await;
    let shop = repaired(&world, 7).await;

    let job = start(&world, ReplayJobRequest { is_dry_run: true, ..all(&world) }).await;
    let ended = world.end_job(&job).await;
    world.run_until_idle().await;

    assert_eq!((ended.status, ended.counts), (JobStatus::Done, counts(7, 0, 0, 0)));
    assert_eq!((world.received(&shop).len(), open_letters(&world).await), (7, 7));
}

#[tokio::test]
async fn a_job_that_is_stopped_leaves_what_it_made_and_makes_no_more() {
    let world = World::new().await;
    let shop = repaired(&world, 20).await;
    let job = start(&world, ReplayJobRequest { rate_per_second: Some(5), ..all(&world) }).await;
    world.work_jobs(2 * SECOND).await;
    let made = world.received(&shop).len() - 20;
    assert!((8..=11).contains(&made), "{made}");

    let stopped = world.jobs().stop(&world.tenant, &[JobKind::Replay], job.id).await.unwrap();
    world.work_jobs(10 * SECOND).await;
    world.run_until_idle().await;

    assert_eq!(stopped.status, JobStatus::Cancelled);
    assert_eq!(world.received(&shop).len(), 20 + made);
    assert_eq!(world.job(&job).await.status, JobStatus::Cancelled);
    assert_eq!(open_letters(&world).await, 20 - made);
    let again = world.jobs().stop(&world.tenant, &[JobKind::Replay], job.id).await;
    assert!(matches!(again, Err(StopRefusal::Final(JobStatus::Cancelled))), "{again:?}");
}

#[tokio::test]
async fn a_job_goes_on_where_it_was_after_restarts() {
    let world = World::new().await;
    let shop = repaired(&world, 25).await;
    let job = start(&world, ReplayJobRequest { rate_per_second: Some(5), ..all(&world) }).await;

    for _ in 0..4 {
        world.work_jobs(SECOND).await;
        world.restart_jobs().await;
    }
    let ended = world.end_job(&job).await;

    assert_eq!((ended.status, ended.counts), (JobStatus::Done, counts(25, 25, 25, 0)));
    let deliveries = world.deliveries(&shop).await;
    let replayed: HashSet<_> = deliveries.iter().filter_map(|delivery| delivery.replay_of).collect();
    assert_eq!((deliveries.len(), replayed.len()), (50, 25), "each once");
}

#[tokio::test]
async fn two_who_carry_out_the_same_job_make_each_replay_once() {
    let world = World::new().await;
    let shop = repaired(&world, 40).await;
    let job = start(&world, ReplayJobRequest { rate_per_second: Some(100), ..all(&world) }).await;
    let (mut other, never) = (world.another_runner(), CancellationToken::new());

    while !world.job(&job).await.status.is_final() {
        tokio::join!(world.step_jobs(), other.work(&never));
        world.settle().await;
        world.clock.advance(SECOND / 20);
    }

    assert_eq!(world.job(&job).await.counts, counts(40, 40, 40, 0));
    let deliveries = world.deliveries(&shop).await;
    let replayed: HashSet<_> = deliveries.iter().filter_map(|delivery| delivery.replay_of).collect();
    assert_eq!((deliveries.len(), replayed.len()), (80, 40));
}

#[tokio::test]
async fn a_job_is_done_when_every_replay_has_ended() {
    let world = World::new().await;
    let shop = repaired(&world, 3).await;
    let answers = [Answer::Status(200), Answer::Status(500), Answer::Status(400), Answer::Status(200)];
    world.receivers.script(&shop.path, answers.into());
    world
        .change(&shop, |endpoint| {
            endpoint.policy.retry.backoff = Some(harbor_model::policy::retry::Backoff::Fixed(HOUR));
        })
        .await;

    let job = start(&world, all(&world)).await;
    world.work_jobs(HOUR / 2).await;
    let midway = world.job(&job).await;
    assert_eq!(
        (midway.status, midway.counts),
        (JobStatus::Running, counts(3, 3, 1, 1)),
        "one is tried again"
    );
    let ended = world.end_job(&job).await;

    assert_eq!((ended.status, ended.counts), (JobStatus::Done, counts(3, 3, 2, 1)));
    assert!(world.now() >= midway.created_at + HOUR);
}

#[tokio::test]
async fn what_cannot_be_replayed_counts_as_failed() {
    let world = World::new().await;
    let shop = repaired(&world, 3).await;
    let dead = world.deliveries(&shop).await;
    world.interventions().expunge(&world.tenant, dead[0].event_id).await.unwrap();
    let nobody = DeliveryId::new(world.now(), &*world.rng);

    let ids = vec![dead[0].id, dead[1].id, dead[1].id, nobody];
    let request = ReplayJobRequest { delivery_ids: Some(ids), ..ReplayJobRequest::default() };
    let job = start(&world, request).await;
    let ended = world.end_job(&job).await;

    assert_eq!((ended.status, ended.counts), (JobStatus::Done, counts(3, 1, 1, 2)));
    assert_eq!(world.received(&shop).len(), 4);
}

#[tokio::test]
async fn what_was_delivered_is_replayed_by_a_filter() {
    let world = World::new().await;
    let shop = world.endpoint().wants(["a"]).await;
    for event_type in ["a", "a", "b"] {
        world.publish(event_type).await;
    }
    world.advance(SECOND).await;

    let filter = DeliveryFilter {
        endpoint_id: Some(shop.id),
        status: Some(DeliveryStatus::Delivered),
        ..DeliveryFilter::default()
    };
    let request = ReplayJobRequest { filter: Some(filter), ..ReplayJobRequest::default() };
    let job = start(&world, request.clone()).await;
    let ended = world.end_job(&job).await;
    assert_eq!((ended.status, ended.counts), (JobStatus::Done, counts(2, 2, 2, 0)));
    assert_eq!(world.received(&shop).len(), 4);
}

#[tokio::test]
async fn replays_of_an_ordered_endpoint_join_its_lane() {
    let world = World::new().await;
    let shop = world.endpoint().ordered_by_key().answers([400, 400, 200]).await;
    for payload in ["1", "2"] {
        world.publish_in_order("k", payload).await;
        world.advance(SECOND).await;
    }
    world.receivers.script(&shop.path, vec![Answer::Status(500), Answer::Status(200)]);

    let job = start(&world, all(&world)).await;
    world.work_jobs(SECOND / 2).await;
    assert_eq!(world.received(&shop).len(), 3, "one at a time");
    let ended = world.end_job(&job).await;

    assert_eq!(ended.counts, counts(2, 2, 2, 0));
    let bodies = world.bodies(&shop);
    assert_eq!(bodies[2], bodies[3], "the head is tried again before the next one");
}

#[tokio::test]
async fn everything_open_that_matches_is_called_off() {
    let world = World::new().await;
    let (shop, other) = (world.endpoint().await, world.endpoint().await);
    for shop in [&shop, &other] {
        world.change(shop, |endpoint| endpoint.paused = true).await;
    }
    for _ in 0..300 {
        world.publish("a").await;
    }
    world.advance(SECOND).await;
    let filter = DeliveryFilter { endpoint_id: Some(shop.id), ..DeliveryFilter::default() };
    let job = world.jobs().start_cancel(&world.tenant, filter).await.unwrap();
    world.advance(SECOND).await;
    world.publish("later").await;

    let ended = world.end_job(&job).await;
    for shop in [&shop, &other] {
        world.change(shop, |endpoint| endpoint.paused = false).await;
    }
    world.run_until_idle().await;

    assert_eq!((ended.status, ended.counts), (JobStatus::Done, counts(300, 0, 300, 0)));
    assert_eq!(world.received(&shop).len(), 1, "the one that came after the job");
    assert_eq!(world.received(&other).len(), 301);
}

#[tokio::test]
async fn a_lane_goes_on_once_its_head_is_called_off() {
    let world = World::new().await;
    let shop = world.endpoint().ordered_by_key().answers([500, 200]).waits([24 * HOUR]).await;
    for payload in ["1", "2"] {
        world.publish_in_order("k", payload).await;
    }
    world.settle().await;
    world.clock.advance(SECOND);
    let status = Some(DeliveryStatus::Failed);
    let filter = DeliveryFilter { status, ..DeliveryFilter::default() };

    let job = world.jobs().start_cancel(&world.tenant, filter).await.unwrap();
    let ended = world.end_job(&job).await;
    world.settle().await;

    assert_eq!(ended.counts, counts(1, 0, 1, 0));
    assert_eq!(world.bodies(&shop), ["1", "2"]);
}

#[tokio::test]
async fn a_tenant_that_is_deleted_is_purged_and_its_id_is_free() {
    let world = World::new().await;
    let shop = repaired(&world, 2).await;
    world.publish("delivered").await;
    world.settle().await;
    world.receivers.script(&shop.path, vec![Answer::Status(500)]);
    world.publish("open").await;
    world.settle().await;
    let found = world.store.find_tenant(&world.tenant).await.unwrap().unwrap();

    let job = world.delete_tenant(&world.tenant).await;
    assert!(world.store.find_tenant(&world.tenant).await.unwrap().is_none(), "gone at once");
    let requests = world.received(&shop).len();
    let ended = world.end_job(&job).await;

    assert_eq!((ended.status, ended.error.clone()), (JobStatus::Done, None));
    let removed = |kind: &str| ended.removed.get(kind).copied().unwrap_or_default();
    assert_eq!((removed("events"), removed("deliveries"), removed("endpoints")), (4, 4, 1));
    assert_eq!(removed("attempts"), 4);
    world.advance(HOUR).await;
    assert_eq!(world.received(&shop).len(), requests, "nothing is sent any more");
    world.store.create_tenant(found).await.unwrap();
    assert!(world.store.find_endpoint(&world.tenant, shop.id).await.unwrap().is_none());
    assert!(world.deliveries(&shop).await.is_empty());
}

#[tokio::test]
async fn a_job_that_has_ended_is_kept_for_ninety_days() {
    let world = World::new().await;
    repaired(&world, 1).await;
    let job = start(&world, all(&world)).await;
    world.end_job(&job).await;

    world.clock.advance(89 * 24 * HOUR);
    world.upkeep().await;
    assert_eq!(world.job(&job).await.status, JobStatus::Done);
    world.clock.advance(2 * 24 * HOUR);
    world.upkeep().await;

    assert!(world.store.find_job(None, job.id).await.unwrap().is_none());
}
