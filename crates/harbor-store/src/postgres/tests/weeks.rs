//! Weeks past everybody's history: what is needed of them stays, the rest goes, and nobody notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use harbor_model::decide::retry::Next;
use harbor_model::delivery::{Cause, DeadLetterState};
use harbor_model::endpoint::Endpoint;
use harbor_model::id::{DeliveryId, TenantId};
use harbor_model::policy::order::OnDead;
use harbor_model::policy::retention::RetentionLayer;
use harbor_model::port::deliveries::{AttemptResult, Deliveries};
use harbor_model::port::history::{DeliveryFilter, EventFilter, History};
use harbor_model::port::intake::{Intake, Published};
use harbor_model::port::interventions::Interventions;
use harbor_model::port::registry::Tenants;
use harbor_model::port::upkeep::{Replays, Upkeep};
use harbor_model::tenant::{Tenant, TenantPolicy};
use tokio::time::sleep;
use tokio_postgres::Client;

use crate::conformance::World;
use crate::conformance::world::{ALL, DAY, SECOND, done};
use crate::postgres::PostgresStore;
use crate::postgres::tests::eventually;
use crate::postgres::tests::fresh::{connect, world_at};

/// After so long nothing is anybody's history, whichever day of its week it was made.
const OLD: Duration = DAY.saturating_mul(38);

/// The tables of weeks, by name, with how many rows are in each.
async fn weeks(tables: &Client) -> Vec<(String, i64)> {
    let names = "SELECT c.relname::text FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
         WHERE i.inhparent IN ('deliveries_done'::regclass, 'attempts'::regclass, 'events'::regclass)
         ORDER BY c.relname";
    let mut weeks = Vec::new();
    for row in tables.query(names, &[]).await.unwrap() {
        let name: String = row.get(0);
        let count = tables.query_one(&format!("SELECT count(*) FROM {name}"), &[]).await.unwrap().get(0);
        weeks.push((name, count));
    }
    weeks
}

/// How many rows are in all tables of weeks of one kind.
async fn count(tables: &Client, table: &str) -> i64 {
    tables.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await.unwrap().get(0)
}

/// Looks after the database until nothing is left to do.
async fn maintained(world: &World<PostgresStore>) {
    for _ in 0..20 {
        world.store.maintain(world.now()).await.unwrap();
    }
}

/// Kills the delivery at the head of its lane, which it holds.
async fn hold(world: &World<PostgresStore>, endpoint: &Endpoint) {
    let lease = world.lease_one(endpoint).await;
    let result = world.result(lease, 500, Next::Dead(Cause::ClientError));
    world.record(AttemptResult { on_dead: OnDead::Hold, ..result }).await;
}

#[tokio::test]
async fn a_week_of_which_nothing_is_needed_is_dropped() {
    let Some((world, url)) = world_at().await else { return };
    let tables = connect(&url).await;
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    for _ in 0..5 {
        world.delivered(&endpoint).await;
    }
    let before = weeks(&tables).await;
    assert_eq!(before.iter().filter(|(_, count)| *count > 0).count(), 3);
    maintained(&world).await;
    assert_eq!(weeks(&tables).await, before, "it is not their time");

    // Somebody began to replace them, and died.
    for (name, _) in before.iter().filter(|(_, count)| *count > 0) {
        let begin = format!("CREATE TABLE {name}_kept (LIKE {name})");
        tables.batch_execute(&begin).await.unwrap();
    }

    world.clock.advance(OLD);
    maintained(&world).await;
    let after = weeks(&tables).await;
    assert!(after.iter().all(|(_, count)| *count == 0), "{after:?}");
    let copies = "SELECT count(*) FROM pg_class WHERE relname LIKE '%kept'";
    assert_eq!(tables.query_one(copies, &[]).await.unwrap().get::<_, i64>(0), 0);
    for old in before.iter().filter(|(_, count)| *count > 0) {
        assert!(after.iter().all(|(name, _)| *name != old.0), "{} is gone", old.0);
    }
    assert_eq!(count(&tables, "kept_weeks").await, 0);
    assert_eq!(count(&tables, "week_changes").await, 0);
    // What belongs there can still come.
    assert_eq!(world.shown(&tenant, world.delivered(&endpoint).await).await, "delivered [200]");
}

#[tokio::test]
async fn what_is_needed_of_an_old_week_stays_and_can_be_worked_with() {
    let Some((world, url)) = world_at().await else { return };
    let tables = connect(&url).await;
    let tenant = world.tenant("acme").await;
    let (endpoint, lanes) = (world.endpoint(&tenant).await, world.endpoint(&tenant).await);
    let gone = world.delivered(&endpoint).await;
    let (dead, discarded) = (world.dead(&endpoint).await, world.dead(&endpoint).await);
    let head = world.owed_in(&lanes, "a").await;
    hold(&world, &lanes).await;
    let mut half = world.event(&tenant, &[&endpoint, &lanes]);
    half.0.deliveries[1].leased_to = Some(world.worker().await);
    let (half_event, open, finished) = (half.id(), half.0.deliveries[0].id, half.0.deliveries[1].id);
    let lease = world.stored(half).await.remove(0);
    world.finish(lease, 200, Next::Delivered).await;
    let lease = world.lease_one(&endpoint).await;
    world.finish(lease, 500, Next::RetryAt(world.now())).await;

    world.clock.advance(OLD);
    maintained(&world).await;
    for id in [gone, finished] {
        assert_eq!(world.store.find_delivery(&tenant, id).await.unwrap(), None);
    }
    for id in [dead, discarded, head] {
        assert_eq!(world.shown(&tenant, id).await, "dead [500]");
    }
    assert_eq!(world.shown(&tenant, open).await, "failed [500]");
    assert_eq!((count(&tables, "deliveries_done").await, count(&tables, "attempts").await), (3, 4));
    assert_eq!(count(&tables, "events").await, 4);
    assert_eq!(count(&tables, "kept_weeks").await, 3);
    assert_eq!(count(&tables, "week_changes").await, 0);
    let triggers = "SELECT count(*) FROM pg_trigger WHERE tgname = 'note_week_change'";
    assert_eq!(tables.query_one(triggers, &[]).await.unwrap().get::<_, i64>(0), 0);

    // The week is as any other.
    world.store.discard(&tenant, discarded, world.now()).await.unwrap();
    let replay = world.replay(&tenant, dead).await;
    assert!(world.store.expunge(&tenant, half_event, world.now()).await.unwrap());
    assert_eq!(world.shown(&tenant, open).await, "dead [500]");
    let lease = world.lease_one(&endpoint).await;
    assert_eq!(lease.delivery.delivery_id, replay.id);
    world.finish(lease, 200, Next::Delivered).await;

    // It is not touched again and again; but later, and then what was needed no more goes.
    let kept_at = async || -> i64 {
        tables.query_one("SELECT max(kept_at) FROM kept_weeks", &[]).await.unwrap().get(0)
    };
    let before = kept_at().await;
    world.clock.advance(DAY);
    maintained(&world).await;
    assert_eq!(kept_at().await, before);
    world.clock.advance(DAY * 100);
    maintained(&world).await;
    assert!(kept_at().await > before);
    // An event whose replay was in a week that was replaced after its own.
    while world.store.sweep(world.now(), 10).await.unwrap() > 0 {}
    assert_eq!(world.store.find_delivery(&tenant, dead).await.unwrap(), None);
    assert_eq!(world.shown(&tenant, head).await, "dead [500]", "it holds its lane");
    assert_eq!((count(&tables, "deliveries_done").await, count(&tables, "attempts").await), (1, 1));
    assert_eq!(count(&tables, "events").await, 1);
}

/// Has a week copied, then changed, then replaced: the changes must be in what takes its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_while_a_week_is_copied_is_kept_as_it_became() {
    let Some((world, url)) = world_at().await else { return };
    let tables = connect(&url).await;
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let (discarded, replayed) = (world.dead(&endpoint).await, world.dead(&endpoint).await);
    let (late, taken) = (world.owed(&endpoint).await, world.owed(&endpoint).await);
    let shown = world.read(&tenant, taken).await.delivery;
    let delivered = world.delivered(&endpoint).await;
    let week: String = tables
        .query_one("SELECT right(tableoid::regclass::text, 8) FROM events LIMIT 1", &[])
        .await
        .unwrap()
        .get(0);
    for (table, _) in weeks(&tables).await {
        if !table.ends_with(&week) {
            tables.batch_execute(&format!("DROP TABLE {table}")).await.unwrap();
        }
    }
    world.clock.advance(OLD);
    // Somebody reads each table, who keeps everybody from replacing it, until all changes are made.
    let mut readers = Vec::new();
    for table in ["deliveries_done", "attempts", "events"] {
        let reader = connect(&url).await;
        reader.batch_execute(&format!("BEGIN; SELECT count(*) FROM {table}")).await.unwrap();
        readers.push((table, reader));
    }
    let changing = async {
        for (table, reader) in readers {
            eventually("the week is copied", async || {
                let noted = "SELECT 1 FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
                    WHERE t.tgname = 'note_week_change' AND c.relname = $1
                      AND to_regclass(c.relname::text || '_kept') IS NOT NULL";
                let name = format!("{table}_{week}");
                tables.query_opt(noted, &[&name]).await.unwrap().is_some()
            })
            .await;
            // It is tried again and again by now.
            sleep(Duration::from_millis(500)).await;
            let mut leases = world.lease(world.worker().await, &endpoint, 10).await.into_iter();
            match table {
                "deliveries_done" => {
                    world.store.discard(&tenant, discarded, world.now()).await.unwrap();
                    world.replay(&tenant, replayed).await;
                    world.replay(&tenant, delivered).await;
                    let lease = leases.find(|lease| lease.delivery.delivery_id == late).unwrap();
                    world.finish(lease, 500, Next::Dead(Cause::AttemptsExhausted)).await;
                }
                "attempts" => {
                    let lease = leases.find(|lease| lease.delivery.delivery_id == taken).unwrap();
                    world.finish(lease, 500, Next::RetryAt(world.now())).await;
                }
                _ => assert!(world.store.expunge(&tenant, shown.event_id, world.now()).await.unwrap()),
            }
            reader.batch_execute("COMMIT").await.unwrap();
        }
    };
    tokio::join!(maintained(&world), changing);
    maintained(&world).await;
    assert_eq!(world.store.find_delivery(&tenant, delivered).await.unwrap(), None);
    let state = async |id| world.read(&tenant, id).await.delivery.dead_letter.unwrap().state;
    assert_eq!(state(discarded).await, DeadLetterState::Discarded);
    assert_eq!(state(replayed).await, DeadLetterState::Replayed);
    assert_eq!(world.shown(&tenant, late).await, "dead [500]");
    assert_eq!(world.shown(&tenant, taken).await, "dead [500]", "its event was expunged");
    assert_eq!(count(&tables, "week_changes").await, 0);
    // What was replayed meanwhile has its event.
    let leases = world.lease(world.worker().await, &endpoint, 10).await;
    assert_eq!(leases.len(), 2);
    for lease in leases {
        let asks = vec![(tenant.clone(), lease.delivery.event_id)];
        assert!(world.store.load_events(asks).await.unwrap().remove(0).is_some());
    }
    let kept = "SELECT payload IS NULL FROM events WHERE tenant = 1 AND expunged_at IS NOT NULL";
    assert!(tables.query_one(kept, &[]).await.unwrap().get::<_, bool>(0), "it does not come back");
}

/// Publishes, delivers, reads and replays without pause.
async fn bustle(world: &World<PostgresStore>, endpoint: &Endpoint, dead: Vec<DeliveryId>, stop: &AtomicBool) {
    let tenant = &endpoint.tenant_id;
    let mut rounds = 0;
    let mut dead = dead.into_iter();
    while !stop.load(Ordering::SeqCst) || rounds < 20 {
        let draft = world.event(tenant, &[endpoint]).leased_to(world.worker().await);
        let Published::Stored { leases } = world.store.publish(vec![draft.0]).await.remove(0).unwrap() else {
            panic!("not stored")
        };
        for lease in leases {
            world.finish(lease, 200, Next::Delivered).await;
        }
        world.store.events(tenant, EventFilter::default(), ALL).await.unwrap();
        world.store.deliveries(tenant, DeliveryFilter::default(), ALL).await.unwrap();
        if let Some(dead) = dead.next() {
            assert_eq!(world.shown(tenant, dead).await, "dead [500]");
            world.replay(tenant, dead).await;
            let lease = world.lease_one(endpoint).await;
            let asks = vec![(tenant.clone(), lease.delivery.event_id)];
            assert!(world.store.load_events(asks).await.unwrap().remove(0).is_some());
            world.finish(lease, 500, Next::Dead(Cause::AttemptsExhausted)).await;
        }
        rounds += 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_sees_an_error_while_weeks_are_replaced() {
    let Some((world, url)) = world_at().await else { return };
    let tables = connect(&url).await;
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let mut dead = Vec::new();
    for _ in 0..6 {
        for _ in 0..10 {
            world.delivered(&endpoint).await;
            dead.push(world.dead(&endpoint).await);
        }
        world.clock.advance(DAY * 7);
    }
    let dead_count = dead.len();
    let stop = Arc::new(AtomicBool::new(false));
    let maintaining = async {
        maintained(&world).await;
        stop.store(true, Ordering::SeqCst);
    };
    tokio::join!(maintaining, bustle(&world, &endpoint, dead, &stop));
    assert!(count(&tables, "kept_weeks").await > 0);
    let found = world.store.deliveries(&tenant, DeliveryFilter::default(), ALL).await.unwrap().items;
    let first: Vec<_> = found.iter().filter(|found| found.created_at < world.now()).collect();
    assert!(
        first.iter().filter(|found| found.dead_letter.is_some()).count() >= dead_count,
        "{}",
        first.len()
    );
}

#[tokio::test]
async fn one_who_keeps_more_has_all_of_it_and_the_others_do_not() {
    let Some((world, url)) = world_at().await else { return };
    let tables = connect(&url).await;
    let retention = RetentionLayer { history: Some(DAY * 60), dead_letters: None };
    let policy = TenantPolicy { retention, ..TenantPolicy::default() };
    let long = Tenant { policy, ..world.new_tenant("long") };
    let long: TenantId = done(world.store.create_tenant(long).await.unwrap()).id;
    let usual = world.tenant("usual").await;
    let (of_long, of_usual) = (world.endpoint(&long).await, world.endpoint(&usual).await);
    let (kept, gone) = (world.delivered(&of_long).await, world.delivered(&of_usual).await);
    world.clock.advance(OLD);
    maintained(&world).await;
    assert_eq!(count(&tables, "kept_weeks").await, 0, "it is somebody's history");
    while world.store.sweep(world.now(), 10).await.unwrap() > 0 {}
    assert_eq!(world.shown(&long, kept).await, "delivered [200]");
    assert_eq!(world.store.find_delivery(&usual, gone).await.unwrap(), None);
    assert_eq!(count(&tables, "events").await, 1);
    // Nothing is to be done for a while.
    world.delivered(&of_usual).await;
    world.clock.advance(SECOND);
    assert_eq!(world.store.sweep(world.now(), 10).await.unwrap(), 0);
}
