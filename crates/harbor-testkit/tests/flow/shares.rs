use std::time::Duration;

use harbor_deliver::lanes;
use harbor_deliver::worker::{Deps, Settings, Worker};
use harbor_model::policy::RateLimit;
use harbor_testkit::world::{Shop, World};

use super::fleet::{SlowReceivers, beat, eventually, worker};

#[tokio::test]
async fn two_workers_keep_a_limit_in_flight_together() {
    for limit in [1, 4, 5] {
        let world = World::new().await;
        world.worker.stop(Duration::ZERO).await;
        let shop = world.endpoint().policy(|policy| policy.max_in_flight = Some(limit)).await;
        let slow = SlowReceivers::new(&world);
        let (first, first_line) = worker(&world, slow.clone()).await;
        let (second, second_line) = worker(&world, slow.clone()).await;
        beat(&world, &[&first_line, &second_line]).await;
        for _ in 0..20 {
            world.publish("a").await;
        }
        let limit = usize::try_from(limit).unwrap();
        while world.received(&shop).len() < 20 {
            first.refill().await.unwrap();
            second.refill().await.unwrap();
            let (taken, left) = (world.received(&shop).len(), 20 - world.received(&shop).len());
            // What one has taken last is not for the other, though that one may send more.
            let is_all_taken = world.store.backlog(world.now()).await.unwrap().due == 0;
            let is_enough = |in_flight| in_flight == limit.min(left) || (is_all_taken && in_flight > 0);
            eventually("all that the limit allows", || is_enough(slow.in_flight())).await;
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            assert!(slow.in_flight() <= limit, "{} of {limit}", slow.in_flight());
            slow.answers.add_permits(1);
            eventually("an answer", || world.received(&shop).len() > taken).await;
        }
        first.idle().await;
        second.idle().await;
        first.stop(Duration::ZERO).await;
        second.stop(Duration::ZERO).await;
    }
}

#[tokio::test]
async fn two_workers_keep_a_rate_together_and_one_that_is_left_has_all_of_it() {
    let world = World::new().await;
    world.worker.stop(Duration::ZERO).await;
    let limit = RateLimit { per_second: 10, burst: 10 };
    let shop = world.endpoint().policy(|policy| policy.rate_limit = Some(limit)).await;
    let (first, first_line) = worker(&world, world.receivers.clone()).await;
    let (second, second_line) = worker(&world, world.receivers.clone()).await;
    beat(&world, &[&first_line, &second_line]).await;
    for _ in 0..80 {
        world.publish("a").await;
    }
    first.refill().await.unwrap();
    second.refill().await.unwrap();
    eventually("the burst", || world.received(&shop).len() == 10).await;
    let sent = sent_within(&world, &shop, &[&first, &second], 2).await;
    // A store that takes time of its own, while the clock moves on, leaves some tokens unused.
    assert!((12..=21).contains(&sent), "{sent} in two seconds at 10/s");

    second.stop(Duration::ZERO).await;
    beat(&world, &[&first_line]).await;
    sent_within(&world, &shop, &[&first], 1).await;
    let sent = sent_within(&world, &shop, &[&first], 2).await;
    assert!((12..=21).contains(&sent), "{sent} in two seconds by one alone");
    sent_within(&world, &shop, &[&first], 10).await;
    eventually("everything", || world.received(&shop).len() == 80).await;
    first.idle().await;
    first.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn every_endpoint_has_its_turn_though_there_is_room_for_one_delivery() {
    let world = World::new().await;
    world.worker.stop(Duration::ZERO).await;
    let mut shops = Vec::new();
    for _ in 0..7 {
        shops.push(world.endpoint().await);
    }
    for _ in 0..5 {
        world.publish("a").await;
    }
    let slow = SlowReceivers::new(&world);
    let lanes =
        lanes::Settings { items_max: 1, tenant_items_max: 1, endpoints_max: 2, ..lanes::Settings::default() };
    let settings = Settings { lanes, refill_endpoints: 3, ..Settings::default() };
    let deps = Deps { sender: slow.clone(), ..world.worker_deps() };
    let worker = Worker::start(deps, settings).await.unwrap();

    let counts = || shops.iter().map(|shop| world.received(shop).len()).collect::<Vec<_>>();
    for sent in 0..35 {
        worker.refill().await.unwrap();
        eventually("a request", || slow.in_flight() == 1).await;
        slow.answers.add_permits(1);
        eventually("its answer", || counts().iter().sum::<usize>() > sent).await;
        let (least, most) = (*counts().iter().min().unwrap(), *counts().iter().max().unwrap());
        assert!(most - least <= 2, "after {sent}: {:?}", counts());
    }
    assert_eq!(counts(), [5; 7]);
    worker.idle().await;
    worker.stop(Duration::ZERO).await;
}

/// Lets so many seconds pass in small steps; answers how many requests came.
async fn sent_within(world: &World, shop: &Shop, workers: &[&Worker], seconds: u32) -> usize {
    let before = world.received(shop).len();
    for _ in 0..seconds * 20 {
        world.clock.advance(Duration::from_millis(50));
        for worker in workers {
            worker.refill().await.unwrap();
        }
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }
    world.received(shop).len() - before
}
