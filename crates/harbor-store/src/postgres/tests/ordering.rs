//! Ordered lanes and cancelled deliveries, where several statements or processes are at them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use harbor_model::decide::retry::Next;
use harbor_model::id::{DeliveryId, WorkerId};
use harbor_model::policy::order::OnDead;
use harbor_model::port::deliveries::{AttemptResult, Deliveries, Finish, LeaseAsk};
use harbor_model::port::intake::{Intake, Published};
use harbor_model::port::interventions::{Intervened, Interventions};
use harbor_model::port::observer::NoObserver;
use harbor_model::port::workers::Workers;

use crate::Store;
use crate::conformance::World;
use crate::conformance::world::{DAY, SECOND, key_of};
use crate::postgres::tests::beside;
use crate::postgres::tests::fresh::{Database, connect, settings, world_at};
use crate::postgres::{PostgresStore, Settings};
use crate::seal::MasterKey;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_joins_its_lanes_in_its_order_however_many_statements_it_takes() {
    let Some(database) = Database::fresh().await else { return };
    let url = database.url();
    let world = World::new(async |clock, rng| {
        let settings = Settings { batch_items_max: 8, publishers: 4, ..settings(&url) };
        let key = MasterKey::from_bytes([7; 32]);
        let open = PostgresStore::open(settings, key, clock, rng, Arc::new(NoObserver));
        (open.await.unwrap(), database)
    })
    .await;
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let mut batch = Vec::new();
    for place in 0..300 {
        let draft = world.event(&tenant, &[&endpoint]);
        let draft = if place % 5 == 0 { draft } else { draft.in_lane(["a", "b"][place % 2]) };
        batch.push(draft.0);
    }
    let mut expected: HashMap<String, Vec<DeliveryId>> = HashMap::new();
    for delivery in batch.iter().flat_map(|event| &event.deliveries) {
        if let Some(lane) = &delivery.lane {
            expected.entry(lane.to_string()).or_default().push(delivery.id);
        }
    }
    // Another tenant's are not kept waiting by it, and come in between.
    let other = world.tenant("zebra").await;
    let others = (0..100).map(|_| world.event(&other, &[]).0).collect();
    let (answers, between) = tokio::join!(world.store.publish(batch), world.store.publish(others));
    for answer in answers.into_iter().chain(between) {
        assert!(matches!(answer, Ok(Published::Stored { .. })), "{answer:?}");
    }

    let tables = connect(&url).await;
    for (lane, expected) in expected {
        let sql = "SELECT id, lane_number, due_at IS NOT NULL FROM open_deliveries
                   WHERE lane_key = $1 ORDER BY lane_number";
        let rows = tables.query(sql, &[&lane]).await.unwrap();
        let found: Vec<DeliveryId> = rows
            .iter()
            .map(|row| DeliveryId::from_number(row.get::<_, crate::postgres::uuid::Uuid>(0).0))
            .collect();
        assert_eq!(found, expected, "lane {lane}");
        for (row, number) in rows.iter().zip(1..) {
            assert_eq!((row.get::<_, i64>(1), row.get::<_, bool>(2)), (number, number == 1));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_deliver_from_the_same_lanes_keep_their_order() {
    const LANES: usize = 6;
    const EACH: usize = 12;
    let Some((world, url)) = world_at().await else { return };
    let other = beside(&world, &url).await;
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let mut place_of = HashMap::new();
    for place in 0..EACH {
        for lane in 0..LANES {
            let draft = world.event(&tenant, &[&endpoint]).in_lane(&format!("lane {lane}"));
            place_of.insert(draft.delivery(), (lane, place));
            // By turns through one process and the other.
            let store = if place % 2 == 0 { &world.store } else { &other };
            let answer = store.publish(vec![draft.0]).await.remove(0);
            assert!(matches!(answer, Ok(Published::Stored { .. })), "{answer:?}");
        }
    }
    let finished = AtomicUsize::new(0);
    let deliver = async |store: &PostgresStore| {
        let worker = WorkerId::new(world.now(), &*world.rng);
        store.enlist(worker, world.now()).await.unwrap();
        let mut delivered = Vec::new();
        while finished.load(Ordering::SeqCst) < LANES * EACH {
            let ask = LeaseAsk { key: key_of(&endpoint), count: 4 };
            let leases = store.lease(worker, world.now(), vec![ask]).await.unwrap();
            let results: Vec<_> = leases
                .into_iter()
                .map(|lease| {
                    let order = finished.fetch_add(1, Ordering::SeqCst);
                    delivered.push((order, lease.delivery.delivery_id));
                    world.result(lease, 200, Next::Delivered)
                })
                .collect();
            for finish in store.finish(results).await {
                assert!(matches!(finish, Ok(Finish::Recorded { .. })), "{finish:?}");
            }
        }
        delivered
    };
    let (ours, theirs) = tokio::join!(deliver(&world.store), deliver(&other));
    let mut delivered = [ours, theirs].concat();
    delivered.sort_unstable();
    let mut next = [0; LANES];
    for (_, id) in delivered {
        let (lane, place) = place_of[&id];
        assert_eq!(place, next[lane], "in lane {lane}");
        next[lane] += 1;
    }
    let left = connect(&url).await.query_one("SELECT count(*) FROM lanes", &[]).await.unwrap();
    assert_eq!(left.get::<_, i64>(0), 0);
    other.close().await;
}

#[tokio::test]
async fn what_another_process_cancelled_is_not_held_any_more() {
    let Some((world, url)) = world_at().await else { return };
    let other = beside(&world, &url).await;
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let (cancelled, kept) = (world.owed(&endpoint).await, world.owed(&endpoint).await);
    let leases = world.lease(world.worker().await, &endpoint, 2).await;
    world.clock.advance(SECOND);
    let done = other.cancel(&tenant, cancelled, world.now()).await.unwrap();
    assert!(matches!(done, Intervened::Done(_)), "{done:?}");
    let (store, keys) = (&world.store, [leases[0].key(), leases[1].key()]);
    let (first, second, again) =
        tokio::join!(store.is_held(keys[0]), store.is_held(keys[1]), store.is_held(keys[0]));
    let held = [first.unwrap(), second.unwrap()];
    assert_eq!(again.unwrap(), held[0]);
    let expected: Vec<_> = leases.iter().map(|lease| lease.delivery.delivery_id == kept).collect();
    assert_eq!(held.as_slice(), expected);
    for lease in leases {
        let is_kept = lease.delivery.delivery_id == kept;
        let finish = world.finish(lease, 200, Next::Delivered).await;
        assert_eq!(finish == Finish::Superseded, !is_kept);
    }
    assert_eq!(world.shown(&tenant, cancelled).await, "cancelled [200]");
    other.close().await;
}

/// A worker says that it will try again while others end the delivery: it stays ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_ended_meanwhile_is_not_brought_back_by_a_retry() {
    let Some((world, url)) = world_at().await else { return };
    let other = beside(&world, &url).await;
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    for round in 0..40 {
        let id =
            if round % 2 == 0 { world.owed(&endpoint).await } else { world.owed_in(&endpoint, "a").await };
        let lease = world.lease_one(&endpoint).await;
        let retry = AttemptResult {
            on_dead: OnDead::Hold,
            ..world.result(lease, 500, Next::RetryAt(world.now() + DAY))
        };
        let (finish, cancelled) = tokio::join!(world.record(retry), other.cancel(&tenant, id, world.now()));
        assert!(matches!(cancelled.unwrap(), Intervened::Done(_)));
        assert_eq!(world.shown(&tenant, id).await, "cancelled [500]", "{finish:?}");
        assert_eq!(world.due(&endpoint).await, []);
    }
    let sql = "SELECT (SELECT count(*) FROM open_deliveries) + (SELECT count(*) FROM lanes)
                    + (SELECT count(*) FROM leases)";
    let left = connect(&url).await.query_one(sql, &[]).await.unwrap();
    assert_eq!(left.get::<_, i64>(0), 0);
    other.close().await;
}
