//! Leases as rows: what becomes of those that nobody knows of.

use harbor_model::id::WorkerId;
use harbor_model::port::deliveries::Deliveries;
use harbor_model::port::workers::Workers;
use tokio_postgres::Client;

use crate::postgres::tests::fresh::{connect, world_at};
use crate::postgres::uuid::Uuid;

/// Leases everything that is open to a worker, past the store: a commit whose answer was lost.
async fn lease_all(tables: &Client, worker: WorkerId) {
    let lease = "INSERT INTO leases (tenant, delivery_id, worker, number, is_started)
                 SELECT tenant, id, $1, 1000000 + row_number() OVER (), false FROM open_deliveries";
    tables.execute(lease, &[&Uuid(worker.number())]).await.unwrap();
}

#[tokio::test]
async fn a_lease_that_nobody_holds_is_freed_when_it_was_seen_twice() {
    let Some((world, url)) = world_at().await else { return };
    let tables = connect(&url).await;
    let tenant = world.tenant("acme").await;
    let (lost, kept) = (world.endpoint(&tenant).await, world.endpoint(&tenant).await);
    let worker = world.worker().await;
    world.owed(&lost).await;
    lease_all(&tables, worker).await;
    world.owed(&kept).await;
    let held = world.lease(worker, &kept, 1).await;
    assert!(world.lease(world.worker().await, &lost, 1).await.is_empty());

    assert_eq!(world.store.reconcile(worker).await.unwrap(), 0);
    assert_eq!(world.store.reconcile(worker).await.unwrap(), 1);
    assert_eq!(world.store.leases_of(worker).await.unwrap(), [held[0].key().clone()]);
    assert_eq!(world.lease(world.worker().await, &lost, 1).await.len(), 1);
}

#[tokio::test]
async fn a_lease_that_came_after_the_funeral_is_freed_by_the_next_beat() {
    let Some((world, url)) = world_at().await else { return };
    let tables = connect(&url).await;
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    world.owed(&endpoint).await;
    let dead = WorkerId::new(world.now(), &*world.rng);
    lease_all(&tables, dead).await;
    let worker = world.worker().await;
    assert!(world.lease(worker, &endpoint, 1).await.is_empty());

    let roll = world.store.beat(worker, world.now()).await.unwrap();
    assert!(roll.is_enlisted);
    assert_eq!(world.store.leases_of(dead).await.unwrap(), []);
    let lease = world.lease(worker, &endpoint, 1).await.remove(0);
    assert_eq!(lease.delivery.interrupted_count, 0);
    world.store.beat(worker, world.now()).await.unwrap();
    assert_eq!(world.store.leases_of(worker).await.unwrap(), [lease.key().clone()], "the living keep theirs");
}
