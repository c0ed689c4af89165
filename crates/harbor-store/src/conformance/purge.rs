//! Tenants that are deleted: access ends at once, and then everything of them goes.

use std::collections::BTreeMap;

use harbor_model::api_key::{ApiKey, Role};
use harbor_model::decide::retry::Next;
use harbor_model::endpoint::Endpoint;
use harbor_model::id::{ApiKeyId, DeliveryId, EventId, TenantId, WorkerId};
use harbor_model::job::{Job, JobKind, JobStatus, Task};
use harbor_model::port::breakers::BreakerChange;
use harbor_model::port::deliveries::{AttemptResult, Backlog, Health, HealthNews, LeaseAsk};
use harbor_model::port::history::{DeadLetterFilter, DeliveryFilter, EventFilter};
use harbor_model::port::intake::Published;
use harbor_model::port::jobs::{JobCreated, NewJob, Stepped};
use harbor_model::port::registry::{Change, SubscriptionFilter};
use harbor_model::source::Source;

use crate::conformance::world::{ALL, DAY, RECORDED, SECOND, Store, World, done, key_of};

/// A tenant of which there is something of every kind.
struct Full {
    tenant: TenantId,
    endpoint: Endpoint,
    source: Source,
    delivered: DeliveryId,
    queued: DeliveryId,
    event: EventId,
    key: ApiKey,
    key_hash: [u8; 32],
    job: Job,
}

async fn full<S: Store>(world: &World<S>, name: &str, number: u8) -> Full {
    let tenant = world.tenant(name).await;
    let endpoint = world.endpoint(&tenant).await;
    let watching = world.new_subscription(&endpoint, "harborhook.*");
    done(world.store.create_subscription(watching, 100).await.unwrap());
    let source = world.source(&tenant).await;
    world.refuse(&source, 6).await;
    let key = ApiKey {
        id: ApiKeyId::new(world.now(), &*world.rng),
        tenant_id: Some(tenant.clone()),
        role: Role::Publisher,
        name: "deploy".to_owned(),
        created_at: world.now(),
        expires_at: None,
    };
    let key_hash = [number; 32];
    done(world.store.create_api_key(key.clone(), key_hash).await.unwrap());

    let delivered = world.delivered(&endpoint).await;
    let event = world.read(&tenant, delivered).await.delivery.event_id;
    world.dead(&endpoint).await;
    world.stored(world.event(&tenant, &[&endpoint]).key("k", 1).due_at(world.now() + DAY)).await;
    let failing = world.event(&tenant, &[&endpoint]).leased_to(world.worker().await);
    let lease = world.stored(failing).await.remove(0);
    let health = Health::Failing { disable_if_since: world.now() - DAY };
    let health = Some(HealthNews { url_version: endpoint.url_version, health });
    let result = world.result(lease, 500, Next::RetryAt(world.now() + DAY));
    assert_eq!(world.record(AttemptResult { health, ..result }).await, RECORDED);
    let late = world.event(&tenant, &[&endpoint]).leased_to(world.worker().await);
    let lease = world.stored(late).await.remove(0);
    world.store.give_back(lease.key().clone());
    let again = world.lease_one(&endpoint).await;
    world.finish(lease, 500, Next::RetryAt(world.now())).await;
    world.finish(again, 200, Next::Delivered).await;
    let queued = world.owed_in(&endpoint, "a").await;
    world.owed_in(&endpoint, "a").await;
    let opening =
        BreakerChange { decided_at: world.now(), probe_at: world.now() + DAY, cooldown: DAY, prober: None };
    world.store.open_breaker(&key_of(&endpoint), opening).await.unwrap();
    let node = WorkerId::new(world.now(), &*world.rng);
    world.store.count_usage(node, vec![(tenant.clone(), 5)], world.now()).await.unwrap();
    let job = world.new_job(
        &tenant,
        Task::Cancel(DeliveryFilter { event_id: Some(event), ..DeliveryFilter::default() }),
    );
    let idempotency = Some(("k".to_owned(), [1; 32], world.now() + DAY));
    let JobCreated::Done(job) = world.store.create_job(NewJob { job, idempotency }, 10).await.unwrap() else {
        panic!("no job was made")
    };
    Full { tenant, endpoint, source, delivered, queued, event, key, key_hash, job }
}

/// Everything that can be seen of a tenant.
async fn seen<S: Store>(world: &World<S>, tenant: &TenantId) -> String {
    let store = &world.store;
    let mut deliveries = Vec::new();
    for delivery in store.deliveries(tenant, DeliveryFilter::default(), ALL).await.unwrap().items {
        deliveries.push(world.read(tenant, delivery.id).await);
    }
    let sources = store.sources(tenant, ALL).await.unwrap().items;
    let mut rejections = Vec::new();
    for source in &sources {
        rejections.extend(store.rejections(tenant, source.id, ALL).await.unwrap().items);
    }
    let kinds = [JobKind::Replay, JobKind::Cancel];
    format!(
        "{:?} {:?} {deliveries:?} {sources:?} {rejections:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        store.find_tenant(tenant).await.unwrap(),
        store.events(tenant, EventFilter::default(), ALL).await.unwrap(),
        store.dead_letters(tenant, DeadLetterFilter::default(), ALL).await.unwrap(),
        store.endpoints(tenant, ALL).await.unwrap(),
        store.subscriptions(tenant, SubscriptionFilter::default(), ALL).await.unwrap(),
        store.api_keys(Some(tenant), ALL).await.unwrap(),
        store.jobs(Some(tenant), &kinds, ALL).await.unwrap(),
        store.dead_letter_summary(tenant).await.unwrap(),
    )
}

async fn deleted<S: Store>(world: &World<S>, tenant: &TenantId) -> Job {
    let job = world.new_job(tenant, Task::Purge);
    let made = done(world.store.delete_tenant(tenant, job.clone()).await.unwrap());
    assert_eq!(made, job);
    made
}

/// Removes everything, a few rows at a time.
async fn purged<S: Store>(world: &World<S>, job: Job) -> Job {
    let mut job = job;
    for _ in 0..1_000 {
        match world.store.purge_batch(&job, 4, world.now()).await.unwrap() {
            Stepped::Made { job: next, is_end: true, .. } => return next,
            Stepped::Made { job: next, .. } => job = next,
            Stepped::Stale => panic!("nobody else purges"),
        }
    }
    panic!("the purge does not end")
}

pub async fn access_ends_when_a_tenant_is_deleted<S: Store>(world: &World<S>) {
    let full = full(world, "acme", 1).await;
    let Full { tenant, endpoint, source, key_hash, key, .. } = &full;
    let store = &world.store;
    let version = store.tenant(tenant).await.unwrap().unwrap().version;
    let publish = async || world.publish(world.event(tenant, &[])).await;
    assert!(matches!(publish().await, Published::Stored { .. }));
    let job = deleted(world, tenant).await;
    assert_eq!((job.status, job.task.kind()), (JobStatus::Pending, JobKind::Purge));

    assert!(store.tenant(tenant).await.unwrap().is_none(), "it has no directory any more");
    store.observe(tenant, version + 5);
    assert!(store.tenant(tenant).await.unwrap().is_none());
    assert!(matches!(publish().await, Published::NoTenant));
    assert_eq!(store.find_api_key(key_hash).await.unwrap(), None);
    assert_eq!(store.find_tenant(tenant).await.unwrap(), None);
    assert!(store.tenants(ALL).await.unwrap().items.iter().all(|other| other.id != *tenant));
    let endpoint_made = store.create_endpoint(world.new_endpoint(tenant), vec![], 100).await.unwrap();
    assert_eq!(endpoint_made, Change::Missing);
    assert_eq!(store.owner_of_source(source.id).await.unwrap(), None);
    assert_eq!(store.find_source(tenant, source.id).await.unwrap(), None);
    let source_made = store.create_source(world.new_source(tenant), 100).await.unwrap();
    assert_eq!(source_made, Change::Missing);
    assert_eq!(store.update_source(source.clone()).await.unwrap(), Change::Missing);
    let key_made = store.create_api_key(key.clone(), [9; 32]).await.unwrap();
    assert_eq!(key_made, Change::Missing);
    let job_made =
        NewJob { job: world.new_job(tenant, Task::Cancel(DeliveryFilter::default())), idempotency: None };
    assert_eq!(store.create_job(job_made, 10).await.unwrap(), JobCreated::NoTenant);
    let ask = LeaseAsk { key: key_of(endpoint), count: 10 };
    assert_eq!(store.lease(world.worker().await, world.now(), vec![ask]).await.unwrap().len(), 0);
    let again = world.new_job(tenant, Task::Purge);
    assert_eq!(store.delete_tenant(tenant, again).await.unwrap(), Change::Missing);
    let nobody = "nobody".parse().unwrap();
    let of_nobody = world.new_job(&nobody, Task::Purge);
    assert_eq!(store.delete_tenant(&nobody, of_nobody).await.unwrap(), Change::Missing);

    // The job is open, and the id is taken as long as it is.
    assert!(store.open_jobs(10).await.unwrap().contains(&job));
    assert_eq!(store.find_job(None, job.id).await.unwrap(), Some(job.clone()));
    assert_eq!(store.jobs(None, &[JobKind::Purge], ALL).await.unwrap().items, [job]);
    assert_eq!(store.create_tenant(world.new_tenant("acme")).await.unwrap(), Change::Exists);
}

pub async fn everything_of_a_deleted_tenant_goes_and_nothing_of_others<S: Store>(world: &World<S>) {
    let (one, other) = (full(world, "acme", 1).await, full(world, "zebra", 2).await);
    let gone = full(world, "gone", 3).await;
    let (of_one, of_other) = (seen(world, &one.tenant).await, seen(world, &other.tenant).await);
    let job = deleted(world, &gone.tenant).await;
    world.clock.advance(SECOND);
    let job = purged(world, job).await;

    assert_eq!((job.status, job.updated_at), (JobStatus::Done, world.now()));
    let expected = [
        ("api_keys", 1),
        ("attempts", 5),
        ("breakers", 1),
        ("deliveries", 7),
        ("endpoints", 1),
        ("events", 7),
        ("failing_endpoints", 1),
        ("idempotency_keys", 2),
        ("jobs", 1),
        ("lanes", 1),
        ("notices", 2),
        ("rejections", 6),
        ("sources", 1),
        ("subscriptions", 2),
        ("usage_days", 1),
    ];
    let counted: BTreeMap<&str, u64> = job
        .removed
        .iter()
        .filter(|(kind, _)| expected.iter().any(|(known, _)| known == kind))
        .map(|(kind, count)| (kind.as_str(), *count))
        .collect();
    assert_eq!(counted, BTreeMap::from(expected), "{:?}", job.removed);
    assert_eq!(world.store.find_job(None, job.id).await.unwrap(), Some(job.clone()));
    assert_eq!(world.store.jobs(None, &[JobKind::Purge], ALL).await.unwrap().items, [job]);

    assert_eq!(seen(world, &one.tenant).await, of_one);
    assert_eq!(seen(world, &other.tenant).await, of_other);
    for kept in [&one, &other] {
        assert_eq!(world.store.find_api_key(&kept.key_hash).await.unwrap(), Some(kept.key.clone()));
        assert_eq!(world.due(&kept.endpoint).await, [kept.queued]);
        assert_eq!(world.store.notices(100).await.unwrap().len(), 4);
        assert_eq!(world.store.open_breakers().await.unwrap().len(), 2);
        let lanes = world.store.lanes(&kept.tenant, kept.endpoint.id, ALL).await.unwrap().items;
        assert_eq!(lanes.len(), 1);
        let owner = world.store.owner_of_source(kept.source.id).await.unwrap();
        assert_eq!(owner, Some(kept.tenant.clone()));
        let again = world.publish(world.event(&kept.tenant, &[]).key("k", 1)).await;
        assert!(matches!(again, Published::Duplicate { .. }), "{again:?}");
    }
}

pub async fn a_new_tenant_with_a_free_id_sees_nothing_of_the_former<S: Store>(world: &World<S>) {
    let former = full(world, "acme", 1).await;
    let job = deleted(world, &former.tenant).await;
    purged(world, job).await;
    let store = &world.store;
    assert_eq!(store.backlog(world.now() + DAY * 2).await.unwrap(), Backlog::default());
    assert_eq!(store.due_endpoints(world.now() + DAY * 2, None, 10).await.unwrap(), []);
    assert_eq!(store.open_jobs(10).await.unwrap(), []);

    world.clock.advance(SECOND);
    let tenant = world.tenant("acme").await;
    assert_eq!(store.find_tenant(&tenant).await.unwrap(), Some(world.new_tenant("acme")));
    let snapshot = store.tenant(&tenant).await.unwrap().unwrap();
    assert!(snapshot.endpoints.is_empty() && snapshot.sources.is_empty());
    assert_eq!(store.find_event(&tenant, former.event).await.unwrap(), None);
    assert_eq!(store.load_events(vec![(tenant.clone(), former.event)]).await.unwrap(), [None]);
    for id in [former.delivered, former.queued] {
        assert_eq!(store.find_delivery(&tenant, id).await.unwrap(), None);
    }
    assert_eq!(store.find_endpoint(&tenant, former.endpoint.id).await.unwrap(), None);
    assert_eq!(store.find_source(&tenant, former.source.id).await.unwrap(), None);
    assert_eq!(store.owner_of_source(former.source.id).await.unwrap(), None);
    assert_eq!(store.rejections(&tenant, former.source.id, ALL).await.unwrap().items, []);
    assert_eq!(store.find_api_key(&former.key_hash).await.unwrap(), None);
    assert_eq!(store.find_job(None, former.job.id).await.unwrap(), None);
    assert_eq!(store.find_breaker(&tenant, former.endpoint.id).await.unwrap(), None);
    assert_eq!(store.notices(10).await.unwrap(), []);
    let node = WorkerId::new(world.now(), &*world.rng);
    let usage = store.count_usage(node, vec![(tenant.clone(), 0)], world.now()).await.unwrap();
    assert_eq!(usage.of_day, [0]);

    // Its ids and keys mean nothing any more, and the tenant works like any other.
    let endpoint = world.endpoint(&tenant).await;
    let published = world.publish(world.event(&tenant, &[&endpoint]).key("k", 2)).await;
    assert!(matches!(published, Published::Stored { .. }), "{published:?}");
    done(store.create_source(former.source.clone(), 100).await.unwrap());
    assert_eq!(store.find_source(&tenant, former.source.id).await.unwrap(), Some(former.source));
    let id = world.lease_one(&endpoint).await.delivery.delivery_id;
    let lease = world.lease_one(&endpoint).await;
    assert_eq!(world.finish(lease, 200, Next::Delivered).await, RECORDED);
    assert_eq!(world.shown(&tenant, id).await, "delivered [200]");
    let listed = store.deliveries(&tenant, DeliveryFilter::default(), ALL).await.unwrap().items;
    assert_eq!(listed.len(), 1);
    assert_eq!(store.events(&tenant, EventFilter::default(), ALL).await.unwrap().items.len(), 1);
    done(store.create_api_key(ApiKey { id: former.key.id, ..former.key }, former.key_hash).await.unwrap());
}

pub async fn a_purge_goes_on_after_a_restart_and_takes_no_step_twice<S: Store>(world: &World<S>) {
    let full = full(world, "acme", 1).await;
    let job = deleted(world, &full.tenant).await;
    let (a, b) = tokio::join!(
        world.store.purge_batch(&job, 4, world.now()),
        world.store.purge_batch(&job, 4, world.now())
    );
    let mut steps: Vec<_> =
        [a.unwrap(), b.unwrap()].into_iter().filter(|step| *step != Stepped::Stale).collect();
    assert_eq!(steps.len(), 1, "{steps:?}");
    let Stepped::Made { job: next, is_end: false, .. } = steps.remove(0) else { panic!("it is not the end") };
    assert_eq!(world.store.purge_batch(&job, 4, world.now()).await.unwrap(), Stepped::Stale);

    let again = world.restarted().await;
    let world = again.as_ref().unwrap_or(world);
    assert_eq!(world.store.open_jobs(10).await.unwrap(), std::slice::from_ref(&next));
    assert!(world.store.tenant(&full.tenant).await.unwrap().is_none());
    let ended = purged(world, next).await;
    assert_eq!(ended.removed.get("deliveries"), Some(&7), "{:?}", ended.removed);
    assert_eq!(world.store.purge_batch(&job, 4, world.now()).await.unwrap(), Stepped::Stale);
    let forgotten = world.store.forget_jobs(world.now() + SECOND, 10).await.unwrap();
    assert_eq!(forgotten, 1);
}

/// What was in flight when its tenant was deleted may end at any time of the purge.
pub async fn a_late_result_of_a_deleted_tenant_leaves_nothing_behind<S: Store>(world: &World<S>) {
    for step_count in [0, 1, 3, 1_000] {
        let full = full(world, "acme", 1).await;
        let late = world.event(&full.tenant, &[&full.endpoint]).leased_to(world.worker().await);
        let id = late.delivery();
        let lease = world.stored(late).await.remove(0);
        let mut job = deleted(world, &full.tenant).await;
        let mut is_ended = false;
        for _ in 0..step_count {
            if is_ended {
                break;
            }
            let step = world.store.purge_batch(&job, 4, world.now()).await.unwrap();
            let Stepped::Made { job: next, is_end, .. } = step else { panic!("stale") };
            (job, is_ended) = (next, is_end);
        }
        // Whatever the answer is: nobody asks for it any more.
        let finish = world.store.finish(vec![world.result(lease, 200, Next::Delivered)]).await;
        assert_eq!(finish.len(), 1);
        if !is_ended {
            purged(world, job).await;
        }
        let tenant = world.tenant("acme").await;
        assert_eq!(world.store.find_delivery(&tenant, id).await.unwrap(), None);
        let listed = world.store.deliveries(&tenant, DeliveryFilter::default(), ALL).await.unwrap();
        assert_eq!(listed.items, []);
        assert_eq!(world.store.backlog(world.now() + DAY * 2).await.unwrap(), Backlog::default());
        let job = deleted(world, &tenant).await;
        let removed = purged(world, job).await.removed;
        assert_eq!((removed.get("deliveries"), removed.get("attempts")), (None, None), "{removed:?}");
    }
}
