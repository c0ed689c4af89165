//! How a sweep goes about what stays for long.

use harbor_model::decide::retry::Next;
use harbor_model::id::{EventId, TenantId};
use harbor_model::port::history::History;
use harbor_model::port::upkeep::Upkeep;
use rusqlite::Connection;

use crate::conformance::world::{DAY, SECOND, World};
use crate::sqlite::SqliteStore;
use crate::sqlite::sweep::{REST, STAYING_FEW, STAYING_SEEN_AGAIN};
use crate::sqlite::tests::{DATABASE, in_directory};

/// Sweeps until a walk has ended.
async fn sweep(world: &World<SqliteStore>) -> usize {
    world.clock.advance(REST);
    let mut removed = 0;
    for _ in 0..20 {
        removed += world.store.sweep(world.now(), 100).await.unwrap();
    }
    removed
}

async fn has_event(world: &World<SqliteStore>, tenant: &TenantId, id: EventId) -> bool {
    world.store.find_event(tenant, id).await.unwrap().is_some()
}

#[tokio::test]
async fn where_much_stays_it_is_not_looked_at_again_each_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(DATABASE);
    let world = in_directory(directory).await;
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let (first, ended) = (world.event(&tenant, &[]), world.event(&tenant, &[&endpoint]));
    let (first_id, ended_id) = (first.id(), ended.id());
    let ended = ended.leased_to(world.worker().await);
    world.stored(first).await;
    let lease = world.stored(ended).await.remove(0);
    // Many that are open, as where an endpoint is paused for weeks.
    let conn = Connection::open(path).unwrap();
    conn.execute_batch("BEGIN").unwrap();
    let many = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
        INSERT INTO events (tenant, id, event_type, fan_out_count, trace_id, span_id, trace_sampled)
        SELECT e.tenant, CAST(substr(e.id, 1, 6) || randomblob(10) AS BLOB), 'a', 1, e.trace_id, e.span_id, 0 FROM events AS e, n
        WHERE e.id = ?2";
    let key = (STAYING_FEW, first_id.number().to_be_bytes());
    assert_eq!(conn.execute(many, key).unwrap(), STAYING_FEW);
    let owed = "INSERT INTO deliveries (tenant, id, event_id, endpoint_id, event_type, payload_bytes, status,
            attempt_count, interrupted_count, due_at, updated_at, new_webhook_id)
        SELECT tenant, id, id, ?1, 'a', 0, 'queued', 0, 0, 9000000000000, 0, 0 FROM events WHERE event_type = 'a'";
    assert_eq!(conn.execute(owed, [endpoint.id.number().to_be_bytes()]).unwrap(), STAYING_FEW);
    conn.execute_batch("COMMIT").unwrap();
    let young = world.event(&tenant, &[]);
    let young_id = young.id();
    world.clock.advance(DAY);
    let later = world.event(&tenant, &[]);
    let later_id = later.id();
    world.stored(later).await;
    world.stored(young).await;

    world.clock.advance(DAY * 30 - DAY / 2);
    assert_eq!(sweep(&world).await, 2, "both that have no delivery");
    assert!(!has_event(&world, &tenant, first_id).await && !has_event(&world, &tenant, young_id).await);
    assert!(has_event(&world, &tenant, later_id).await);

    // What ends behind the walk waits until all is looked at again; what grows old does not.
    world.finish(lease, 200, Next::Delivered).await;
    let seen_at = world.now();
    assert_eq!(sweep(&world).await, 0);
    assert!(has_event(&world, &tenant, ended_id).await);
    assert!(world.now().since(seen_at) < STAYING_SEEN_AGAIN);
    world.clock.advance(STAYING_SEEN_AGAIN);
    assert_eq!(sweep(&world).await, 3, "an event, its delivery and its attempt");
    assert!(!has_event(&world, &tenant, ended_id).await);
    world.clock.advance(DAY / 2);
    assert_eq!(sweep(&world).await, 1);
    assert!(!has_event(&world, &tenant, later_id).await);
}

#[tokio::test]
async fn a_sweep_rests_between_two_walks() {
    let world = in_directory(tempfile::tempdir().unwrap()).await;
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    assert_eq!(world.store.sweep(world.now(), 100).await.unwrap(), 0);
    let lease_of_old = world.event(&tenant, &[&endpoint]).leased_to(world.worker().await);
    let lease = world.stored(lease_of_old).await.remove(0);
    world.clock.advance(DAY * 31);
    assert_eq!(world.store.sweep(world.now(), 100).await.unwrap(), 0, "it is open");
    world.finish(lease, 200, Next::Delivered).await;
    world.clock.advance(REST - SECOND);
    assert_eq!(world.store.sweep(world.now(), 100).await.unwrap(), 0);
    world.clock.advance(SECOND);
    assert_eq!(world.store.sweep(world.now(), 100).await.unwrap(), 3);
}
