//! Open dead letters, counted.

use harbor_model::decide::retry::Next;
use harbor_model::delivery::Cause;
use harbor_model::endpoint::Endpoint;
use harbor_model::port::history::{DeadLetterGroup, DeadLetterSummary};

use crate::conformance::world::{RECORDED, SECOND, Store, World};

async fn die<S: Store>(world: &World<S>, endpoint: &Endpoint, cause: Cause) {
    let draft = world.event(&endpoint.tenant_id, &[endpoint]).leased_to(world.worker().await);
    let lease = world.stored(draft).await.remove(0);
    assert_eq!(world.finish(lease, 500, Next::Dead(cause)).await, RECORDED);
}

pub async fn where_nothing_is_dead_nothing_is_counted<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    world.delivered(&endpoint).await;
    world.owed(&endpoint).await;
    let empty = DeadLetterSummary { groups: Vec::new(), is_complete: true };
    assert_eq!(world.store.dead_letter_summary(&tenant).await.unwrap(), empty);
    let nobody = "nobody".parse().unwrap();
    assert_eq!(world.store.dead_letter_summary(&nobody).await.unwrap(), empty);
}

pub async fn open_dead_letters_are_counted_by_endpoint_and_cause<S: Store>(world: &World<S>) {
    let (acme, zebra) = (world.tenant("acme").await, world.tenant("zebra").await);
    let (one, other) = (world.endpoint(&acme).await, world.endpoint(&acme).await);
    let of_zebra = world.endpoint(&zebra).await;
    let began = world.now();
    for _ in 0..3 {
        die(world, &one, Cause::AttemptsExhausted).await;
        world.clock.advance(SECOND);
    }
    for _ in 0..2 {
        die(world, &other, Cause::AttemptsExhausted).await;
    }
    die(world, &one, Cause::ClientError).await;
    die(world, &of_zebra, Cause::ClientError).await;
    // What people have dealt with does not count.
    let (replayed, discarded) = (world.dead(&one).await, world.dead(&one).await);
    world.replay(&acme, replayed).await;
    world.store.discard(&acme, discarded, world.now()).await.unwrap();

    let group = |endpoint: &Endpoint, cause, count, first, last| DeadLetterGroup {
        endpoint_id: endpoint.id,
        cause,
        count,
        first_dead_at: began + SECOND * first,
        last_dead_at: began + SECOND * last,
    };
    let groups = vec![
        group(&one, Cause::AttemptsExhausted, 3, 0, 2),
        group(&other, Cause::AttemptsExhausted, 2, 3, 3),
        group(&one, Cause::ClientError, 1, 3, 3),
    ];
    let summary = world.store.dead_letter_summary(&acme).await.unwrap();
    assert_eq!(summary, DeadLetterSummary { groups, is_complete: true });
    let groups = vec![group(&of_zebra, Cause::ClientError, 1, 3, 3)];
    let summary = world.store.dead_letter_summary(&zebra).await.unwrap();
    assert_eq!(summary, DeadLetterSummary { groups, is_complete: true });
}
