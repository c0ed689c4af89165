use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use harbor_deliver::send::{Request, Sender, Sent};
use harbor_deliver::worker::{Deps, Settings, Worker};
use harbor_model::delivery::{Cause, DeliveryStatus};
use harbor_testkit::world::World;

use super::fleet::{SlowReceivers, beat, eventually, worker};

#[tokio::test]
async fn what_a_silent_worker_holds_goes_on_elsewhere_and_its_late_result_counts_for_nothing() {
    let world = World::new().await;
    world.worker.stop(Duration::ZERO).await;
    let shop = world.endpoint().answers([500, 200]).await;
    let slow = SlowReceivers::new(&world);
    let (silent, line) = worker(&world, slow.clone()).await;
    world.publish("a").await;
    silent.refill().await.unwrap();
    eventually("the request", || slow.in_flight() == 1).await;
    let (witness, witness_line) = worker(&world, world.receivers.clone()).await;
    let before = silent.id();

    line.cut(true);
    for _ in 0..3 {
        beat(&world, &[&witness_line, &line]).await;
        assert_eq!(witness.refill().await.unwrap(), 0, "it may still live");
    }
    beat(&world, &[&witness_line, &line]).await;
    while world.received(&shop).is_empty() {
        witness.refill().await.unwrap();
        tokio::task::yield_now().await;
    }
    witness.idle().await;
    assert_eq!(world.received(&shop).len(), 1, "the other one has sent it");

    slow.answers.add_permits(1);
    silent.idle().await;
    let delivery = world.deliveries(&shop).await[0].clone();
    assert_eq!((delivery.status, delivery.attempt_count), (DeliveryStatus::Failed, 1));
    let told = world.delivery(delivery.id).await;
    let numbers: Vec<_> = told.attempts.iter().map(|attempt| attempt.number).collect();
    assert!(numbers.contains(&Some(1)) && numbers.contains(&None), "one of two counts: {numbers:?}");

    line.cut(false);
    beat(&world, &[&witness_line, &line]).await;
    eventually("a new incarnation", || silent.id() != before).await;
    world.publish("b").await;
    slow.answers.add_permits(10);
    witness.stop(Duration::ZERO).await;
    silent.refill().await.unwrap();
    silent.idle().await;
    let waiting: Vec<_> = world
        .deliveries(&shop)
        .await
        .iter()
        .filter(|delivery| delivery.delivered_at.is_none())
        .cloned()
        .collect();
    assert_eq!(waiting, [], "it delivers as somebody else");
    silent.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn a_worker_that_nobody_confirms_begins_nothing_and_goes_on_by_itself() {
    let world = World::new().await;
    world.worker.stop(Duration::ZERO).await;
    let shop = world.endpoint().policy(|policy| policy.max_in_flight = Some(1)).await;
    let slow = SlowReceivers::new(&world);
    let (lonely, line) = worker(&world, slow.clone()).await;
    let before = lonely.id();
    for _ in 0..3 {
        world.publish("a").await;
    }
    lonely.refill().await.unwrap();
    eventually("the first request", || slow.in_flight() == 1).await;

    line.cut(true);
    for _ in 0..3 {
        beat(&world, &[&line]).await;
    }
    slow.answers.add_permits(10);
    eventually("the first answer", || world.received(&shop).len() == 1).await;
    assert!(lonely.refill().await.is_err(), "nobody confirms it");
    assert_eq!(world.received(&shop).len(), 1, "what it holds stays where it is");

    line.cut(false);
    beat(&world, &[&line]).await;
    eventually("the rest", || world.received(&shop).len() == 3).await;
    lonely.idle().await;
    assert_eq!(lonely.id(), before, "nobody has buried it");
    lonely.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn a_worker_that_stood_still_asks_first_whether_it_still_lives() {
    let world = World::new().await;
    world.worker.stop(Duration::ZERO).await;
    let shop = world.endpoint().policy(|policy| policy.max_in_flight = Some(1)).await;
    let slow = SlowReceivers::new(&world);
    let (frozen, line) = worker(&world, slow.clone()).await;
    for _ in 0..2 {
        world.publish("a").await;
    }
    frozen.refill().await.unwrap();
    eventually("the first request", || slow.in_flight() == 1).await;
    let id = frozen.id();
    line.cut(true);

    // Others have seen it silent, and buried it.
    let roll = world.store.beat(id, world.now()).await.unwrap();
    let count = roll.counts.iter().find(|(worker, _)| *worker == id).unwrap().1;
    assert_eq!(world.store.bury(id, count, world.now()).await.unwrap(), Some(2));
    world.clock.advance(Duration::from_secs(60));
    slow.answers.add_permits(10);
    eventually("the first answer", || world.received(&shop).len() == 1).await;
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.received(&shop).len(), 1, "what it held is no longer its own");

    line.cut(false);
    beat(&world, &[&line]).await;
    frozen.refill().await.unwrap();
    frozen.idle().await;
    assert_ne!(frozen.id(), id);
    assert_eq!(world.received(&shop).len(), 3, "one of them twice");
    frozen.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn a_worker_that_stops_is_struck_off() {
    let world = World::new().await;
    let other = world.another_worker().await;
    let id = other.id();
    let known = async || {
        let roll = world.store.beat(world.worker.id(), world.now()).await.unwrap();
        roll.counts.iter().map(|(worker, _)| *worker).collect::<Vec<_>>()
    };
    assert!(known().await.contains(&id));
    other.stop(Duration::ZERO).await;
    assert_eq!(known().await, [world.worker.id()]);
}

/// A sender with a bug that some requests meet.
struct Broken {
    inner: Arc<dyn Sender>,
    panics: AtomicUsize,
}

#[async_trait]
impl Sender for Broken {
    async fn send(&self, request: Request) -> Sent {
        let is_broken = self
            .panics
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .is_ok();
        assert!(!is_broken, "a bug");
        self.inner.send(request).await
    }
}

/// A world whose worker meets a bug in so many requests.
pub(crate) async fn world_with_a_bug(panics: usize) -> (World, Worker) {
    let world = World::new().await;
    world.worker.stop(Duration::ZERO).await;
    let broken = Broken { inner: world.receivers.clone(), panics: AtomicUsize::new(panics) };
    let deps = Deps { sender: Arc::new(broken), ..world.worker_deps() };
    let worker = Worker::start(deps, Settings::default()).await.unwrap();
    (world, worker)
}

/// Delivers until nothing is due any more.
pub(crate) async fn run(world: &World, worker: &Worker) {
    loop {
        while worker.refill().await.unwrap() > 0 {
            worker.idle().await;
        }
        worker.idle().await;
        let backlog = world.store.backlog(world.now()).await.unwrap();
        let Some(next) = backlog.next_due_at else { return };
        world.clock.advance_to(next);
    }
}

#[tokio::test]
async fn an_attempt_that_broke_off_is_no_attempt_of_the_policy() {
    let (world, worker) = world_with_a_bug(2).await;
    let shop = world.endpoint().attempts(1).await;
    world.publish("a").await;

    run(&world, &worker).await;

    assert_eq!(world.history(&shop).await, ["200", "delivered"]);
    assert_eq!(world.deliveries(&shop).await[0].attempt_count, 1);
    worker.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn a_delivery_that_breaks_every_attempt_dies_and_the_worker_goes_on() {
    let (world, worker) = world_with_a_bug(5).await;
    let shop = world.endpoint().await;
    world.publish("a").await;
    run(&world, &worker).await;
    world.clock.advance(Duration::from_millis(1));
    world.publish("b").await;
    run(&world, &worker).await;

    let ended: Vec<_> = world
        .deliveries(&shop)
        .await
        .iter()
        .map(|delivery| (delivery.status, delivery.dead_letter.map(|letter| letter.cause)))
        .collect();
    assert_eq!(ended, [(DeliveryStatus::Dead, Some(Cause::WorkerCrash)), (DeliveryStatus::Delivered, None)]);
    assert_eq!(world.received(&shop).len(), 1);
    worker.stop(Duration::ZERO).await;
}
