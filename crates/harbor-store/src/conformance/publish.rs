//! Publish: an event and its deliveries, together or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use harbor_model::delivery::DeliveryStatus;
use harbor_model::event::trace::TraceContext;
use harbor_model::event::{Event, EventBody, FanOutRecord, Unmatched};
use harbor_model::id::EndpointId;
use harbor_model::port::history::{DeliveryFilter, EventFilter};
use harbor_model::port::intake::Published;

use crate::conformance::world::{ALL, DAY, Draft, SECOND, Store, World};

pub async fn what_was_published_can_be_read_byte_for_byte<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let payload: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let mut draft = world.event(&tenant, &[&endpoint]).payload(&payload).key("k-1", 1);
    let body = Arc::get_mut(&mut draft.0.body).unwrap();
    body.content_type = Some("application/xml".to_owned());
    body.headers = vec![("x-b".to_owned(), "1".to_owned()), ("x-a".to_owned(), "ü\"".to_owned())];
    body.trace = TraceContext {
        trace_id: u128::MAX,
        span_id: u64::MAX,
        sampled: false,
        state: Some("a=1".to_owned()),
    };
    draft.0.occurred_at = Some(world.now() - DAY);
    draft.0.deliver_at = Some(world.now() + DAY);
    draft.0.ordering_key = Some("order 7".to_owned());
    draft.0.metadata = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
    draft.0.fan_out.skipped = vec![EndpointId::from_number(1), EndpointId::from_number(u128::MAX)];
    let expected = shown(&draft);
    let id = draft.id();
    world.stored(draft).await;

    let found = world.store.find_event(&tenant, id).await.unwrap();
    assert_eq!(found, Some(expected.clone()));
    let loaded = world.store.load_events(vec![(tenant, id)]).await.unwrap().remove(0);
    assert_eq!(loaded, Some(expected.body));
}

pub async fn an_event_without_anything_optional_can_be_read<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let draft = world.event(&tenant, &[]).payload(b"");
    let (expected, id) = (shown(&draft), draft.id());
    world.stored(draft).await;

    let found = world.store.find_event(&tenant, id).await.unwrap().unwrap();
    assert_eq!(found, expected);
    assert_eq!(found.fan_out.unmatched(), Some(Unmatched::NoSubscription));
    let loaded = world.store.load_events(vec![(tenant, id)]).await.unwrap().remove(0);
    assert_eq!(loaded.unwrap().payload, Bytes::new());
}

/// The event as it is to be shown later.
fn shown(draft: &Draft) -> Event {
    let event = &draft.0;
    Event {
        body: Arc::new(EventBody::clone(&event.body)),
        occurred_at: event.occurred_at,
        deliver_at: event.deliver_at,
        ordering_key: event.ordering_key.clone(),
        idempotency_key: event.idempotency.as_ref().map(|claim| claim.key.clone()),
        metadata: event.metadata.clone(),
        fan_out: FanOutRecord { ..event.fan_out.clone() },
        is_expunged: false,
    }
}

pub async fn an_event_of_an_unknown_tenant_is_refused<S: Store>(world: &World<S>) {
    let nobody = "nobody".parse().unwrap();
    let published = world.publish(world.event(&nobody, &[])).await;
    assert!(matches!(published, Published::NoTenant), "{published:?}");
}

pub async fn a_fan_out_by_an_old_directory_is_refused_and_stores_nothing<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let old = world.store.tenant(&tenant).await.unwrap().unwrap().version;
    let endpoint = world.endpoint(&tenant).await;
    let new = world.store.tenant(&tenant).await.unwrap().unwrap().version;
    assert!(new > old);

    let published = world.publish(world.event(&tenant, &[&endpoint]).by_version(old).key("k", 1)).await;
    assert!(
        matches!(published, Published::Stale { directory_version } if directory_version == new),
        "{published:?}"
    );
    assert_eq!(count_events(world, "acme").await, 0);

    // The key was not taken either.
    world.stored(world.event(&tenant, &[&endpoint]).by_version(new).key("k", 1)).await;
    assert_eq!(count_events(world, "acme").await, 1);
}

pub async fn a_fan_out_that_depends_on_no_directory_is_taken<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let id = world.owed(&endpoint).await;
    assert_eq!(world.shown(&tenant, id).await, "queued []");
}

async fn count_events<S: Store>(world: &World<S>, tenant: &str) -> usize {
    let tenant = tenant.parse().unwrap();
    world.store.events(&tenant, EventFilter::default(), ALL).await.unwrap().items.len()
}

pub async fn the_same_key_again_answers_with_the_first_event<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let (one, two) = (world.endpoint(&tenant).await, world.endpoint(&tenant).await);
    let first = world.event(&tenant, &[&one, &two]).key("k", 1);
    let first_id = first.id();
    world.stored(first).await;

    world.clock.advance(DAY - SECOND);
    let again = world.publish(world.event(&tenant, &[&one]).key("k", 1)).await;
    assert!(
        matches!(again, Published::Duplicate { event_id, fan_out_count: 2 } if event_id == first_id),
        "{again:?}"
    );
    assert_eq!(count_events(world, "acme").await, 1);
}

pub async fn a_key_for_another_event_is_refused<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    world.stored(world.event(&tenant, &[]).key("k", 1)).await;
    let other = world.publish(world.event(&tenant, &[]).key("k", 2)).await;
    assert!(matches!(other, Published::KeyReused), "{other:?}");
    // Keys are told apart byte by byte.
    world.stored(world.event(&tenant, &[]).key("K", 2)).await;
    world.stored(world.event(&tenant, &[]).key("k ", 2)).await;
    assert_eq!(count_events(world, "acme").await, 3);
}

pub async fn a_key_is_free_again_when_its_window_is_over<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    world.stored(world.event(&tenant, &[]).key("k", 1)).await;
    world.clock.advance(DAY);
    let second = world.event(&tenant, &[]).key("k", 2);
    let second_id = second.id();
    world.stored(second).await;
    let again = world.publish(world.event(&tenant, &[]).key("k", 2)).await;
    assert!(matches!(again, Published::Duplicate { event_id, .. } if event_id == second_id), "{again:?}");
}

pub async fn two_events_with_one_key_in_a_batch_are_one<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let first = world.event(&tenant, &[]).key("k", 1);
    let first_id = first.id();
    let batch = vec![
        first.0,
        world.event(&tenant, &[]).key("k", 1).0,
        world.event(&tenant, &[]).key("k", 2).0,
        world.event(&tenant, &[]).key("other", 2).0,
    ];
    let answers: Vec<_> = world.store.publish(batch).await.into_iter().map(Result::unwrap).collect();
    assert!(matches!(answers[0], Published::Stored { .. }), "{answers:?}");
    assert!(
        matches!(answers[1], Published::Duplicate { event_id, .. } if event_id == first_id),
        "{answers:?}"
    );
    assert!(matches!(answers[2], Published::KeyReused), "{answers:?}");
    assert!(matches!(answers[3], Published::Stored { .. }), "{answers:?}");
}

pub async fn each_event_of_a_batch_has_its_own_answer<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let worker = world.worker().await;
    let batch = vec![
        world.event(&tenant, &[&endpoint]).leased_to(worker).0,
        world.event(&"nobody".parse().unwrap(), &[]).0,
        world.event(&tenant, &[&endpoint]).by_version(u64::from(u32::MAX)).0,
        world.event(&tenant, &[&endpoint, &endpoint]).leased_to(worker).0,
    ];
    let answers: Vec<_> = world.store.publish(batch).await.into_iter().map(Result::unwrap).collect();
    let lent = |position: usize| match &answers[position] {
        Published::Stored { leases } => Some(leases.len()),
        _ => None,
    };
    assert_eq!((lent(0), lent(3)), (Some(1), Some(2)), "{answers:?}");
    assert!(matches!(answers[1], Published::NoTenant), "{answers:?}");
    assert!(matches!(answers[2], Published::Stale { .. }), "{answers:?}");
}

pub async fn a_batch_larger_than_a_transaction_is_stored_in_order<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let worker = world.worker().await;
    let batch: Vec<_> = (0..1_200).map(|_| world.event(&tenant, &[&endpoint]).leased_to(worker).0).collect();
    let expected: Vec<_> = batch.iter().map(|event| event.deliveries[0].id).collect();

    let mut lent = Vec::new();
    for answer in world.store.publish(batch).await {
        let Published::Stored { leases } = answer.unwrap() else { panic!("not stored") };
        lent.extend(leases.iter().map(|lease| lease.delivery.delivery_id));
    }
    assert_eq!(lent, expected);
    assert_eq!(count_events(world, "acme").await, 1_200);
}

pub async fn a_delivery_that_is_born_leased_is_in_flight<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let worker = world.worker().await;
    let draft = world.event(&tenant, &[&endpoint]).leased_to(worker);
    let (event_id, id) = (draft.id(), draft.delivery());
    let lease = world.stored(draft).await.remove(0);

    assert_eq!(lease.key().worker, worker);
    assert_eq!(lease.delivery.event_id, event_id);
    assert_eq!((lease.delivery.attempt_count, lease.delivery.payload_bytes), (0, 16));
    assert_eq!(world.shown(&tenant, id).await, "inflight []");
    assert_eq!(world.read(&tenant, id).await.delivery.next_attempt_at, None);
    assert!(world.lease(world.worker().await, &endpoint, 10).await.is_empty());

    drop(lease);
    assert_eq!(world.shown(&tenant, id).await, "queued []");
    assert_eq!(world.lease_one(&endpoint).await.delivery.delivery_id, id);
}

pub async fn a_duplicate_lends_nothing<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let worker = world.worker().await;
    let first = world.stored(world.event(&tenant, &[&endpoint]).key("k", 1).leased_to(worker)).await;
    world.publish(world.event(&tenant, &[&endpoint]).key("k", 1).leased_to(worker)).await;
    assert_eq!(world.store.leases_of(worker).await.unwrap().len(), 1);
    drop(first);
    assert_eq!(world.store.leases_of(worker).await.unwrap(), []);
}

pub async fn a_publish_whose_caller_has_gone_leaves_its_deliveries_free<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let endpoint = world.endpoint(&tenant).await;
    let worker = world.worker().await;
    let draft = world.event(&tenant, &[&endpoint]).leased_to(worker);
    let id = draft.delivery();
    let mut publishing = world.store.publish(vec![draft.0]);
    // Once asked, the change is on its way to the store; then the caller hangs up.
    let poll = publishing.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(poll, Poll::Pending | Poll::Ready(_)));
    drop(poll);
    drop(publishing);

    // Later changes are answered, so that the first one is through some time, too.
    let shown = async || {
        world.stored(world.event(&tenant, &[])).await;
        world.store.deliveries(&tenant, DeliveryFilter::default(), ALL).await.unwrap().items
    };
    let mut shown_last = Vec::new();
    for _ in 0..1_000 {
        shown_last = shown().await;
        if shown_last.first().is_some_and(|delivery| delivery.status == DeliveryStatus::Queued) {
            break;
        }
    }
    assert_eq!(shown_last.iter().map(|delivery| delivery.id).collect::<Vec<_>>(), [id]);
    assert_eq!(shown_last[0].status, DeliveryStatus::Queued);
    assert_eq!(world.store.leases_of(worker).await.unwrap(), []);
    assert_eq!(world.lease_one(&endpoint).await.delivery.delivery_id, id);
}

pub async fn a_claim_that_slides_holds_from_its_last_repeat_on<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let first = world.event(&tenant, &[]).key("k", 1).sliding();
    let first_id = first.id();
    world.stored(first).await;
    for _ in 0..3 {
        world.clock.advance(DAY - SECOND);
        world.store.forget_keys(world.now(), 10).await.unwrap();
        let again = world.publish(world.event(&tenant, &[]).key("k", 1).sliding()).await;
        assert!(matches!(again, Published::Duplicate { event_id, .. } if event_id == first_id), "{again:?}");
    }
    world.clock.advance(DAY);
    world.stored(world.event(&tenant, &[]).key("k", 1).sliding()).await;
    assert_eq!(count_events(world, "acme").await, 2);
}

pub async fn a_claim_that_does_not_slide_ends_when_it_was_to<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    world.stored(world.event(&tenant, &[]).key("k", 1)).await;
    world.clock.advance(DAY - SECOND);
    let again = world.publish(world.event(&tenant, &[]).key("k", 1)).await;
    assert!(matches!(again, Published::Duplicate { .. }), "{again:?}");
    world.clock.advance(SECOND);
    world.stored(world.event(&tenant, &[]).key("k", 1)).await;
}

pub async fn another_event_does_not_move_the_end_of_a_claim<S: Store>(world: &World<S>) {
    let (tenant, other) = (world.tenant("acme").await, world.tenant("zebra").await);
    world.stored(world.event(&tenant, &[]).key("k", 1).sliding()).await;
    world.stored(world.event(&tenant, &[]).key("k 2", 1).sliding()).await;
    world.stored(world.event(&other, &[]).key("k", 1).sliding()).await;
    world.clock.advance(DAY - SECOND);
    let refused = world.publish(world.event(&tenant, &[]).key("k", 2).sliding()).await;
    assert!(matches!(refused, Published::KeyReused), "{refused:?}");
    for repeat in [world.event(&tenant, &[]).key("k 2", 1), world.event(&other, &[]).key("k", 1)] {
        let again = world.publish(repeat.sliding()).await;
        assert!(matches!(again, Published::Duplicate { .. }), "{again:?}");
    }
    world.clock.advance(SECOND);
    world.stored(world.event(&tenant, &[]).key("k", 2).sliding()).await;
}

pub async fn a_late_repeat_of_an_earlier_time_does_not_shorten_a_claim<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    world.stored(world.event(&tenant, &[]).key("k", 1).sliding()).await;
    let early = world.event(&tenant, &[]).key("k", 1).sliding();
    world.clock.advance(DAY / 2);
    for repeat in [world.event(&tenant, &[]).key("k", 1).sliding(), early] {
        let again = world.publish(repeat).await;
        assert!(matches!(again, Published::Duplicate { .. }), "{again:?}");
    }
    world.clock.advance(DAY - SECOND);
    let again = world.publish(world.event(&tenant, &[]).key("k", 1)).await;
    assert!(matches!(again, Published::Duplicate { .. }), "{again:?}");
}

pub async fn two_repeats_in_a_batch_both_slide<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let draft = |key: &str| world.event(&tenant, &[]).key(key, 1).sliding();
    let (one, two) = (draft("one"), draft("two"));
    let ids = [one.id(), two.id()];
    world.stored(one).await;
    world.stored(two).await;
    let repeat = async || {
        let batch = ["two", "one", "new", "two", "one", "new"].map(|key| draft(key).0);
        world.store.publish(batch.into()).await.into_iter().map(Result::unwrap).collect::<Vec<_>>()
    };
    let check = |answers: &[Published], stored: &[usize]| {
        for (place, answer) in answers.iter().enumerate() {
            let is_as_expected = match answer {
                Published::Stored { .. } => stored.contains(&place),
                Published::Duplicate { event_id, .. } => match place % 3 {
                    2 => !stored.contains(&place),
                    key => *event_id == ids[1 - key],
                },
                _ => false,
            };
            assert!(is_as_expected, "{place} of {answers:?}");
        }
    };
    world.clock.advance(DAY - SECOND);
    check(&repeat().await, &[2]);
    world.clock.advance(DAY - SECOND);
    check(&repeat().await, &[]);
    assert_eq!(count_events(world, "acme").await, 3);
}
