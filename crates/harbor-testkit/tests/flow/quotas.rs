use std::time::Duration;

use bytes::Bytes;
use harbor_ingest::publish::{PublishReceipt, PublishRefusal};
use harbor_ingest::quota::{self, QuotaStanding, QuotaWindow};
use harbor_ingest::request::PublishRequest;
use harbor_model::id::WorkerId;
use harbor_model::policy::RateLimit;
use harbor_testkit::world::World;

const HOUR: Duration = Duration::from_secs(3600);

/// From the beginning of a world to the next midnight of UTC.
const TO_MIDNIGHT: Duration = Duration::from_secs(16 * 3600);

async fn with_rate(per_second: u32, burst: u32) -> World {
    let world = World::new().await;
    world.change_tenant(|tenant| tenant.policy.quota.rate = Some(RateLimit { per_second, burst })).await;
    world
}

async fn with_day(per_day: u64) -> World {
    let world = World::new().await;
    world.change_tenant(|tenant| tenant.policy.quota.per_day = Some(per_day)).await;
    world
}

fn request(key: Option<&str>) -> PublishRequest {
    PublishRequest {
        event_type: "invoice.paid".to_owned(),
        payload: Bytes::from_static(b"{}"),
        idempotency_key: key.map(str::to_owned),
        ..PublishRequest::default()
    }
}

/// The standing that an event was refused with; none for one that was taken.
fn refused(result: Result<PublishReceipt, PublishRefusal>) -> Option<QuotaStanding> {
    match result {
        Ok(_) => None,
        Err(PublishRefusal::QuotaExceeded(standing)) => Some(standing),
        Err(other) => panic!("the event is refused otherwise: {other:?}"),
    }
}

async fn take(world: &World, count: usize) {
    for _ in 0..count {
        assert_eq!(refused(world.try_publish(request(None)).await), None);
    }
}

#[tokio::test]
async fn a_quota_of_a_second_is_refilled_by_the_second() {
    let world = with_rate(2, 5).await;
    let shop = world.endpoint().await;
    take(&world, 5).await;

    let standing = refused(world.try_publish(request(None)).await).unwrap();
    assert_eq!((standing.window, standing.limit, standing.remaining), (QuotaWindow::Second, 2, 0));
    assert_eq!(standing.reset, Duration::from_millis(500));
    world.advance(standing.reset - Duration::from_millis(1)).await;
    assert!(refused(world.try_publish(request(None)).await).is_some());
    world.advance(Duration::from_millis(1)).await;
    take(&world, 1).await;

    world.run_until_idle().await;
    assert_eq!(world.received(&shop).len(), 6, "what was refused leaves nothing behind");
}

#[tokio::test]
async fn a_quota_of_a_day_begins_anew_at_midnight_of_utc() {
    let world = with_day(3).await;
    take(&world, 2).await;
    world.advance(TO_MIDNIGHT - HOUR).await;
    take(&world, 1).await;

    let standing = refused(world.try_publish(request(None)).await).unwrap();
    assert_eq!((standing.window, standing.limit, standing.remaining), (QuotaWindow::Day, 3, 0));
    assert_eq!(standing.reset, HOUR);
    world.advance(HOUR - Duration::from_millis(1)).await;
    assert!(refused(world.try_publish(request(None)).await).is_some());
    world.advance(Duration::from_millis(1)).await;
    take(&world, 3).await;
    assert!(refused(world.try_publish(request(None)).await).is_some());
}

#[tokio::test]
async fn a_duplicate_takes_nothing_of_a_quota() {
    let world = with_day(2).await;

    for _ in 0..5 {
        assert_eq!(refused(world.try_publish(request(Some("first"))).await), None);
    }
    assert_eq!(refused(world.try_publish(request(Some("second"))).await), None);

    assert!(refused(world.try_publish(request(Some("third"))).await).is_some());
}

#[tokio::test]
async fn what_is_refused_otherwise_takes_nothing_of_a_quota() {
    let world = with_day(1).await;
    let invalid = PublishRequest { event_type: "no type".to_owned(), ..request(None) };
    for _ in 0..3 {
        let result = world.try_publish(invalid.clone()).await;
        assert!(matches!(result, Err(PublishRefusal::Invalid(_))), "{result:?}");
    }
    take(&world, 1).await;
}

#[tokio::test]
async fn of_a_batch_so_many_are_taken_as_the_quota_has() {
    let world = with_rate(1, 3).await;
    let shop = world.endpoint().await;

    let results = world.publisher.publish_batch(&world.tenant, vec![request(None); 5]).await;
    world.run_until_idle().await;

    let is_refused: Vec<_> = results.into_iter().map(|result| refused(result).is_some()).collect();
    assert_eq!(is_refused, [false, false, false, true, true]);
    assert_eq!(world.received(&shop).len(), 3);
}

#[tokio::test]
async fn two_processes_count_one_day() {
    let world = with_day(4).await;
    let other = world.another_publisher();
    let node = |publisher: &harbor_ingest::publish::Publisher| quota::Deps {
        quotas: world.store.clone(),
        meter: publisher.meter().clone(),
        clock: world.clock.clone(),
        node: WorkerId::new(world.now(), &*world.rng),
    };
    let nodes = [node(&world.publisher), node(&other)];
    take(&world, 2).await;
    for _ in 0..2 {
        assert_eq!(refused(other.publish(&world.tenant, request(None)).await), None);
    }

    // Each says what it took; after another word each knows what all took.
    for _ in 0..2 {
        for node in &nodes {
            quota::settle(node).await.unwrap();
        }
    }
    let standing = |publisher: &harbor_ingest::publish::Publisher| {
        let (publisher, tenant) = (publisher.clone(), world.tenant.clone());
        async move { publisher.quota_standing(&tenant).await.unwrap().unwrap().remaining }
    };

    assert_eq!(standing(&other).await, 0, "the one that spoke last knows all");
    assert!(refused(other.publish(&world.tenant, request(None)).await).is_some());
}

#[tokio::test]
async fn operational_events_and_replays_take_nothing_of_a_quota() {
    let world = with_day(1).await;
    let shop = world.endpoint().answers([400, 200]).await;
    let watcher = world.endpoint().wants(["harborhook.*"]).await;
    take(&world, 1).await;
    world.settle().await;

    world.upkeep().await;
    let dead = world.deliveries(&shop).await[0].id;
    world.replay(dead).await.unwrap();
    world.settle().await;

    assert_eq!(world.received(&watcher).len(), 1);
    assert_eq!(world.received(&shop).len(), 2);
}

#[tokio::test]
async fn another_quota_holds_at_once() {
    let world = with_day(1).await;
    take(&world, 1).await;
    assert!(refused(world.try_publish(request(None)).await).is_some());

    world.change_tenant(|tenant| tenant.policy.quota.per_day = Some(3)).await;
    take(&world, 2).await;
    assert!(refused(world.try_publish(request(None)).await).is_some());
    world.change_tenant(|tenant| tenant.policy.quota.per_day = None).await;
    take(&world, 10).await;
}
