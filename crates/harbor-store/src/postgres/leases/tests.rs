use harbor_model::id::{EndpointId, EventId};
use harbor_model::port::deliveries::EndpointKey;
use harbor_model::time::Timestamp;
use tokio::sync::mpsc::unbounded_channel;

use super::*;
use crate::conformance::world::SetClock;

const WORKER: fn() -> WorkerId = || WorkerId::from_number(1);

fn delivery(number: u128) -> LeasedDelivery {
    LeasedDelivery {
        key: EndpointKey { tenant_id: "acme".parse().unwrap(), endpoint_id: EndpointId::from_number(1) },
        delivery_id: DeliveryId::from_number(number),
        event_id: EventId::from_number(number),
        attempt_count: 0,
        interrupted_count: 0,
        payload_bytes: 0,
        created_at: Timestamp::from_unix_ms(0),
        replay_of: None,
        new_webhook_id: false,
        is_ordered: false,
        directory_version: 1,
    }
}

fn book() -> (Arc<LeaseBook>, UnboundedReceiver<Freed>) {
    let (given_back, to_free) = unbounded_channel();
    (Arc::new(LeaseBook::new(given_back, Arc::new(SetClock::default()))), to_free)
}

#[test]
fn what_is_dropped_is_freed_once() {
    let (book, mut to_free) = book();
    let lease = book.lend(delivery(1), WORKER(), book.numbers(1));
    let key = lease.key().clone();
    assert!(book.is_out(&key));
    drop(lease);
    book.give_back(key.clone());
    assert!(!book.is_out(&key));
    assert_eq!(to_free.try_recv().unwrap().number, key.number);
    assert!(to_free.try_recv().is_err());
}

#[test]
fn what_is_recorded_is_not_freed() {
    let (book, mut to_free) = book();
    let lease = book.lend(delivery(1), WORKER(), book.numbers(1));
    let key = lease.key().clone();
    book.end(lease);
    book.give_back(key);
    assert!(to_free.try_recv().is_err());
}

#[test]
fn numbers_never_come_again() {
    let (book, _to_free) = book();
    let first = book.numbers(3);
    assert_eq!(book.numbers(1), first + 3);
    assert_eq!(book.numbers(1), first + 4);
}

#[test]
fn a_lease_has_leaked_when_it_was_unknown_twice() {
    let (book, _to_free) = book();
    let held = book.lend(delivery(1), WORKER(), book.numbers(1)).key().number;
    let lease = book.lend(delivery(2), WORKER(), book.numbers(1));
    let kept = lease.key().number;
    // The first was dropped at once; 70 is on its way and 80 has leaked.
    assert_eq!(book.leaked(WORKER(), &[held, kept, 70, 80]), [0; 0]);
    assert_eq!(book.leaked(WorkerId::from_number(2), &[80]), [0; 0], "of another worker it is news");
    assert_eq!(book.leaked(WORKER(), &[kept, 80, 90]), [80]);
    assert_eq!(book.leaked(WORKER(), &[kept]), [0; 0]);
    assert_eq!(book.leaked(WORKER(), &[kept, 90]), [0; 0], "it was not there last time");
}

#[tokio::test]
async fn who_comes_after_a_give_back_waits_for_it() {
    let (book, mut to_free) = book();
    book.settled().await;
    drop(book.lend(delivery(1), WORKER(), book.numbers(1)));
    let mut settling = std::pin::pin!(book.settled());
    tokio::select! {
        biased;
        () = &mut settling => panic!("it is not free yet"),
        _ = to_free.recv() => {}
    }
    book.freed_count.send_modify(|count| *count += 1);
    settling.await;
}
