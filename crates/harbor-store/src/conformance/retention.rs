//! What is kept of what happened, and for how long.

use std::time::Duration;

use harbor_model::decide::retry::Next;
use harbor_model::delivery::{Cause, DeadLetterState};
use harbor_model::endpoint::Endpoint;
use harbor_model::id::{DeliveryId, EventId, TenantId};
use harbor_model::job::{ReplayTask, Selection, Task};
use harbor_model::lane::{LaneKey, Release, Released};
use harbor_model::policy::order::OnDead;
use harbor_model::policy::retention::RetentionLayer;
use harbor_model::port::deliveries::AttemptResult;
use harbor_model::port::history::{DeliveryFilter, EventFilter};
use harbor_model::port::jobs::{JobCreated, NewJob, Stepped};
use harbor_model::tenant::{Tenant, TenantPolicy};
use harbor_model::time::Timestamp;

use crate::conformance::world::{ALL, DAY, RECORDED, SECOND, Store, World, done};

/// How long history is kept here, and dead letters.
const HISTORY: Duration = DAY.saturating_mul(30);
const DEAD_LETTERS: Duration = DAY.saturating_mul(90);

/// A store may clear away whole weeks alone: what is older than its time by this much is gone for sure.
const SLACK: Duration = DAY.saturating_mul(8);

/// Sweeps until nothing more can be removed; answers how many rows were, of those that are counted.
async fn swept<S: Store>(world: &World<S>) -> usize {
    let mut count = 0;
    // A store need not walk over everything at each call, nor more often than every few minutes.
    for round in 0..60 {
        world.store.maintain(world.now()).await.unwrap();
        count += world.store.sweep(world.now(), 50).await.unwrap();
        if round % 6 == 5 {
            world.clock.advance(SECOND * 300);
        }
    }
    count
}

/// Lets this time pass since `since`, and sweeps.
async fn sweep_at<S: Store>(world: &World<S>, since: Timestamp, age: Duration) {
    let passed = world.now().since(since);
    assert!(passed < age, "time goes forward");
    world.clock.advance(age - passed);
    swept(world).await;
}

async fn has_event<S: Store>(world: &World<S>, tenant: &TenantId, id: EventId) -> bool {
    let found = world.store.find_event(tenant, id).await.unwrap().is_some();
    let loaded = world.store.load_events(vec![(tenant.clone(), id)]).await.unwrap().remove(0).is_some();
    assert_eq!(found, loaded);
    found
}

async fn has<S: Store>(world: &World<S>, tenant: &TenantId, id: DeliveryId) -> bool {
    world.store.find_delivery(tenant, id).await.unwrap().is_some()
}

/// A delivery and the event that it owes.
async fn event_of<S: Store>(world: &World<S>, tenant: &TenantId, id: DeliveryId) -> EventId {
    world.read(tenant, id).await.delivery.event_id
}

/// How many events and deliveries lists show.
async fn listed<S: Store>(world: &World<S>, tenant: &TenantId) -> (usize, usize) {
    let events = world.store.events(tenant, EventFilter::default(), ALL).await.unwrap().items;
    let deliveries = world.store.deliveries(tenant, DeliveryFilter::default(), ALL).await.unwrap().items;
    (events.len(), deliveries.len())
}

pub async fn what_is_over_is_gone_with_all_that_belongs_to_it<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let began = world.now();
    let delivered = world.delivered(&endpoint).await;
    let retried = world.owed(&endpoint).await;
    for _ in 0..3 {
        let lease = world.lease_one(&endpoint).await;
        world.finish(lease, 500, Next::RetryAt(world.now())).await;
        world.clock.advance(SECOND);
    }
    let lease = world.lease_one(&endpoint).await;
    world.finish(lease, 200, Next::Delivered).await;
    let called_off = world.owed(&endpoint).await;
    world.store.cancel(&tenant, called_off, world.now()).await.unwrap();
    let lone = world.event(&tenant, &[]).key("k", 1);
    let lone_id = lone.id();
    world.stored(lone).await;
    let ids = [delivered, retried, called_off];
    let events = [
        event_of(world, &tenant, delivered).await,
        event_of(world, &tenant, retried).await,
        event_of(world, &tenant, called_off).await,
        lone_id,
    ];

    sweep_at(world, began, HISTORY - DAY).await;
    for id in ids {
        assert!(has(world, &tenant, id).await, "it is not its time");
    }
    assert_eq!(world.shown(&tenant, retried).await, "delivered [500, 500, 500, 200]");
    assert_eq!(listed(world, &tenant).await, (4, 3));

    sweep_at(world, began, HISTORY + SLACK).await;
    for id in ids {
        assert!(!has(world, &tenant, id).await);
    }
    for id in events {
        assert!(!has_event(world, &tenant, id).await);
    }
    assert_eq!(listed(world, &tenant).await, (0, 0));
    // What comes now is kept.
    let new = world.delivered(&endpoint).await;
    swept(world).await;
    assert_eq!(world.shown(&tenant, new).await, "delivered [200]");
    assert_eq!(listed(world, &tenant).await, (1, 1));
}

pub async fn a_sweep_comes_to_an_end<S: Store>(world: &World<S>) {
    for name in ["acme", "zebra"] {
        let tenant = world.tenant(name).await;
        let endpoint = world.endpoint(&tenant).await;
        for _ in 0..30 {
            world.delivered(&endpoint).await;
        }
        world.dead(&endpoint).await;
        world.owed(&endpoint).await;
    }
    assert_eq!(swept(world).await, 0, "nothing is over");
    world.clock.advance(HISTORY + SLACK);
    // A store that drops whole weeks does not count what was in them.
    swept(world).await;
    assert_eq!(swept(world).await, 0);
    for name in ["acme", "zebra"] {
        assert_eq!(listed(world, &name.parse().unwrap()).await, (2, 2));
    }
}

pub async fn what_is_open_stays_with_its_event_until_it_has_ended<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let (endpoint, other) = (world.endpoint(&tenant).await, world.endpoint(&tenant).await);
    let began = world.now();
    let queued = world.owed(&endpoint).await;
    let failed = world.event(&tenant, &[&other]).leased_to(world.worker().await);
    let failed_id = failed.delivery();
    let lease = world.stored(failed).await.remove(0);
    world.finish(lease, 500, Next::RetryAt(began + HISTORY * 2)).await;
    let scheduled = world.event(&tenant, &[&other]).due_at(began + HISTORY * 2);
    let scheduled_id = scheduled.delivery();
    world.stored(scheduled).await;
    let inflight = world.event(&tenant, &[&other]).leased_to(world.worker().await);
    let inflight_id = inflight.delivery();
    let held = world.stored(inflight).await.remove(0);
    // One of two is delivered: that one goes, their event stays.
    let mut half = world.event(&tenant, &[&endpoint, &other]);
    half.0.deliveries[1].leased_to = Some(world.worker().await);
    let (half_event, half_open, half_done) = (half.id(), half.0.deliveries[0].id, half.0.deliveries[1].id);
    let lease = world.stored(half).await.remove(0);
    world.finish(lease, 200, Next::Delivered).await;

    sweep_at(world, began, HISTORY + SLACK).await;
    assert!(!has(world, &tenant, half_done).await);
    assert!(has_event(world, &tenant, half_event).await);
    for (id, shown) in [
        (queued, "queued []"),
        (failed_id, "failed [500]"),
        (scheduled_id, "queued []"),
        (inflight_id, "inflight []"),
        (half_open, "queued []"),
    ] {
        assert_eq!(world.shown(&tenant, id).await, shown);
        let event = event_of(world, &tenant, id).await;
        assert!(has_event(world, &tenant, event).await, "{shown}");
    }

    // They can still end, and then they go.
    assert_eq!(world.finish(held, 200, Next::Delivered).await, RECORDED);
    for lease in world.lease(world.worker().await, &endpoint, 10).await {
        let event = lease.delivery.event_id;
        assert!(has_event(world, &tenant, event).await);
        assert_eq!(world.finish(lease, 200, Next::Delivered).await, RECORDED);
    }
    for id in [inflight_id, queued, half_open] {
        assert_eq!(world.shown(&tenant, id).await, "delivered [200]");
    }
    world.clock.advance(SLACK);
    swept(world).await;
    for id in [inflight_id, queued, half_open] {
        assert!(!has(world, &tenant, id).await);
    }
    assert!(!has_event(world, &tenant, half_event).await);
    assert_eq!(world.shown(&tenant, failed_id).await, "failed [500]");
    assert_eq!(listed(world, &tenant).await, (2, 2));
}

pub async fn dead_letters_stay_for_their_own_time<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let began = world.now();
    let slow = world.event(&tenant, &[&endpoint]).leased_to(world.worker().await);
    let slow_id = slow.delivery();
    let mut slow_lease = world.stored(slow).await.pop();
    let (open, discarded, replayed) =
        (world.dead(&endpoint).await, world.dead(&endpoint).await, world.dead(&endpoint).await);
    world.store.discard(&tenant, discarded, world.now()).await.unwrap();
    let replay = world.replay(&tenant, replayed).await.id;
    let lease = world.lease_one(&endpoint).await;
    world.finish(lease, 200, Next::Delivered).await;
    let mut events = Vec::new();
    for id in [open, discarded, replayed] {
        events.push(event_of(world, &tenant, id).await);
    }

    for age in [HISTORY + SLACK, DEAD_LETTERS - DAY] {
        sweep_at(world, began, age).await;
        assert!(!has(world, &tenant, replay).await, "it is delivered");
        for (id, state) in [
            (open, DeadLetterState::Open),
            (discarded, DeadLetterState::Discarded),
            (replayed, DeadLetterState::Replayed),
        ] {
            assert_eq!(world.shown(&tenant, id).await, "dead [500]");
            let dead = world.read(&tenant, id).await.delivery.dead_letter.unwrap();
            assert_eq!((dead.state, dead.dead_at), (state, began));
        }
        for event in &events {
            assert!(has_event(world, &tenant, *event).await);
        }
        // Made long ago, and dead only now.
        if let Some(lease) = slow_lease.take() {
            let finish = world.finish(lease, 500, Next::Dead(Cause::AttemptsExhausted)).await;
            assert_eq!(finish, RECORDED);
        }
    }
    sweep_at(world, began, DEAD_LETTERS + SLACK).await;
    for id in [open, discarded, replayed] {
        assert!(!has(world, &tenant, id).await);
    }
    for event in events {
        assert!(!has_event(world, &tenant, event).await);
    }
    assert_eq!(world.shown(&tenant, slow_id).await, "dead [500]");
    sweep_at(world, began, HISTORY + SLACK + DEAD_LETTERS + SLACK).await;
    assert!(!has(world, &tenant, slow_id).await);
    assert_eq!(listed(world, &tenant).await, (0, 0));
}

pub async fn a_dead_letter_that_was_kept_can_be_replayed<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let began = world.now();
    let (dead, other) = (world.dead(&endpoint).await, world.dead(&endpoint).await);
    sweep_at(world, began, HISTORY + SLACK).await;
    let replay = world.replay(&tenant, dead).await;
    let found = world.read(&tenant, dead).await.delivery.dead_letter.unwrap();
    assert_eq!((found.state, found.replayed_by), (DeadLetterState::Replayed, Some(replay.id)));
    let lease = world.lease_one(&endpoint).await;
    let event = lease.delivery.event_id;
    assert!(has_event(world, &tenant, event).await);
    world.finish(lease, 200, Next::Delivered).await;
    world.store.discard(&tenant, other, world.now()).await.unwrap();
    let summary = world.store.dead_letter_summary(&tenant).await.unwrap();
    assert_eq!(summary.groups, []);
    swept(world).await;
    assert_eq!(world.shown(&tenant, replay.id).await, "delivered [200]", "it is young");
    assert_eq!(world.shown(&tenant, dead).await, "dead [500]");
    // The event goes with the last of its deliveries: the dead letter outlives its replay.
    sweep_at(world, began, DEAD_LETTERS + SLACK).await;
    assert!(!has(world, &tenant, replay.id).await && !has(world, &tenant, dead).await);
    assert!(!has_event(world, &tenant, event).await);
}

/// A tenant with this retention.
async fn keeping<S: Store>(
    world: &World<S>,
    name: &str,
    history: Option<Duration>,
    dead_letters: Option<Duration>,
) -> (TenantId, Endpoint) {
    let retention = RetentionLayer { history, dead_letters };
    let policy = TenantPolicy { retention, ..TenantPolicy::default() };
    let tenant = Tenant { policy, ..world.new_tenant(name) };
    let tenant = done(world.store.create_tenant(tenant).await.unwrap()).id;
    let endpoint = world.endpoint(&tenant).await;
    (tenant, endpoint)
}

pub async fn each_tenant_keeps_as_long_as_its_own_policy_says<S: Store>(world: &World<S>) {
    let began = world.now();
    let tenants = [
        keeping(world, "short", Some(DAY * 2), Some(DAY * 9)).await,
        keeping(world, "usual", None, None).await,
        keeping(world, "long", Some(DAY * 60), Some(DAY * 100)).await,
        // Dead letters that go before the history do.
        keeping(world, "odd", Some(DAY * 60), Some(DAY * 9)).await,
    ];
    let mut made = Vec::new();
    for (tenant, endpoint) in &tenants {
        let lone = world.event(tenant, &[]);
        let lone_id = lone.id();
        world.stored(lone).await;
        made.push((world.delivered(endpoint).await, world.dead(endpoint).await, lone_id));
    }
    let check = async |age: Duration, expected: [(bool, bool); 4]| {
        sweep_at(world, began, age).await;
        for (((tenant, _), (delivered, dead, lone)), (is_history, is_dead)) in
            tenants.iter().zip(&made).zip(expected)
        {
            assert_eq!(has(world, tenant, *delivered).await, is_history, "{tenant} at {age:?}");
            assert_eq!(has_event(world, tenant, *lone).await, is_history, "{tenant} at {age:?}");
            assert_eq!(has(world, tenant, *dead).await, is_dead, "the dead of {tenant} at {age:?}");
        }
    };
    check(DAY, [(true, true); 4]).await;
    check(DAY * 7, [(false, true), (true, true), (true, true), (true, true)]).await;
    check(DAY * 20, [(false, false), (true, true), (true, true), (true, true)]).await;
    check(HISTORY + SLACK, [(false, false), (false, true), (true, true), (true, true)]).await;
    check(DAY * 70, [(false, false), (false, true), (false, true), (false, false)]).await;
    check(DAY * 110, [(false, false); 4]).await;

    // A policy that changes is obeyed from then on.
    let (tenant, endpoint) = &tenants[2];
    let id = world.delivered(endpoint).await;
    world.clock.advance(DAY * 15);
    swept(world).await;
    assert!(has(world, tenant, id).await);
    let mut shorter = world.store.find_tenant(tenant).await.unwrap().unwrap();
    shorter.policy.retention.history = Some(DAY);
    done(world.store.update_tenant(shorter).await.unwrap());
    world.clock.advance(SECOND * 3_600);
    swept(world).await;
    assert!(!has(world, tenant, id).await);
}

pub async fn what_a_job_may_want_stays_until_it_has_replayed<S: Store>(world: &World<S>) {
    let (tenant, other) = (world.tenant("acme").await, world.tenant("zebra").await);
    let (endpoint, of_other) = (world.endpoint(&tenant).await, world.endpoint(&other).await);
    let began = world.now();
    let wanted = [world.delivered(&endpoint).await, world.delivered(&endpoint).await];
    let unwanted = world.delivered(&of_other).await;
    world.clock.advance(HISTORY - DAY);
    let task = || {
        Task::Replay(ReplayTask {
            selection: Selection::Filter(DeliveryFilter::default()),
            rate_per_second: None,
            is_dry_run: false,
            new_webhook_id: false,
            reason: None,
        })
    };
    let new = NewJob { job: world.new_job(&tenant, task()), idempotency: None };
    let JobCreated::Done(job) = world.store.create_job(new, 10).await.unwrap() else { panic!("no job") };
    sweep_at(world, began, HISTORY + SLACK).await;
    assert!(!has(world, &other, unwanted).await);
    for id in wanted {
        assert!(has(world, &tenant, id).await, "it may match");
    }

    let mut step = world.store.count_matches(&job, 100, world.now()).await.unwrap();
    for _ in 0..10 {
        let Stepped::Made { job, is_end, .. } = step else { panic!("stale") };
        swept(world).await;
        for id in wanted {
            assert!(has(world, &tenant, id).await, "it is not replayed yet");
        }
        if is_end {
            step = Stepped::Made { job, count: 0, is_end };
            break;
        }
        step = world.store.count_matches(&job, 100, world.now()).await.unwrap();
    }
    for _ in 0..10 {
        let Stepped::Made { job, .. } = step else { panic!("stale") };
        let ids = (0..5).map(|_| DeliveryId::new(world.now(), &*world.rng)).collect();
        step = world.store.replay_batch(&job, ids, world.now()).await.unwrap();
        if matches!(step, Stepped::Made { is_end: true, .. }) {
            break;
        }
    }
    world.clock.advance(SECOND * 3_600);
    swept(world).await;
    for id in wanted {
        assert!(!has(world, &tenant, id).await, "it was replayed");
    }
    // Their events are still owed.
    let leases = world.lease(world.worker().await, &endpoint, 10).await;
    assert_eq!(leases.len(), 2);
    for lease in leases {
        assert!(has_event(world, &tenant, lease.delivery.event_id).await);
        assert_eq!(world.finish(lease, 200, Next::Delivered).await, RECORDED);
    }
}

pub async fn a_dead_head_that_holds_its_lane_stays_until_it_is_released<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let began = world.now();
    let head = world.owed_in(&endpoint, "a").await;
    let lease = world.lease_one(&endpoint).await;
    let result = world.result(lease, 500, Next::Dead(Cause::ClientError));
    world.record(AttemptResult { on_dead: OnDead::Hold, ..result }).await;
    let waiting = world.owed_in(&endpoint, "a").await;
    for age in [HISTORY + SLACK, DEAD_LETTERS + SLACK] {
        sweep_at(world, began, age).await;
        assert_eq!(world.shown(&tenant, head).await, "dead [500]");
        assert_eq!(world.due(&endpoint).await, []);
    }
    let key = LaneKey::new("a");
    let replay = DeliveryId::new(world.now(), &*world.rng);
    let retried = world
        .store
        .release_lane(&tenant, endpoint.id, &key, Release::Retry(replay), world.now())
        .await
        .unwrap();
    assert_eq!(retried, Released::Done(Some(replay)));
    let lease = world.lease_one(&endpoint).await;
    assert!(has_event(world, &tenant, lease.delivery.event_id).await);
    world.finish(lease, 200, Next::Delivered).await;
    world.clock.advance(SECOND * 3_600);
    swept(world).await;
    assert!(!has(world, &tenant, head).await, "it holds nothing any more");
    assert_eq!(world.due(&endpoint).await, [waiting]);
}

pub async fn a_sweep_removes_about_as_much_as_it_may<S: Store>(world: &World<S>) {
    let (tenant, endpoint) = keeping(world, "short", Some(DAY), None).await;
    // Somebody keeps more, so that nothing can go week by week.
    keeping(world, "usual", None, None).await;
    for _ in 0..60 {
        world.delivered(&endpoint).await;
    }
    world.clock.advance(DAY * 2);
    let mut most = 0;
    for _ in 0..200 {
        most = most.max(world.store.sweep(world.now(), 12).await.unwrap());
    }
    assert!((1..=40).contains(&most), "{most} rows at once");
    swept(world).await;
    assert_eq!(listed(world, &tenant).await, (0, 0));
}
