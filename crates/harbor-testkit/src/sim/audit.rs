//! The whole store against the ledger: what is there, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use harbor_model::delivery::{Cause, Delivery, DeliveryStatus, DeliveryWithAttempts};
use harbor_model::id::{EventId, TenantId};
use harbor_model::port::history::{DeliveryFilter, EventFilter};
use harbor_model::port::page::PageAsk;
use harbor_store::Store;

use crate::sim::ledger::requests::Ending;
use crate::sim::ledger::results::seq_of;
use crate::sim::ledger::{Books, Ledger};

/// More than a run makes of anything.
const ALL: PageAsk = PageAsk { limit: 5_000, after: None };

/// After so many deaths of its workers a delivery may be dead of them.
const DEATHS_MIN: usize = 5;

/// Reads everything and holds it against the ledger, which learns what upkeep has ended.
pub(crate) async fn audit(store: &Arc<dyn Store>, books: &Books, tenants: &[TenantId]) {
    let mut seen = BTreeSet::new();
    let mut events = BTreeSet::new();
    for tenant in tenants {
        let page = store.events(tenant, EventFilter::default(), ALL).await.expect("the store answers");
        let found: BTreeSet<EventId> = page.items.iter().map(|event| event.id).collect();
        {
            let mut ledger = books.open();
            let of_tenant = ledger.events.iter().filter(|(_, event)| event.tenant == *tenant);
            let known: BTreeSet<_> = of_tenant.map(|(id, _)| *id).collect();
            let known: BTreeSet<_> =
                known.into_iter().filter(|id| found.contains(id) || !ledger.was_swept(*id)).collect();
            ledger.hold(known == found, || {
                let lost: Vec<_> = known.difference(&found).collect();
                let strange: Vec<_> = found.difference(&known).collect();
                format!("{tenant} lost the events {lost:?} and has {strange:?} that nobody published")
            });
        }
        events.extend(found.iter().copied());
        for id in found {
            let filter = DeliveryFilter::default();
            let page = store.deliveries_of_event(tenant, id, filter, ALL).await.expect("the store answers");
            let mut ledger = books.open();
            // What became of the known ones first: a replay is made of one that has ended.
            let is_known = |one: &&DeliveryWithAttempts| ledger.deliveries.contains_key(&one.delivery.id);
            let (known, new): (Vec<_>, Vec<_>) = page.items.iter().rev().partition(is_known);
            for one in known.into_iter().chain(new) {
                seen.insert(one.delivery.id);
                learn_replay(&mut ledger, one);
                check(&mut ledger, tenant, id, one);
            }
        }
    }
    let mut ledger = books.open();
    ledger.forget_swept(&seen, &events);
    let lost: Vec<_> = ledger.deliveries.iter().filter(|(id, _)| !seen.contains(id)).collect();
    let lost: Vec<_> = lost.iter().map(|(_, delivery)| delivery.label.clone()).collect();
    ledger.hold(lost.is_empty(), || format!("deliveries are lost: {lost:?}"));
}

/// Learns of a replay that a job has made. It replays nothing twice.
fn learn_replay(ledger: &mut Ledger, one: &DeliveryWithAttempts) {
    let DeliveryWithAttempts { delivery, .. } = one;
    let Some(of) = delivery.replay_of else { return };
    if ledger.deliveries.contains_key(&delivery.id) {
        return;
    }
    let earlier = ledger.deliveries.values().find(|known| known.replay_of == Some(of));
    let earlier = earlier.map(|known| known.label.clone());
    ledger.hold(earlier.is_none(), || format!("a job replays {of} again, after {earlier:?}"));
    ledger.replayed(delivery.id, of, delivery.created_at);
}

fn check(ledger: &mut Ledger, tenant: &TenantId, event: EventId, one: &DeliveryWithAttempts) {
    let DeliveryWithAttempts { delivery, attempts: _ } = one;
    let Some(known) = ledger.deliveries.get(&delivery.id) else {
        return ledger.violated(format!("{} of {tenant} is one that nobody made", delivery.id));
    };
    let label = known.label.clone();
    let is_same = known.tenant == *tenant
        && delivery.tenant_id == *tenant
        && known.event == event
        && known.endpoint == delivery.endpoint_id
        && known.replay_of == delivery.replay_of;
    ledger.hold(is_same, || format!("{label} has become another delivery"));
    check_status(ledger, &label, delivery);
    check_attempts(ledger, &label, one);
}

fn check_status(ledger: &mut Ledger, label: &str, delivery: &Delivery) {
    let known = &ledger.deliveries[&delivery.id];
    let (before, due_at, was_final) = (known.status, known.due_at, known.is_final());
    let now = delivery.status;
    let is_final =
        matches!(now, DeliveryStatus::Delivered | DeliveryStatus::Dead | DeliveryStatus::Cancelled);
    // A delivery that is being sent shows no next time.
    let shows_time = !is_final && now != DeliveryStatus::Inflight;
    let is_behind = known.lane.is_some() && now == DeliveryStatus::Queued;
    ledger.hold(shows_time == delivery.next_attempt_at.is_some() || is_behind, || {
        format!("{label} is {now} and due at {:?}", delivery.next_attempt_at)
    });
    if was_final {
        return ledger.hold(before == now, || format!("{label} was {before} and is {now}"));
    }
    if !is_final {
        let is_due = !shows_time || is_behind || delivery.next_attempt_at == due_at;
        return ledger.hold(is_due, || {
            format!("{label} is due at {:?} instead of {due_at:?}", delivery.next_attempt_at)
        });
    }
    let endpoint = &ledger.endpoints[&delivery.endpoint_id];
    let may_end = match (now, delivery.dead_letter.map(|dead| dead.cause)) {
        (DeliveryStatus::Cancelled, None) => {
            endpoint.is_deleted || ledger.cancelling.contains(&delivery.tenant_id)
        }
        (DeliveryStatus::Dead, Some(Cause::EndpointDisabled)) => endpoint.was_disabled,
        (DeliveryStatus::Dead, Some(Cause::WorkerCrash)) => ledger.deaths >= DEATHS_MIN,
        _ => false,
    };
    ledger.hold(may_end, || format!("{label} has become {now} by itself: {:?}", delivery.dead_letter));
    ledger.note(format_args!("{label} has become {now}"));
    ledger.taken_away(delivery.id, now, delivery.updated_at);
}

fn check_attempts(ledger: &mut Ledger, label: &str, one: &DeliveryWithAttempts) {
    let DeliveryWithAttempts { delivery, attempts } = one;
    let counted = ledger.deliveries[&delivery.id].attempts;
    ledger.hold(delivery.attempt_count == counted, || {
        format!("{label} counts {} attempts of {counted}", delivery.attempt_count)
    });
    let mut numbers: Vec<_> = attempts.iter().filter_map(|attempt| attempt.number).collect();
    numbers.sort_unstable();
    let is_whole = numbers.iter().copied().eq(1..=counted);
    ledger.hold(is_whole, || format!("the attempts of {label} are {numbers:?}, not 1 to {counted}"));

    let mut told = BTreeMap::new();
    for attempt in attempts {
        let Some(seq) = seq_of(attempt).filter(|seq| *seq < ledger.requests.len()) else {
            ledger.violated(format!("an attempt of {label} tells of no request"));
            continue;
        };
        let is_first = told.insert(seq, attempt.number).is_none();
        ledger.hold(is_first, || format!("#{seq} stands twice among the attempts of {label}"));
        let request = &ledger.requests[seq];
        let expected = if attempt.number.is_some() { Ending::Recorded } else { Ending::Superseded };
        let fits = request.delivery == delivery.id
            && request.ending == expected
            && attempt.number.is_none_or(|number| number == request.number);
        ledger.hold(fits, || format!("#{seq} stands wrongly among the attempts of {label}"));
    }
    let of_delivery = ledger.requests.iter().enumerate().filter(|(_, request)| {
        request.delivery == delivery.id && matches!(request.ending, Ending::Recorded | Ending::Superseded)
    });
    let missing: Vec<_> = of_delivery.map(|(seq, _)| seq).filter(|seq| !told.contains_key(seq)).collect();
    ledger.hold(missing.is_empty(), || format!("{label} has no record of the requests {missing:?}"));
}
