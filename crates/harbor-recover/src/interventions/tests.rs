use std::sync::Mutex;

use async_trait::async_trait;
use harbor_model::chance::SeededRng;
use harbor_model::lane::OrderedLane;
use harbor_model::port::page::{Page, PageAsk};
use harbor_model::time::Timestamp;

use super::*;
use crate::fakes::{Announced, SkippingClock, T0};

/// Answers as it is told.
struct Answers {
    intervened: Mutex<Option<Intervened>>,
    released: Mutex<Option<Released>>,
    is_found: bool,
    asked: Mutex<Vec<Release>>,
}

#[async_trait]
impl Port for Answers {
    async fn retry_now(&self, _: &TenantId, _: DeliveryId, now: Timestamp) -> Result<Intervened, Fault> {
        assert_eq!(now, T0);
        Ok(self.intervened.lock().unwrap().take().unwrap())
    }

    async fn cancel(&self, _: &TenantId, _: DeliveryId, now: Timestamp) -> Result<Intervened, Fault> {
        assert_eq!(now, T0);
        Ok(self.intervened.lock().unwrap().take().unwrap())
    }

    async fn expunge(&self, _: &TenantId, _: EventId, _: Timestamp) -> Result<bool, Fault> {
        Ok(self.is_found)
    }
}

#[async_trait]
impl OrderedLanes for Answers {
    async fn lanes(&self, _: &TenantId, _: EndpointId, _: PageAsk) -> Result<Page<OrderedLane>, Fault> {
        unreachable!("lists are the store's")
    }

    async fn release_lane(
        &self,
        _: &TenantId,
        _: EndpointId,
        _: &LaneKey,
        release: Release,
        _: Timestamp,
    ) -> Result<Released, Fault> {
        self.asked.lock().unwrap().push(release);
        Ok(self.released.lock().unwrap().take().unwrap())
    }
}

struct Stage {
    interventions: Interventions,
    handoff: Arc<Announced>,
    answers: Arc<Answers>,
}

fn stage(intervened: Option<Intervened>, released: Option<Released>, is_found: bool) -> Stage {
    let answers = Arc::new(Answers {
        intervened: Mutex::new(intervened),
        released: Mutex::new(released),
        is_found,
        asked: Mutex::default(),
    });
    let handoff = Arc::new(Announced::default());
    let interventions = Interventions::new(Deps {
        interventions: answers.clone(),
        lanes: answers.clone(),
        handoff: handoff.clone(),
        clock: Arc::new(SkippingClock::default()),
        rng: Arc::new(SeededRng::new(1)),
    });
    Stage { interventions, handoff, answers }
}

fn tenant() -> TenantId {
    "tn_a".parse().unwrap()
}

const ENDPOINT: fn() -> EndpointId = || EndpointId::from_number(7);

fn delivery() -> Delivery {
    Delivery {
        id: DeliveryId::from_number(1),
        tenant_id: tenant(),
        event_id: EventId::from_number(2),
        event_type: "a.b".parse().unwrap(),
        endpoint_id: ENDPOINT(),
        status: DeliveryStatus::Failed,
        attempt_count: 1,
        next_attempt_at: Some(T0),
        created_at: T0,
        updated_at: T0,
        delivered_at: None,
        replay_of: None,
        dead_letter: None,
    }
}

#[tokio::test]
async fn what_becomes_due_is_announced_and_refusals_are_told() {
    let check = async |answer: Intervened, expected: Result<(), &str>| {
        for is_cancel in [false, true] {
            let Stage { interventions, handoff, .. } = stage(Some(answer.clone()), None, false);
            let found = if is_cancel {
                interventions.cancel(&tenant(), delivery().id).await
            } else {
                interventions.retry(&tenant(), delivery().id).await
            };
            let found = found.map(|_| ()).map_err(|refusal| refusal.to_string());
            assert_eq!(found, expected.map_err(str::to_owned), "{answer:?}");
            let key = EndpointKey { tenant_id: tenant(), endpoint_id: ENDPOINT() };
            let announced = if expected.is_ok() { vec![key] } else { Vec::new() };
            assert_eq!(handoff.take(), announced, "{answer:?}");
        }
    };
    check(Intervened::Done(delivery()), Ok(())).await;
    check(Intervened::Missing, Err("the delivery does not exist")).await;
    let dead = Intervened::Final(DeliveryStatus::Dead);
    check(dead, Err("the delivery has ended: it is dead")).await;
    check(Intervened::Behind, Err("the delivery waits behind another one in its ordered lane")).await;
}

#[tokio::test]
async fn a_lane_is_skipped_or_tried_under_a_new_id() {
    let check = async |answer: Released, expected: Result<Option<DeliveryId>, &str>| {
        for is_skip in [false, true] {
            let Stage { interventions, handoff, answers } = stage(None, Some(answer.clone()), false);
            let key = LaneKey::new("a");
            let found = if is_skip {
                interventions.skip_lane(&tenant(), ENDPOINT(), &key).await
            } else {
                interventions.retry_lane(&tenant(), ENDPOINT(), &key).await
            };
            let found = found.map_err(|refusal| refusal.to_string());
            assert_eq!(found, expected.map_err(str::to_owned), "{answer:?}");
            assert_eq!(handoff.take().len(), usize::from(expected.is_ok()), "{answer:?}");
            match answers.asked.lock().unwrap()[..] {
                [Release::Skip] => assert!(is_skip),
                [Release::Retry(id)] => assert!(!is_skip && id.made_at() == T0),
                ref other => panic!("{other:?}"),
            }
        }
    };
    check(Released::Done(Some(delivery().id)), Ok(Some(delivery().id))).await;
    check(Released::Done(None), Ok(None)).await;
    check(Released::Missing, Err("the lane does not exist: no delivery is in it")).await;
    check(Released::Expired, Err("the payload of the event at the head of the lane is no longer kept")).await;
    check(Released::NoEndpoint, Err("the endpoint of the lane is deleted or disabled")).await;
}

#[tokio::test]
async fn only_an_event_that_is_there_is_expunged() {
    for is_found in [true, false] {
        let Stage { interventions, .. } = stage(None, None, is_found);
        let done = interventions.expunge(&tenant(), EventId::from_number(2)).await;
        assert_eq!(done.is_ok(), is_found);
    }
}
