//! What tenants published of their quota, counted by the day of UTC.

use harbor_model::id::{TenantId, WorkerId};
use harbor_model::port::quotas::Usage;

use crate::conformance::world::{DAY, SECOND, Store, World};

async fn count<S: Store>(world: &World<S>, node: WorkerId, taken: &[(&TenantId, u64)]) -> Usage {
    let taken = taken.iter().map(|(tenant, count)| ((*tenant).clone(), *count)).collect();
    world.store.count_usage(node, taken, world.now()).await.unwrap()
}

fn new_node<S: Store>(world: &World<S>) -> WorkerId {
    WorkerId::new(world.now(), &*world.rng)
}

pub async fn what_is_taken_adds_up<S: Store>(world: &World<S>) {
    let (acme, zebra) = (world.tenant("acme").await, world.tenant("zebra").await);
    let node = new_node(world);
    assert_eq!(count(world, node, &[]).await, Usage { nodes: 1, of_day: vec![] });
    assert_eq!(count(world, node, &[(&acme, 0)]).await, Usage { nodes: 1, of_day: vec![0] });
    assert_eq!(count(world, node, &[(&acme, 5), (&zebra, 7)]).await.of_day, [5, 7]);
    assert_eq!(count(world, node, &[(&zebra, 1), (&acme, 2)]).await.of_day, [8, 7], "in their order");
    assert_eq!(count(world, node, &[(&acme, 0), (&zebra, 0)]).await.of_day, [7, 8]);
    let large = u64::from(u32::MAX);
    assert_eq!(count(world, node, &[(&acme, large)]).await.of_day, [7 + large]);
}

pub async fn what_all_processes_take_adds_up<S: Store>(world: &World<S>) {
    let acme = world.tenant("acme").await;
    let (one, other) = (new_node(world), new_node(world));
    assert_eq!(count(world, one, &[(&acme, 3)]).await.of_day, [3]);
    assert_eq!(count(world, other, &[(&acme, 4)]).await.of_day, [7]);
    let usage = count(world, one, &[(&acme, 0)]).await;
    assert_eq!(usage.of_day, [7]);
    assert!(usage.nodes >= 1, "the one that asks is counted");
}

pub async fn each_day_is_counted_from_nothing<S: Store>(world: &World<S>) {
    let acme = world.tenant("acme").await;
    let node = new_node(world);
    // To the last second of the day.
    let of_day_ms = world.now().unix_ms() % 86_400_000;
    let rest = DAY - std::time::Duration::from_millis(of_day_ms.unsigned_abs());
    assert_eq!(count(world, node, &[(&acme, 3)]).await.of_day, [3]);
    world.clock.advance(rest - SECOND);
    assert_eq!(count(world, node, &[(&acme, 4)]).await.of_day, [7]);
    world.clock.advance(SECOND);
    assert_eq!(count(world, node, &[(&acme, 5)]).await.of_day, [5]);
    world.clock.advance(DAY);
    assert_eq!(count(world, node, &[(&acme, 0)]).await.of_day, [0]);
}

pub async fn a_tenant_that_nobody_knows_has_taken_nothing<S: Store>(world: &World<S>) {
    let acme = world.tenant("acme").await;
    let nobody = "nobody".parse().unwrap();
    let node = new_node(world);
    assert_eq!(count(world, node, &[(&nobody, 5), (&acme, 3), (&nobody, 0)]).await.of_day, [0, 3, 0]);
}
