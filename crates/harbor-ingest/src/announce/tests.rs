use harbor_model::delivery::Cause;
use harbor_model::endpoint::DisabledReason;
use harbor_model::id::{DeliveryId, EventId};
use harbor_model::lane::LaneKey;
use harbor_model::policy::RateLimit;
use harbor_model::policy::order::Ordering;
use harbor_model::policy::quota::QuotaLayer;
use harbor_model::port::intake::Published;
use harbor_model::time::Timestamp;

use super::*;
use crate::kit::{Ports, T0, endpoint, snapshot, tenant};

fn notice(subject: Subject) -> Notice {
    Notice { id: NoticeId::from_number(0x018b_cfe5_6800_u128 << 80), tenant_id: tenant(), subject }
}

fn disabled() -> Subject {
    Subject::EndpointDisabled { endpoint_id: endpoint(9), reason: DisabledReason::Failing }
}

#[tokio::test]
async fn it_goes_to_those_who_name_it_and_joins_no_lane() {
    let subscribers = [
        (1, Ordering::None, "*"),
        (2, Ordering::Endpoint, "harborhook.*"),
        (3, Ordering::None, "harborhook.endpoint.disabled"),
        (4, Ordering::None, "harborhook.delivery.dead"),
    ];
    let rate = Some(RateLimit { per_second: 1, burst: 1 });
    let ports = Ports::new(snapshot(&subscribers, QuotaLayer { rate, per_day: Some(1) }));
    let publisher = ports.publisher();
    for _ in 0..2 {
        publisher.announce(&notice(disabled())).await.unwrap();
    }

    let events = ports.take_events();
    assert_eq!(events.len(), 2, "no quota counts it, and the store knows the second one for the first");
    for event in &events {
        assert_eq!(event.body.event_type.as_str(), "harborhook.endpoint.disabled");
        let to: Vec<_> = event.deliveries.iter().map(|delivery| delivery.endpoint_id).collect();
        assert_eq!(to, [endpoint(2), endpoint(3)]);
        assert_eq!(event.deliveries.iter().find_map(|delivery| delivery.lane.as_ref()), None::<&LaneKey>);
        assert_eq!(event.occurred_at, Some(T0));
        let claim = event.idempotency.as_ref().unwrap();
        assert_eq!(claim.key, format!("harborhook:{}", notice(disabled()).id));
        assert_eq!(claim.fingerprint, events[0].idempotency.as_ref().unwrap().fingerprint);
    }
}

#[tokio::test]
async fn nothing_is_stored_where_nobody_subscribes() {
    let ports = Ports::new(snapshot(&[(1, Ordering::None, "*")], QuotaLayer::default()));
    ports.publisher().announce(&notice(disabled())).await.unwrap();
    let stranger = Notice { tenant_id: "gone".parse().unwrap(), ..notice(disabled()) };
    ports.publisher().announce(&stranger).await.unwrap();
    assert!(ports.take_events().is_empty());
}

#[tokio::test]
async fn what_may_be_otherwise_the_next_time_is_an_error() {
    let check = async |answer: Result<Published, Fault>, is_done: bool| {
        let subscribers = [(1, Ordering::None, "harborhook.*")];
        let ports = Ports::new(snapshot(&subscribers, QuotaLayer::default()));
        let context = format!("{answer:?}");
        ports.answer(answer);
        assert_eq!(ports.publisher().announce(&notice(disabled())).await.is_ok(), is_done, "{context}");
    };
    check(Ok(Published::Duplicate { event_id: EventId::from_number(1), fan_out_count: 1 }), true).await;
    check(Ok(Published::KeyReused), true).await;
    check(Ok(Published::NoTenant), true).await;
    check(Ok(Published::Stale { directory_version: 2 }), true).await;
    check(Ok(Published::Crowded), false).await;
    check(Err(Fault::bare("the store is away")), false).await;
}

#[test]
fn a_payload_says_what_happened() {
    let check = |subject: Subject, expected: Value| {
        let mut payload: Value = serde_json::from_slice(&payload_of(&notice(subject))).unwrap();
        let fields = payload.as_object_mut().unwrap();
        assert_eq!(fields.remove("id"), Some(notice(disabled()).id.to_string().into()));
        assert_eq!(fields.remove("occurred_at"), Some("2023-11-14T22:13:20.000Z".into()));
        assert_eq!(payload, expected);
    };
    check(
        disabled(),
        json!({
            "type": "harborhook.endpoint.disabled",
            "endpoint_id": endpoint(9).to_string(),
            "reason": "failing",
        }),
    );
    check(
        Subject::CircuitOpened {
            endpoint_id: endpoint(9),
            next_probe_at: Timestamp::from_unix_ms(1_700_000_030_000),
        },
        json!({
            "type": "harborhook.endpoint.circuit_opened",
            "endpoint_id": endpoint(9).to_string(),
            "next_probe_at": "2023-11-14T22:13:50.000Z",
        }),
    );
    let (delivery_id, event_id) = (DeliveryId::from_number(1), EventId::from_number(2));
    check(
        Subject::DeliveryDead {
            delivery_id,
            event_id,
            event_type: "order.made".parse().unwrap(),
            endpoint_id: endpoint(9),
            cause: Cause::ClientError,
            attempt_count: 3,
        },
        json!({
            "type": "harborhook.delivery.dead",
            "delivery_id": delivery_id.to_string(),
            "event_id": event_id.to_string(),
            "event_type": "order.made",
            "endpoint_id": endpoint(9).to_string(),
            "cause": "client_error",
            "attempt_count": 3,
        }),
    );
}
