use harbor_model::id::{EndpointId, EventId};
use harbor_model::port::deliveries::EndpointKey;
use harbor_model::time::Timestamp;

use super::*;

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

const WORKER: fn(u128) -> WorkerId = WorkerId::from_number;

/// A table with two workers.
fn table() -> Arc<LeaseTable> {
    let table = Arc::new(LeaseTable::default());
    table.enlist(WORKER(1));
    table.enlist(WORKER(2));
    table
}

#[test]
fn what_ended_during_a_refill_is_not_lent_by_it() {
    let table = table();
    let held = table.lend_new(delivery(1), WORKER(1)).unwrap();

    // The snapshot is taken now; then the holder's end is committed and it lets go.
    let refill = table.refill();
    assert!(table.close_in(held.key()));
    table.end(held.key());
    held.settle();
    assert!(!refill.is_free(DeliveryId::from_number(1)));
    assert!(refill.lend(delivery(1), WORKER(2)).is_none(), "its snapshot is too old to know");
    assert!(refill.lend(delivery(2), WORKER(2)).is_some());
    drop(refill);

    // What the next one sees as due is due again.
    assert!(table.refill().lend(delivery(1), WORKER(2)).is_some());
}

#[test]
fn what_was_given_back_during_a_refill_is_lent_by_it() {
    let table = table();
    let held = table.lend_new(delivery(1), WORKER(1)).unwrap();
    let refill = table.refill();
    assert!(refill.lend(delivery(1), WORKER(2)).is_none());
    drop(held);
    assert!(refill.lend(delivery(1), WORKER(2)).is_some());
}

#[test]
fn a_lease_whose_end_is_being_committed_cannot_be_taken_away() {
    let table = table();
    let held = table.lend_new(delivery(1), WORKER(1)).unwrap();
    let key = held.key().clone();
    assert!(table.close_in(&key));
    table.give_back(key.clone());
    assert!(table.is_leased(key.delivery_id));

    // The commit failed: now it can.
    table.reopen(&key);
    drop(held);
    assert!(!table.is_leased(key.delivery_id));
    assert!(!table.close_in(&key), "it was lost");
}

#[test]
fn a_seizure_keeps_lenders_away_and_is_nobodys_lease() {
    let table = table();
    let (tenant, id) = ("acme".parse().unwrap(), DeliveryId::from_number(1));
    let seized = table.seize(&tenant, id).unwrap();
    assert!(table.seize(&tenant, id).is_none());
    assert!(!table.is_leased(id));
    assert_eq!(table.leased_of(&tenant), []);
    let refill = table.refill();
    assert!(refill.lend(delivery(1), WORKER(1)).is_none());
    drop(seized);
    assert!(refill.lend(delivery(1), WORKER(1)).is_none(), "its end may be committed");
    drop(refill);
    assert!(table.refill().lend(delivery(1), WORKER(1)).is_some());
}

#[test]
fn numbers_tell_the_leases_of_one_delivery_apart() {
    let table = table();
    let first = table.lend_new(delivery(1), WORKER(1)).unwrap();
    let old = first.key().clone();
    drop(first);
    let second = table.lend_new(delivery(1), WORKER(1)).unwrap();
    assert_ne!(second.key().number, old.number);
    table.give_back(old.clone());
    table.end(&old);
    assert!(table.is_leased(old.delivery_id));
    assert_eq!(table.leases_of(WORKER(1)), [second.key().clone()]);
}

#[test]
fn what_is_being_committed_is_left_to_its_author_when_its_holder_is_buried() {
    let table = table();
    let [closing, failing, held] =
        [1, 2, 3].map(|number| table.lend_new(delivery(number), WORKER(1)).unwrap());
    let others = table.lend_new(delivery(4), WORKER(2)).unwrap();
    assert!(table.close_in(closing.key()));
    assert!(table.close_in(failing.key()));
    assert!(table.note_start(held.key()));

    assert!(table.bury(WORKER(1), 1).is_none(), "its counter stands at 0");
    let bereft = table.bury(WORKER(1), 0).unwrap();
    let taken: Vec<_> = bereft.iter().map(|one| (one.id(), one.is_started)).collect();
    assert_eq!(taken, [(DeliveryId::from_number(3), true)]);
    assert!(!table.close_in(held.key()), "it was lost");
    assert!(table.refill().lend(delivery(3), WORKER(2)).is_none(), "its interruption is not counted yet");
    drop(bereft);
    assert!(table.refill().lend(delivery(3), WORKER(2)).is_some());

    // One commit succeeds and the other fails; either way the lease ends.
    table.end(closing.key());
    closing.settle();
    table.reopen(failing.key());
    drop(failing);
    assert_eq!(table.leases_of(WORKER(1)), []);
    assert_eq!(table.leases_of(WORKER(2)), [others.key().clone()]);
}

#[test]
fn who_is_not_enlisted_holds_nothing() {
    let table = table();
    assert!(table.lend_new(delivery(1), WORKER(3)).is_none());
    assert!(table.refill().lend(delivery(1), WORKER(3)).is_none());
    let held = table.lend_new(delivery(1), WORKER(1)).unwrap();
    table.discharge(WORKER(1));
    assert!(!table.is_leased(held.key().delivery_id));
    assert!(table.refill().lend(delivery(1), WORKER(1)).is_none());
}

#[test]
fn who_takes_a_delivery_away_keeps_lenders_away_and_its_holder_has_lost_it() {
    let table = table();
    let (tenant, id) = ("acme".parse().unwrap(), DeliveryId::from_number(1));
    let held = table.lend_new(delivery(1), WORKER(1)).unwrap();
    assert!(table.stands(held.key()));

    let seized = table.take_away(&tenant, id).unwrap();
    assert!(!table.stands(held.key()));
    assert!(!table.close_in(held.key()), "it was lost");
    assert!(!table.is_leased(id));
    let refill = table.refill();
    assert!(refill.lend(delivery(1), WORKER(2)).is_none());
    // What the loser does with its lease touches nobody else's.
    drop(held);
    assert!(refill.lend(delivery(1), WORKER(2)).is_none());
    drop(seized);
    assert!(refill.lend(delivery(1), WORKER(2)).is_none(), "its end may be committed since its snapshot");
    drop(refill);

    // What nobody holds is taken as well.
    let seized = table.take_away(&tenant, id).unwrap();
    assert!(table.take_away(&tenant, id).is_none(), "somebody ends it already");
    drop(seized);
    assert!(table.refill().lend(delivery(1), WORKER(2)).is_some());
}

#[test]
fn a_lease_whose_end_is_being_committed_is_not_taken_away() {
    let table = table();
    let tenant = "acme".parse().unwrap();
    let held = table.lend_new(delivery(1), WORKER(1)).unwrap();
    assert!(table.close_in(held.key()));
    assert!(table.take_away(&tenant, DeliveryId::from_number(1)).is_none());
    assert!(table.stands(held.key()));
}
