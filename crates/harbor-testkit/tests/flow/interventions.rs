use std::sync::Arc;
use std::time::Duration;

use harbor_deliver::worker::Worker;
use harbor_ingest::request::PublishRequest;
use harbor_model::delivery::{Cause, Delivery, DeliveryStatus};
use harbor_model::job::JobStatus;
use harbor_model::port::history::DeliveryFilter;
use harbor_recover::dead_letters::ReplayRefusal;
use harbor_recover::interventions::InterventionRefusal;
use harbor_testkit::receivers::Answer;
use harbor_testkit::world::{Shop, World};

use super::fleet::{SlowReceivers, eventually, worker};

const SECOND: Duration = Duration::from_secs(1);

/// A worker with one request in flight to a slow endpoint, and another delivery waiting in its memory.
struct Jam {
    world: World,
    shop: Shop,
    slow: Arc<SlowReceivers>,
    worker: Worker,
    in_flight: Delivery,
    waiting: Delivery,
}

impl Jam {
    async fn new() -> Self {
        let world = World::new().await;
        let shop = world.endpoint().policy(|policy| policy.max_in_flight = Some(1)).await;
        world.worker.stop(Duration::ZERO).await;
        let slow = SlowReceivers::new(&world);
        let (worker, _line) = worker(&world, slow.clone()).await;
        let in_flight = world.publish_in_order("k", "in flight").await;
        worker.refill().await.unwrap();
        eventually("the first request", || slow.in_flight() == 1).await;
        let waiting = world.publish_in_order("k", "waiting").await;
        worker.refill().await.unwrap();
        assert_eq!(worker.held().items, 2);
        let (in_flight, waiting) = (world.delivery_of(in_flight).await, world.delivery_of(waiting).await);
        // What was lent this long ago is looked after before it is sent.
        world.clock.advance(2 * SECOND);
        Self { world, shop, slow, worker, in_flight, waiting }
    }

    /// Lets everything be answered.
    async fn go_on(&self) {
        self.slow.answers.add_permits(10);
        self.worker.idle().await;
        self.refill().await;
    }

    /// Sends whatever is due.
    async fn refill(&self) {
        while self.worker.refill().await.unwrap() > 0 {
            self.worker.idle().await;
        }
        self.worker.idle().await;
    }

    /// Lets the worker see what has changed, while the first request is in flight.
    async fn refill_while_in_flight(&self) {
        self.worker.refill().await.unwrap();
        assert_eq!(self.slow.in_flight(), 1);
    }

    async fn end(self) {
        assert_eq!(self.worker.held().items, 0);
        self.worker.stop(Duration::ZERO).await;
    }
}

#[tokio::test]
async fn what_is_cancelled_while_it_waits_with_a_worker_is_never_sent() {
    let jam = Jam::new().await;
    let cancelled = jam.world.interventions().cancel(&jam.world.tenant, jam.waiting.id).await.unwrap();
    jam.go_on().await;

    assert_eq!(cancelled.status, DeliveryStatus::Cancelled);
    assert_eq!(jam.world.bodies(&jam.shop), ["in flight"]);
    assert_eq!(jam.world.delivery(jam.waiting.id).await.delivery.status, DeliveryStatus::Cancelled);
    jam.end().await;
}

#[tokio::test]
async fn what_is_cancelled_in_flight_stays_so_whatever_comes_of_it() {
    let jam = Jam::new().await;
    jam.world.interventions().cancel(&jam.world.tenant, jam.in_flight.id).await.unwrap();
    jam.go_on().await;

    let told = jam.world.delivery(jam.in_flight.id).await;
    assert_eq!((told.delivery.status, told.delivery.attempt_count), (DeliveryStatus::Cancelled, 0));
    let attempts: Vec<_> =
        told.attempts.iter().map(|attempt| (attempt.number, attempt.http_status)).collect();
    assert_eq!(attempts, [(None, Some(200))], "it was sent, and counts for nothing");
    jam.end().await;
}

#[tokio::test]
async fn what_is_cancelled_between_attempts_is_tried_no_more() {
    let world = World::new().await;
    let shop = world.endpoint().answers([500]).await;
    world.publish("a").await;
    world.settle().await;
    let failed = world.deliveries(&shop).await[0].id;

    world.interventions().cancel(&world.tenant, failed).await.unwrap();
    world.advance(3600 * SECOND).await;

    assert_eq!(world.history(&shop).await, ["500", "cancelled"]);
    let again = world.interventions().cancel(&world.tenant, failed).await;
    assert!(matches!(again, Err(InterventionRefusal::Final(DeliveryStatus::Cancelled))), "{again:?}");
}

#[tokio::test]
async fn the_next_one_of_a_lane_goes_once_its_head_is_cancelled() {
    let world = World::new().await;
    let shop = world.endpoint().ordered_by_key().answers([500, 200]).await;
    let head = world.publish_in_order("k", "1").await;
    let behind = world.publish_in_order("k", "2").await;
    world.publish_in_order("k", "3").await;
    world.settle().await;
    let (head, behind) = (world.delivery_of(head).await, world.delivery_of(behind).await);

    world.interventions().cancel(&world.tenant, behind.id).await.unwrap();
    world.settle().await;
    assert_eq!(world.bodies(&shop), ["1"], "the head stays");
    world.interventions().cancel(&world.tenant, head.id).await.unwrap();
    world.settle().await;

    assert_eq!(world.bodies(&shop), ["1", "3"]);
}

#[tokio::test]
async fn what_waits_for_days_is_tried_now_and_spends_the_attempt_that_would_have_come() {
    let world = World::new().await;
    let shop = world.endpoint().answers([500]).attempts(3).waits([5 * 24 * 3600 * SECOND]).await;
    world.publish("a").await;
    world.settle().await;
    let failed = world.deliveries(&shop).await[0].id;

    for attempts in 2..=3 {
        world.advance(SECOND).await;
        let due = world.interventions().retry(&world.tenant, failed).await.unwrap();
        assert_eq!((due.status, due.next_attempt_at), (DeliveryStatus::Failed, Some(world.now())));
        world.settle().await;
        assert_eq!(world.received(&shop).len(), attempts);
    }

    assert_eq!(world.history(&shop).await, ["500", "500", "500", "dead"]);
    let again = world.interventions().retry(&world.tenant, failed).await;
    assert!(matches!(again, Err(InterventionRefusal::Final(DeliveryStatus::Dead))), "{again:?}");
}

#[tokio::test]
async fn who_stands_behind_a_head_is_not_tried_before_it() {
    let world = World::new().await;
    let shop = world.endpoint().ordered_by_key().answers([500]).await;
    world.publish_in_order("k", "1").await;
    let behind = world.publish_in_order("k", "2").await;
    world.settle().await;
    let behind = world.delivery_of(behind).await.id;

    let refused = world.interventions().retry(&world.tenant, behind).await;
    world.settle().await;

    assert!(matches!(refused, Err(InterventionRefusal::Behind)), "{refused:?}");
    assert_eq!(world.bodies(&shop), ["1"]);
}

#[tokio::test]
async fn trying_now_is_held_by_a_pause() {
    let world = World::new().await;
    let shop = world.endpoint().answers([500, 200]).waits([3600 * SECOND]).await;
    world.publish("a").await;
    world.settle().await;
    world.change(&shop, |endpoint| endpoint.paused = true).await;

    let failed = world.deliveries(&shop).await[0].id;
    world.interventions().retry(&world.tenant, failed).await.unwrap();
    world.settle().await;
    assert_eq!(world.received(&shop).len(), 1);
    world.change(&shop, |endpoint| endpoint.paused = false).await;
    world.settle().await;

    assert_eq!(world.history(&shop).await, ["500", "200", "delivered"]);
}

#[tokio::test]
async fn a_payload_that_is_expunged_while_it_waits_with_a_worker_is_never_sent() {
    let jam = Jam::new().await;
    jam.world.interventions().expunge(&jam.world.tenant, jam.waiting.event_id).await.unwrap();
    jam.go_on().await;

    assert_eq!(jam.world.bodies(&jam.shop), ["in flight"]);
    let dead = jam.world.delivery(jam.waiting.id).await.delivery;
    assert_eq!(dead.dead_letter.map(|letter| letter.cause), Some(Cause::EventExpired));
    let refused = jam.world.replay(jam.waiting.id).await;
    assert!(matches!(refused, Err(ReplayRefusal::Expired)), "{refused:?}");
    let event = jam.world.store.find_event(&jam.world.tenant, jam.waiting.event_id).await.unwrap().unwrap();
    assert!(event.body.payload.is_empty());
    jam.end().await;
}

#[tokio::test]
async fn an_event_that_is_expunged_in_flight_is_dead_whatever_comes_of_it() {
    let jam = Jam::new().await;
    for _ in 0..2 {
        jam.world.interventions().expunge(&jam.world.tenant, jam.in_flight.event_id).await.unwrap();
    }
    jam.go_on().await;

    let told = jam.world.delivery(jam.in_flight.id).await;
    assert_eq!(told.delivery.dead_letter.map(|letter| letter.cause), Some(Cause::EventExpired));
    assert_eq!(told.attempts[0].number, None);
    jam.end().await;
}

#[tokio::test]
async fn what_was_delivered_stays_delivered_when_its_payload_is_expunged() {
    let world = World::new().await;
    let shop = world.endpoint().answers([Answer::Status(200)]).await;
    let event = world.publish("a").await;
    world.settle().await;

    world.interventions().expunge(&world.tenant, event).await.unwrap();

    assert_eq!(world.history(&shop).await, ["200", "delivered"]);
    let delivered = world.deliveries(&shop).await[0].id;
    assert!(matches!(world.replay(delivered).await, Err(ReplayRefusal::Expired)));
}

#[tokio::test]
async fn a_job_calls_off_what_waits_with_a_worker_and_what_is_in_flight() {
    let jam = Jam::new().await;
    let job = jam.world.jobs().start_cancel(&jam.world.tenant, DeliveryFilter::default()).await.unwrap();
    while !jam.world.job(&job).await.status.is_final() {
        let next_at = jam.world.step_jobs().await;
        jam.world.clock.advance_to(next_at);
    }
    jam.go_on().await;

    assert_eq!(jam.world.job(&job).await.counts.succeeded, 2);
    assert_eq!(jam.world.bodies(&jam.shop), ["in flight"]);
    for delivery in jam.world.deliveries(&jam.shop).await {
        assert_eq!((delivery.status, delivery.attempt_count), (DeliveryStatus::Cancelled, 0));
    }
    jam.end().await;
}

#[tokio::test]
async fn what_is_cancelled_leaves_its_place_to_others() {
    let jam = Jam::new().await;
    for delivery in [&jam.waiting, &jam.in_flight] {
        jam.world.interventions().cancel(&jam.world.tenant, delivery.id).await.unwrap();
    }
    let next = jam.world.publish_in_order("k", "next").await;

    jam.go_on().await;

    assert_eq!(jam.world.bodies(&jam.shop), ["in flight", "next"]);
    assert_eq!(jam.world.delivery_of(next).await.status, DeliveryStatus::Delivered);
    jam.end().await;
}

#[tokio::test]
async fn trying_now_what_is_in_flight_changes_nothing() {
    let jam = Jam::new().await;

    for delivery in [&jam.in_flight, &jam.waiting] {
        jam.world.interventions().retry(&jam.world.tenant, delivery.id).await.unwrap();
    }
    jam.go_on().await;

    assert_eq!(jam.world.bodies(&jam.shop), ["in flight", "waiting"]);
    jam.end().await;
}

#[tokio::test]
async fn what_waits_with_a_worker_is_held_by_a_pause() {
    let jam = Jam::new().await;
    jam.world.change(&jam.shop, |endpoint| endpoint.paused = true).await;
    jam.refill_while_in_flight().await;
    jam.go_on().await;
    assert_eq!(jam.world.bodies(&jam.shop), ["in flight"]);

    jam.world.change(&jam.shop, |endpoint| endpoint.paused = false).await;
    jam.refill().await;
    assert_eq!(jam.world.bodies(&jam.shop), ["in flight", "waiting"]);
    jam.end().await;
}

#[tokio::test]
async fn what_waits_with_a_worker_is_not_sent_to_an_endpoint_that_was_deleted() {
    let jam = Jam::new().await;
    let world = &jam.world;
    world.store.delete_endpoint(&world.tenant, jam.shop.id, None, world.now()).await.unwrap();
    jam.refill_while_in_flight().await;
    jam.go_on().await;
    world.upkeep().await;

    assert_eq!(world.bodies(&jam.shop), ["in flight"]);
    assert_eq!(world.delivery(jam.waiting.id).await.delivery.status, DeliveryStatus::Cancelled);
    jam.end().await;
}

#[tokio::test]
async fn nothing_is_sent_for_a_tenant_that_was_deleted_and_late_results_harm_nobody() {
    let jam = Jam::new().await;
    let job = jam.world.delete_tenant(&jam.world.tenant).await;
    for _ in 0..5 {
        jam.world.step_jobs().await;
        jam.world.clock.advance(SECOND);
    }
    jam.go_on().await;
    for _ in 0..60 {
        jam.world.step_jobs().await;
        jam.world.clock.advance(SECOND);
    }

    assert_eq!(jam.world.bodies(&jam.shop), ["in flight"]);
    assert_eq!(jam.world.job(&job).await.status, JobStatus::Done);
    jam.end().await;
}

#[tokio::test]
async fn what_is_scheduled_is_called_off_or_tried_before_its_time() {
    let world = World::new().await;
    let shop = world.endpoint().await;
    let scheduled = |payload: &'static str| PublishRequest {
        event_type: "later".to_owned(),
        payload: payload.into(),
        deliver_at: Some(world.now() + 3600 * SECOND),
        ..PublishRequest::default()
    };
    let [off, now, then] = ["off", "now", "then"].map(scheduled);
    let off = world.try_publish(off).await.unwrap().event_id;
    let now = world.try_publish(now).await.unwrap().event_id;
    world.try_publish(then).await.unwrap();

    let off = world.delivery_of(off).await.id;
    let now = world.delivery_of(now).await.id;
    world.interventions().cancel(&world.tenant, off).await.unwrap();
    world.interventions().retry(&world.tenant, now).await.unwrap();
    world.settle().await;
    assert_eq!(world.bodies(&shop), ["now"]);
    world.advance(3600 * SECOND).await;

    assert_eq!(world.bodies(&shop), ["now", "then"]);
}
