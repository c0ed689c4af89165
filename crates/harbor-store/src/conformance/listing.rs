//! Lists and single things of the history.

use std::time::Duration;

use harbor_model::decide::retry::Next;
use harbor_model::delivery::{Cause, DeadLetterState, DeliveryStatus};
use harbor_model::id::{DeliveryId, EventId};
use harbor_model::port::history::{DeadLetterFilter, DeliveryFilter, EventFilter};
use harbor_model::port::page::PAGE_ROWS_READ_MAX;
use harbor_model::time::Timestamp;

use crate::conformance::world::{ALL, SECOND, Store, World, walk};

pub async fn events_are_listed_newest_first_and_each_once<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let mut expected = Vec::new();
    for _ in 0..25 {
        let draft = world.event(&tenant, &[]);
        expected.insert(0, draft.id());
        world.stored(draft).await;
        world.clock.advance(SECOND);
    }
    let list = async |ask| world.store.events(&tenant, EventFilter::default(), ask).await.unwrap();
    for limit in [1, 7, 25, 100] {
        let (found, _) = walk(limit, list).await;
        let ids: Vec<_> = found.iter().map(|event| event.id).collect();
        assert_eq!(ids, expected, "{limit} at a time");
    }
}

pub async fn events_are_found_by_what_is_asked_for<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let began = world.now();
    for (name, event_type, key) in
        [("a", "invoice.paid", None), ("b", "invoice.sent", Some("k-1")), ("c", "invoice.paid", Some("k-2"))]
    {
        let mut draft = world.event(&tenant, &[]).of_type(event_type).payload(name.as_bytes());
        draft = if let Some(key) = key { draft.key(key, 1) } else { draft };
        world.stored(draft).await;
        world.clock.advance(SECOND);
    }
    let check = async |filter: EventFilter, expected: &str| {
        let list = async |ask| world.store.events(&tenant, filter.clone(), ask).await.unwrap();
        let (found, _) = walk(1, list).await;
        let mut names = String::new();
        for event in &found {
            let event = world.store.find_event(&tenant, event.id).await.unwrap().unwrap();
            names.push_str(std::str::from_utf8(&event.body.payload).unwrap());
        }
        assert_eq!(names, expected, "{filter:?}");
        for event in found {
            assert_eq!((event.payload_bytes, event.fan_out_count, event.occurred_at), (1, 0, None));
        }
    };
    let any = EventFilter::default;
    check(any(), "cba").await;
    check(EventFilter { event_type: Some("invoice.paid".parse().unwrap()), ..any() }, "ca").await;
    check(EventFilter { event_type: Some("invoice".parse().unwrap()), ..any() }, "").await;
    check(EventFilter { idempotency_key: Some("k-1".to_owned()), ..any() }, "b").await;
    check(EventFilter { idempotency_key: Some("k".to_owned()), ..any() }, "").await;
    check(EventFilter { since: Some(began + SECOND), ..any() }, "cb").await;
    check(EventFilter { until: Some(began + SECOND), ..any() }, "a").await;
    check(EventFilter { since: Some(began + SECOND), until: Some(began + SECOND * 2), ..any() }, "b").await;
    check(EventFilter { since: Some(began + SECOND), until: Some(began + SECOND), ..any() }, "").await;
}

pub async fn deliveries_are_listed_newest_first_and_each_once<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let (one, other) = (world.endpoint(&tenant).await, world.endpoint(&tenant).await);
    let mut expected = Vec::new();
    for position in 0..30 {
        let endpoint = if position % 3 == 0 { &one } else { &other };
        expected.insert(0, world.owed(endpoint).await);
        world.clock.advance(Duration::from_millis(1));
    }
    for limit in [1, 7, 30] {
        let list = async |ask| world.store.deliveries(&tenant, DeliveryFilter::default(), ask).await.unwrap();
        let (found, _) = walk(limit, list).await;
        let ids: Vec<_> = found.iter().map(|delivery| delivery.id).collect();
        assert_eq!(ids, expected, "{limit} at a time");
        let filter = DeliveryFilter { endpoint_id: Some(one.id), ..DeliveryFilter::default() };
        let list = async |ask| world.store.deliveries(&tenant, filter.clone(), ask).await.unwrap();
        assert_eq!(walk(limit, list).await.0.len(), 10);
    }
}

pub async fn what_comes_meanwhile_does_not_disturb_a_list<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let mut expected = Vec::new();
    for _ in 0..20 {
        expected.insert(0, world.owed(&endpoint).await);
        world.clock.advance(SECOND);
    }
    let list = async |ask| {
        let page = world.store.deliveries(&tenant, DeliveryFilter::default(), ask).await.unwrap();
        for _ in 0..5 {
            world.owed(&endpoint).await;
        }
        page
    };
    let (found, _) = walk(3, list).await;
    let ids: Vec<_> = found.iter().map(|delivery| delivery.id).collect();
    assert_eq!(ids, expected);
}

pub async fn deliveries_are_found_by_what_is_asked_for<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let (one, other) = (world.endpoint(&tenant).await, world.endpoint(&tenant).await);
    let began = world.now();
    let step = || world.clock.advance(SECOND);
    let delivered = world.delivered(&one).await;
    step();
    let dead = world.dead(&other).await;
    step();
    let failed = world.owed(&one).await;
    let lease = world.lease_one(&one).await;
    world.finish(lease, 500, Next::RetryAt(world.now() + SECOND * 1_000)).await;
    step();
    let draft =
        world.event(&tenant, &[&one, &other]).of_type("order.made").due_at(world.now() + SECOND * 1_000);
    let event_id = draft.id();
    let [to_one, to_other] = [0, 1].map(|position: usize| draft.0.deliveries[position].id);
    world.stored(draft).await;
    step();
    let born = world.event(&tenant, &[&one]).leased_to(world.worker().await);
    let inflight = born.delivery();
    let _held = world.stored(born).await;

    let check = async |filter: DeliveryFilter, expected: &[DeliveryId]| {
        for limit in [1, 100] {
            let list = async |ask| world.store.deliveries(&tenant, filter.clone(), ask).await.unwrap();
            let (found, _) = walk(limit, list).await;
            let mut ids: Vec<_> = found.iter().map(|delivery| delivery.id).collect();
            assert!(ids.is_sorted_by(|newer, older| newer > older), "{filter:?}");
            let mut expected = expected.to_vec();
            ids.sort_unstable();
            expected.sort_unstable();
            assert_eq!(ids, expected, "{filter:?}");
        }
    };
    let any = DeliveryFilter::default;
    let of_status = |status| DeliveryFilter { status: Some(status), ..any() };
    check(any(), &[delivered, dead, failed, to_one, to_other, inflight]).await;
    check(of_status(DeliveryStatus::Delivered), &[delivered]).await;
    check(of_status(DeliveryStatus::Dead), &[dead]).await;
    check(of_status(DeliveryStatus::Failed), &[failed]).await;
    check(of_status(DeliveryStatus::Queued), &[to_one, to_other]).await;
    check(of_status(DeliveryStatus::Inflight), &[inflight]).await;
    check(of_status(DeliveryStatus::Cancelled), &[]).await;
    let of_other = DeliveryFilter { endpoint_id: Some(other.id), ..any() };
    check(of_other.clone(), &[dead, to_other]).await;
    check(DeliveryFilter { status: Some(DeliveryStatus::Dead), ..of_other.clone() }, &[dead]).await;
    check(DeliveryFilter { status: Some(DeliveryStatus::Inflight), ..of_other }, &[]).await;
    check(DeliveryFilter { event_id: Some(event_id), ..any() }, &[to_one, to_other]).await;
    check(DeliveryFilter { event_id: Some(event_id), endpoint_id: Some(one.id), ..any() }, &[to_one]).await;
    check(DeliveryFilter { event_type: Some("order.made".parse().unwrap()), ..any() }, &[to_one, to_other])
        .await;
    check(DeliveryFilter { since: Some(began + SECOND * 3), ..any() }, &[to_one, to_other, inflight]).await;
    check(DeliveryFilter { until: Some(began + SECOND * 2), ..any() }, &[delivered, dead]).await;
    check(DeliveryFilter { since: Some(began + SECOND), until: Some(began + SECOND * 2), ..any() }, &[dead])
        .await;
}

pub async fn deliveries_of_an_event_come_with_their_attempts<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let (one, other) = (world.endpoint(&tenant).await, world.endpoint(&tenant).await);
    let draft = world.event(&tenant, &[&one, &other]);
    let event_id = draft.id();
    world.stored(draft).await;
    world.owed(&one).await;
    let lease = world.lease_one(&other).await;
    world.finish(lease, 500, Next::RetryAt(world.now())).await;
    let lease = world.lease_one(&other).await;
    world.finish(lease, 200, Next::Delivered).await;

    let of_event = async |filter: DeliveryFilter| {
        let list = async |ask| {
            world.store.deliveries_of_event(&tenant, event_id, filter.clone(), ask).await.unwrap()
        };
        walk(1, list).await.0
    };
    let found = of_event(DeliveryFilter::default()).await;
    assert_eq!(found.len(), 2);
    for shown in found {
        let statuses: Vec<_> = shown.attempts.iter().filter_map(|attempt| attempt.http_status).collect();
        let expected: &[u16] = if shown.delivery.endpoint_id == other.id { &[500, 200] } else { &[] };
        assert_eq!(statuses, expected);
    }
    let of_one = of_event(DeliveryFilter { endpoint_id: Some(one.id), ..DeliveryFilter::default() }).await;
    assert_eq!(of_one.len(), 1);
}

pub async fn dead_letters_are_found_by_what_is_asked_for<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let (one, other) = (world.endpoint(&tenant).await, world.endpoint(&tenant).await);
    let began = world.now();
    // Made first, dead last.
    let slow = world.event(&tenant, &[&one]).of_type("order.made").leased_to(world.worker().await);
    let slow_id = slow.delivery();
    let lease = world.stored(slow).await.remove(0);
    world.clock.advance(SECOND);
    let discarded = world.dead(&one).await;
    world.store.discard(&tenant, discarded, world.now()).await.unwrap();
    world.clock.advance(SECOND);
    let replayed = world.dead(&other).await;
    let replay = world.replay(&tenant, replayed).await;
    let lease_of_replay = world.lease_one(&other).await;
    world.finish(lease_of_replay, 410, Next::Dead(Cause::EndpointGone)).await;
    world.clock.advance(SECOND);
    world.finish(lease, 404, Next::Dead(Cause::ClientError)).await;
    world.delivered(&one).await;

    let check = async |filter: DeadLetterFilter, expected: &[DeliveryId]| {
        for limit in [1, 100] {
            let list = async |ask| world.store.dead_letters(&tenant, filter.clone(), ask).await.unwrap();
            let (found, _) = walk(limit, list).await;
            let mut ids: Vec<_> = found.iter().map(|delivery| delivery.id).collect();
            assert!(ids.is_sorted_by(|newer, older| newer > older), "{filter:?}");
            let mut expected = expected.to_vec();
            ids.sort_unstable();
            expected.sort_unstable();
            assert_eq!(ids, expected, "{filter:?}");
        }
    };
    let any = DeadLetterFilter::default;
    let in_state = |state| DeadLetterFilter { state: Some(state), ..any() };
    check(any(), &[slow_id, discarded, replayed, replay.id]).await;
    check(in_state(DeadLetterState::Open), &[slow_id, replay.id]).await;
    check(in_state(DeadLetterState::Replayed), &[replayed]).await;
    check(in_state(DeadLetterState::Discarded), &[discarded]).await;
    check(DeadLetterFilter { endpoint_id: Some(other.id), ..any() }, &[replayed, replay.id]).await;
    check(DeadLetterFilter { endpoint_id: Some(other.id), ..in_state(DeadLetterState::Open) }, &[replay.id])
        .await;
    check(DeadLetterFilter { cause: Some(Cause::ClientError), ..any() }, &[slow_id]).await;
    check(DeadLetterFilter { event_type: Some("order.made".parse().unwrap()), ..any() }, &[slow_id]).await;
    check(DeadLetterFilter { since: Some(began + SECOND * 3), ..any() }, &[slow_id]).await;
    check(DeadLetterFilter { until: Some(began + SECOND * 2), ..any() }, &[discarded]).await;
}

pub async fn a_list_in_which_little_matches_goes_on_in_steps<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let rare = world.event(&tenant, &[]).of_type("rare");
    let rare_id = rare.id();
    world.stored(rare).await;
    world.clock.advance(SECOND);
    let many = PAGE_ROWS_READ_MAX + 10;
    let batch = (0..many).map(|_| world.event(&tenant, &[]).payload(b"").0).collect();
    assert_eq!(world.store.publish(batch).await.len(), many);

    let filter = EventFilter { event_type: Some("rare".parse().unwrap()), ..EventFilter::default() };
    let list = async |ask| world.store.events(&tenant, filter.clone(), ask).await.unwrap();
    let (found, page_count) = walk(50, list).await;
    let ids: Vec<_> = found.iter().map(|event| event.id).collect();
    assert_eq!((ids.as_slice(), page_count), ([rare_id].as_slice(), 2));
}

pub async fn what_does_not_exist_is_not_found<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let nobody = "nobody".parse().unwrap();
    for tenant in [&tenant, &nobody] {
        assert_eq!(world.store.find_event(tenant, EventId::from_number(1)).await.unwrap(), None);
        assert_eq!(world.store.find_delivery(tenant, DeliveryId::from_number(1)).await.unwrap(), None);
        assert_eq!(world.store.events(tenant, EventFilter::default(), ALL).await.unwrap().items, []);
        assert_eq!(world.store.deliveries(tenant, DeliveryFilter::default(), ALL).await.unwrap().items, []);
        assert_eq!(
            world.store.dead_letters(tenant, DeadLetterFilter::default(), ALL).await.unwrap().items,
            []
        );
        let beginning =
            DeliveryFilter { until: Some(Timestamp::from_unix_ms(0)), ..DeliveryFilter::default() };
        assert_eq!(world.store.deliveries(tenant, beginning, ALL).await.unwrap().items, []);
    }
}
