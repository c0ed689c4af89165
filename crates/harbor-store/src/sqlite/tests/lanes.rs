//! The rows of ordered lanes: none stays behind that nobody can see.

use harbor_model::decide::retry::Next;
use harbor_model::delivery::Cause;
use harbor_model::endpoint::Endpoint;
use harbor_model::policy::order::OnDead;
use harbor_model::port::deliveries::AttemptResult;
use harbor_model::port::registry::Endpoints;
use harbor_model::port::upkeep::Upkeep;

use super::in_directory;
use crate::conformance::World;
use crate::conformance::world::done;
use crate::sqlite::SqliteStore;

/// Tries the head of the lane, which dies of it and holds the lane.
async fn hold(world: &World<SqliteStore>, endpoint: &Endpoint) {
    let lease = world.lease_one(endpoint).await;
    let result = world.result(lease, 500, Next::Dead(Cause::AttemptsExhausted));
    world.record(AttemptResult { on_dead: OnDead::Hold, ..result }).await;
}

async fn lane_count(world: &World<SqliteStore>) -> u64 {
    let count =
        |conn: &rusqlite::Connection| Ok(conn.query_row("SELECT count(*) FROM lanes", [], |row| row.get(0))?);
    world.store.database.read(count).await.unwrap()
}

async fn delete(world: &World<SqliteStore>, endpoint: &Endpoint) {
    done(world.store.delete_endpoint(&endpoint.tenant_id, endpoint.id, None, world.now()).await.unwrap());
}

#[tokio::test]
async fn a_lane_that_a_dead_head_holds_goes_with_its_endpoint() {
    let world = in_directory(tempfile::tempdir().unwrap()).await;
    let tenant = world.tenant("acme").await;
    let (deleted, kept) = (world.endpoint(&tenant).await, world.endpoint(&tenant).await);
    for endpoint in [&deleted, &kept] {
        world.owed_in(endpoint, "a").await;
        hold(&world, endpoint).await;
    }
    assert_eq!(lane_count(&world).await, 2);
    delete(&world, &deleted).await;
    assert_eq!(lane_count(&world).await, 1);
}

#[tokio::test]
async fn a_held_lane_of_a_deleted_endpoint_goes_with_the_last_who_waits_in_it() {
    let world = in_directory(tempfile::tempdir().unwrap()).await;
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    world.owed_in(&endpoint, "a").await;
    hold(&world, &endpoint).await;
    for _ in 0..2 {
        world.owed_in(&endpoint, "a").await;
    }
    delete(&world, &endpoint).await;
    for (left, lanes) in [(1, 1), (0, 0)] {
        assert_eq!(world.store.end_orphans(world.now(), 1).await.unwrap(), 1);
        assert_eq!(lane_count(&world).await, lanes, "{left} wait");
    }
}
