//! A tenant sees and changes nothing of another, even where it knows its ids.

use harbor_model::decide::retry::Next;
use harbor_model::delivery::DeliveryStatus;
use harbor_model::endpoint::Endpoint;
use harbor_model::id::DeliveryId;
use harbor_model::job::{JobKind, ReplayTask, Selection, Task};
use harbor_model::lane::{LaneKey, Release, Released};
use harbor_model::port::deliveries::{EndpointKey, LeaseAsk};
use harbor_model::port::history::{DeadLetterFilter, DeliveryFilter, EventFilter};
use harbor_model::port::intake::Published;
use harbor_model::port::interventions::Intervened;
use harbor_model::port::jobs::{JobCancelled, JobCreated, NewJob, Stepped};
use harbor_model::port::registry::{Change, SubscriptionFilter};
use harbor_model::port::upkeep::{Discarded, Replayed};
use harbor_model::source::Source;
use harbor_model::subscription::Subscription;

use crate::conformance::world::{ALL, SECOND, Store, World, done};

pub async fn nothing_of_another_tenant_can_be_read<S: Store>(world: &World<S>) {
    let (owner, other) = (world.tenant("owner").await, world.tenant("other").await);
    let endpoint = world.endpoint(&owner).await;
    let draft = world.event(&owner, &[&endpoint]);
    let (event, delivery) = (draft.id(), draft.delivery());
    world.stored(draft).await;
    let subscription = world.new_subscription(&endpoint, "order.*");
    let subscription = done(world.store.create_subscription(subscription, 9).await.unwrap());

    assert_eq!(world.store.find_event(&other, event).await.unwrap(), None);
    assert_eq!(world.store.load_events(vec![(other.clone(), event)]).await.unwrap(), [None]);
    assert_eq!(world.store.find_delivery(&other, delivery).await.unwrap(), None);
    assert_eq!(world.store.find_endpoint(&other, endpoint.id).await.unwrap(), None);
    assert_eq!(world.store.find_subscription(&other, subscription.id).await.unwrap(), None);
    let of_event =
        world.store.deliveries_of_event(&other, event, DeliveryFilter::default(), ALL).await.unwrap();
    assert_eq!(of_event.items, []);
    let key = EndpointKey { tenant_id: other.clone(), endpoint_id: endpoint.id };
    let ask = LeaseAsk { key, count: 10 };
    assert!(world.store.lease(world.worker().await, world.now(), vec![ask]).await.unwrap().is_empty());
    let source = world.source(&owner).await;
    world.refuse(&source, 2).await;
    assert_eq!(world.store.find_source(&other, source.id).await.unwrap(), None);
    assert_eq!(world.store.rejections(&other, source.id, ALL).await.unwrap().items, []);
    let directory = world.store.tenant(&other).await.unwrap().unwrap();
    assert!(directory.endpoints.is_empty() && directory.sources.is_empty());

    world.owed_in(&endpoint, "a").await;
    world.dead(&endpoint).await;
    assert_eq!(world.store.lanes(&other, endpoint.id, ALL).await.unwrap().items, []);
    assert_eq!(world.store.dead_letter_summary(&other).await.unwrap().groups, []);
    let job = world.new_job(&owner, Task::Cancel(DeliveryFilter::default()));
    let new = NewJob { job, idempotency: None };
    let JobCreated::Done(job) = world.store.create_job(new, 9).await.unwrap() else { panic!("no job") };
    assert_eq!(world.store.find_job(Some(&other), job.id).await.unwrap(), None);
    assert_eq!(world.store.jobs(Some(&other), JobKind::ALL, ALL).await.unwrap().items, []);
}

pub async fn nothing_of_another_tenant_can_be_changed<S: Store>(world: &World<S>) {
    let (owner, other) = (world.tenant("owner").await, world.tenant("other").await);
    let endpoint = world.endpoint(&owner).await;
    let dead = world.dead(&endpoint).await;
    let subscription = world.new_subscription(&endpoint, "order.*");
    let subscription = done(world.store.create_subscription(subscription, 9).await.unwrap());
    let store = &world.store;

    let stolen = Endpoint { tenant_id: other.clone(), paused: true, ..endpoint.clone() };
    assert_eq!(store.update_endpoint(stolen).await.unwrap(), Change::Missing);
    assert_eq!(store.delete_endpoint(&other, endpoint.id, None, world.now()).await.unwrap(), Change::Missing);
    let stolen = Subscription { tenant_id: other.clone(), ..subscription.clone() };
    assert_eq!(store.update_subscription(stolen).await.unwrap(), Change::Missing);
    assert_eq!(store.delete_subscription(&other, subscription.id, None).await.unwrap(), Change::Missing);
    let mut crossing = world.new_subscription(&endpoint, "crossing");
    crossing.tenant_id = other.clone();
    assert_eq!(store.create_subscription(crossing, 9).await.unwrap(), Change::Missing);
    assert_eq!(store.replay(world.new_replay(&other, dead)).await.unwrap(), Replayed::Missing);
    assert_eq!(store.discard(&other, dead, world.now()).await.unwrap(), Discarded::Missing);

    let source = world.source(&owner).await;
    let stolen = Source { tenant_id: other.clone(), ..source.clone() };
    assert_eq!(store.update_source(stolen.clone()).await.unwrap(), Change::Missing);
    assert_eq!(store.delete_source(&other, source.id, None).await.unwrap(), Change::Missing);
    world.refuse(&stolen, 2).await;
    // An address leads to one source.
    assert!(store.create_source(stolen, 9).await.is_err());
    assert_eq!(store.owner_of_source(source.id).await.unwrap(), Some(owner.clone()));
    assert_eq!(store.find_source(&owner, source.id).await.unwrap(), Some(source));

    let now = world.now();
    let queued = world.event(&owner, &[&endpoint]).in_lane("a");
    let (event, open) = (queued.id(), queued.delivery());
    world.stored(queued).await;
    assert_eq!(store.retry_now(&other, open, now).await.unwrap(), Intervened::Missing);
    assert_eq!(store.cancel(&other, open, now).await.unwrap(), Intervened::Missing);
    assert!(!store.expunge(&other, event, now).await.unwrap());
    let lane = LaneKey::new("a");
    for release in [Release::Skip, Release::Retry(DeliveryId::new(now, &*world.rng))] {
        let released = store.release_lane(&other, endpoint.id, &lane, release, now).await.unwrap();
        assert_ne!(released, Released::Done(Some(open)));
        assert!(matches!(released, Released::Missing | Released::NoEndpoint), "{released:?}");
    }
    let job = world.new_job(&owner, Task::Cancel(DeliveryFilter::default()));
    let new = NewJob { job, idempotency: None };
    let JobCreated::Done(job) = store.create_job(new, 9).await.unwrap() else { panic!("no job") };
    assert_eq!(store.cancel_job(&other, job.id, now).await.unwrap(), JobCancelled::Missing);
    assert_eq!(store.find_job(Some(&owner), job.id).await.unwrap(), Some(job));
    assert_eq!(world.shown(&owner, open).await, "queued []");

    assert_eq!(store.find_endpoint(&owner, endpoint.id).await.unwrap(), Some(endpoint));
    assert_eq!(store.find_subscription(&owner, subscription.id).await.unwrap(), Some(subscription));
    assert_eq!(world.shown(&owner, dead).await, "dead [500]");
}

pub async fn lists_show_only_the_tenants_own<S: Store>(world: &World<S>) {
    for name in ["owner", "other"] {
        let tenant = world.tenant(name).await;
        let endpoint = world.endpoint(&tenant).await;
        world.delivered(&endpoint).await;
        world.dead(&endpoint).await;
        let source = world.source(&tenant).await;
        world.refuse(&source, 2).await;
        let draft = world.event(&tenant, &[&endpoint]).leased_to(world.worker().await);
        // Held until the end of the test.
        std::mem::forget(world.stored(draft).await);
    }
    for name in ["owner", "other"] {
        let tenant = name.parse().unwrap();
        let store = &world.store;
        assert_eq!(store.events(&tenant, EventFilter::default(), ALL).await.unwrap().items.len(), 3);
        for (status, expected) in
            [(None, 3), (Some(DeliveryStatus::Inflight), 1), (Some(DeliveryStatus::Dead), 1)]
        {
            let filter = DeliveryFilter { status, ..DeliveryFilter::default() };
            let found = store.deliveries(&tenant, filter, ALL).await.unwrap().items;
            assert_eq!(found.len(), expected, "{status:?}");
            assert!(found.iter().all(|delivery| delivery.tenant_id == tenant));
        }
        let dead = store.dead_letters(&tenant, DeadLetterFilter::default(), ALL).await.unwrap().items;
        assert_eq!(dead.len(), 1);
        let endpoints = store.endpoints(&tenant, ALL).await.unwrap().items;
        assert_eq!(endpoints.len(), 1);
        assert!(endpoints.iter().all(|endpoint| endpoint.tenant_id == tenant));
        let subscriptions =
            store.subscriptions(&tenant, SubscriptionFilter::default(), ALL).await.unwrap().items;
        assert_eq!(subscriptions.len(), 1);
        let sources = store.sources(&tenant, ALL).await.unwrap().items;
        assert_eq!(sources.len(), 1);
        assert!(sources.iter().all(|source| source.tenant_id == tenant));
        let refused = store.rejections(&tenant, sources[0].id, ALL).await.unwrap().items;
        assert_eq!(refused.len(), 2);
        assert!(refused.iter().all(|refused| refused.tenant_id == tenant));
    }
}

pub async fn a_key_of_another_tenant_is_another_key<S: Store>(world: &World<S>) {
    let (owner, other) = (world.tenant("owner").await, world.tenant("other").await);
    world.stored(world.event(&owner, &[]).key("k", 1)).await;
    let published = world.publish(world.event(&other, &[]).key("k", 2)).await;
    assert!(matches!(published, Published::Stored { .. }), "{published:?}");

    let endpoint = world.endpoint(&owner).await;
    let id = world.owed(&endpoint).await;
    let lease = world.lease_one(&endpoint).await;
    world.finish(lease, 200, Next::Delivered).await;
    assert_eq!(world.shown(&owner, id).await, "delivered [200]");
}

pub async fn a_job_reaches_nothing_of_another_tenant<S: Store>(world: &World<S>) {
    let (owner, other) = (world.tenant("owner").await, world.tenant("other").await);
    let endpoint = world.endpoint(&owner).await;
    let (dead, open) = (world.dead(&endpoint).await, world.owed(&endpoint).await);
    let from = world.now();
    world.clock.advance(SECOND);
    let replay = |selection| {
        Task::Replay(ReplayTask {
            selection,
            rate_per_second: None,
            is_dry_run: false,
            new_webhook_id: false,
            reason: None,
        })
    };
    let of_endpoint = DeliveryFilter { endpoint_id: Some(endpoint.id), ..DeliveryFilter::default() };
    for task in [
        replay(Selection::Ids(vec![dead, open])),
        replay(Selection::DeadLetters { from, to: world.now(), endpoint_id: None }),
        replay(Selection::DeadLetters { from, to: world.now(), endpoint_id: Some(endpoint.id) }),
        replay(Selection::Filter(DeliveryFilter::default())),
        replay(Selection::Filter(of_endpoint.clone())),
        Task::Cancel(DeliveryFilter::default()),
        Task::Cancel(of_endpoint.clone()),
    ] {
        let new = NewJob { job: world.new_job(&other, task), idempotency: None };
        let JobCreated::Done(mut job) = world.store.create_job(new, 99).await.unwrap() else {
            panic!("no job")
        };
        for _ in 0..10 {
            let step = match &job.task {
                Task::Cancel(_) => world.store.cancel_batch(&job, 10, world.now()).await.unwrap(),
                _ => {
                    let ids = (0..5).map(|_| DeliveryId::new(world.now(), &*world.rng)).collect();
                    world.store.replay_batch(&job, ids, world.now()).await.unwrap()
                }
            };
            let Stepped::Made { job: next, is_end, .. } = step else { panic!("stale") };
            job = next;
            if is_end {
                break;
            }
        }
        assert_eq!((job.counts.queued, job.counts.succeeded), (0, 0), "{:?}", job.task);
    }
    assert_eq!(world.shown(&owner, dead).await, "dead [500]");
    assert_eq!(world.due(&endpoint).await, [open]);
}
