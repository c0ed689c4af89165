//! A worker between ports that answer as they are told. What it makes of a real store is in the flow tests.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use harbor_model::address::AddressPolicy;
use harbor_model::chance::SeededRng;
use harbor_model::decide::fan_out::Routes;
use harbor_model::decide::retry::{INTERRUPTIONS_MAX, Next};
use harbor_model::delivery::Cause;
use harbor_model::directory::{EndpointView, TenantSnapshot};
use harbor_model::endpoint::{DisabledReason, Endpoint, EndpointUrl};
use harbor_model::event::EventBody;
use harbor_model::event::trace::TraceContext;
use harbor_model::id::{DeliveryId, EndpointId, EventId, TenantId, WorkerId};
use harbor_model::policy::order::OnDead;
use harbor_model::policy::quota::{Quota, QuotaLayer};
use harbor_model::policy::{Layers, Policy, PolicyLayer};
use harbor_model::port::Fault;
use harbor_model::port::breakers::{BreakerChange, Breakers, OpenBreaker};
use harbor_model::port::deliveries::{
    AttemptResult, Backlog, Deliveries, DueEndpoint, EndpointKey, Finish, Health, HealthNews, Lease,
    LeaseAsk, LeaseKeeper, LeaseKey, LeasedDelivery,
};
use harbor_model::port::directory::Directory;
use harbor_model::port::observer::{
    AttemptSeen, BreakerSeen, CommitSeen, DisabledSeen, EndSeen, Observer, PublishSeen, ReceiveSeen,
    ThrottleSeen,
};
use harbor_model::port::workers::{Leader, Roll, Workers};
use harbor_model::secret::{Secret, TimedSecret};
use harbor_model::tenant::{Tenant, TenantPolicy};
use harbor_model::time::{Clock, Timestamp};

use crate::send::{Request, Sender, Sent};
use crate::worker::{Deps, Settings, Worker};

const T0: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);

const RECORDED: Finish = Finish::Recorded { disabled: None, lane_moved: false };

/// Everything around a worker. Its clock stands still: whatever happens, nobody had to wait for it.
struct Ports {
    snapshot: Arc<TenantSnapshot>,
    status: u16,
    /// Ordered lanes: the first of each is due, or taken.
    lanes: Mutex<Vec<VecDeque<LeasedDelivery>>>,
    is_taken: Mutex<Vec<bool>>,
    looks: Mutex<usize>,
    /// Leases that were taken away.
    lost: Mutex<Vec<DeliveryId>>,
    finish: Mutex<Finish>,
    results: Mutex<Vec<Recorded>>,
    sent: Mutex<usize>,
    given_back: Mutex<usize>,
    disabled: Mutex<Vec<DisabledReason>>,
}

/// What of a result a test looks at.
#[derive(Clone, Debug, PartialEq)]
struct Recorded {
    id: DeliveryId,
    has_attempt: bool,
    next: Next,
    on_dead: OnDead,
    health: Option<HealthNews>,
}

fn key() -> EndpointKey {
    EndpointKey { tenant_id: "shop".parse().unwrap(), endpoint_id: EndpointId::from_number(1) }
}

fn snapshot(policy: PolicyLayer) -> Arc<TenantSnapshot> {
    let EndpointKey { tenant_id, endpoint_id } = key();
    let none = PolicyLayer::default();
    let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned());
    let endpoint = Endpoint {
        id: endpoint_id,
        tenant_id: tenant_id.clone(),
        name: None,
        description: None,
        url: EndpointUrl::parse("https://example.com/", &AddressPolicy::default()).unwrap(),
        secrets: vec![TimedSecret::lasting(secret)],
        headers: Vec::new(),
        policy: policy.clone(),
        metadata: BTreeMap::new(),
        paused: false,
        drain: None,
        disabled: None,
        enabled_at: None,
        version: 7,
        url_version: 7,
        created_at: T0,
        updated_at: T0,
    };
    let policy = Policy::resolve(Layers { instance: &none, tenant: &none, endpoint: &policy });
    Arc::new(TenantSnapshot {
        tenant: Tenant {
            id: tenant_id,
            name: "Shop".to_owned(),
            policy: TenantPolicy::default(),
            version: 1,
            created_at: T0,
            updated_at: T0,
        },
        version: 1,
        addresses: AddressPolicy::default(),
        quota: Quota::resolve(&QuotaLayer::default(), &QuotaLayer::default()),
        endpoints: [(endpoint_id, Arc::new(EndpointView { endpoint, policy }))].into(),
        routes: Routes::default(),
        sources: HashMap::new(),
    })
}

fn delivery(number: u128) -> LeasedDelivery {
    LeasedDelivery {
        key: key(),
        delivery_id: DeliveryId::from_number(number),
        event_id: EventId::from_number(number),
        attempt_count: 0,
        interrupted_count: 0,
        payload_bytes: 2,
        created_at: T0,
        replay_of: None,
        new_webhook_id: false,
        is_ordered: true,
        directory_version: 1,
    }
}

impl Ports {
    fn new(policy: PolicyLayer, status: u16, lanes: Vec<Vec<LeasedDelivery>>) -> Arc<Self> {
        Arc::new(Self {
            snapshot: snapshot(policy),
            status,
            is_taken: Mutex::new(vec![false; lanes.len()]),
            lanes: Mutex::new(lanes.into_iter().map(VecDeque::from).collect()),
            looks: Mutex::default(),
            lost: Mutex::default(),
            finish: Mutex::new(RECORDED),
            results: Mutex::default(),
            sent: Mutex::default(),
            given_back: Mutex::default(),
            disabled: Mutex::default(),
        })
    }

    async fn worker(self: &Arc<Self>) -> Worker {
        let deps = Deps {
            deliveries: Arc::new(Desk(self.clone())),
            workers: self.clone(),
            breakers: self.clone(),
            directory: self.clone(),
            sender: self.clone(),
            clock: self.clone(),
            rng: Arc::new(SeededRng::new(1)),
            observer: self.clone(),
        };
        Worker::start(deps, Settings::default()).await.unwrap()
    }

    /// Lets a worker go on until it has nothing more to do.
    async fn run(self: &Arc<Self>) -> Vec<Recorded> {
        let worker = self.worker().await;
        loop {
            let before = self.results.lock().unwrap().len();
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            worker.idle().await;
            let results = self.results.lock().unwrap();
            if results.len() == before {
                return results.clone();
            }
        }
    }
}

/// The deliveries of a store, as ports of which leases hold on to.
struct Desk(Arc<Ports>);

impl LeaseKeeper for Desk {
    fn give_back(&self, _: LeaseKey) {
        *self.0.given_back.lock().unwrap() += 1;
    }
}

#[async_trait]
impl Deliveries for Desk {
    async fn due_endpoints(
        &self,
        _: Timestamp,
        _: Option<EndpointKey>,
        _: usize,
    ) -> Result<Vec<DueEndpoint>, Fault> {
        Ok(vec![DueEndpoint { key: key(), oldest_due_at: T0, directory_version: 1 }])
    }

    async fn lease(&self, worker: WorkerId, _: Timestamp, asks: Vec<LeaseAsk>) -> Result<Vec<Lease>, Fault> {
        *self.0.looks.lock().unwrap() += 1;
        let (lanes, mut is_taken) = (self.0.lanes.lock().unwrap(), self.0.is_taken.lock().unwrap());
        let due =
            lanes.iter().zip(is_taken.iter_mut()).filter(|(lane, is_taken)| !**is_taken && !lane.is_empty());
        let lend = |(lane, is_taken): (&VecDeque<LeasedDelivery>, &mut bool)| {
            *is_taken = true;
            Lease::new(lane[0].clone(), worker, 1, Arc::new(Desk(self.0.clone())))
        };
        Ok(due.take(asks.iter().map(|ask| ask.count).sum()).map(lend).collect())
    }

    async fn load_events(
        &self,
        asks: Vec<(TenantId, EventId)>,
    ) -> Result<Vec<Option<Arc<EventBody>>>, Fault> {
        let body = |(tenant_id, id)| {
            Arc::new(EventBody {
                id,
                tenant_id,
                event_type: "order.made".parse().unwrap(),
                payload: "{}".into(),
                content_type: None,
                headers: Vec::new(),
                trace: TraceContext::begin(&SeededRng::new(1)),
                created_at: T0,
            })
        };
        Ok(asks.into_iter().map(|ask| Some(body(ask))).collect())
    }

    async fn finish(&self, results: Vec<AttemptResult>) -> Vec<Result<Finish, Fault>> {
        let finish = |result: AttemptResult| {
            let id = result.lease.delivery.delivery_id;
            self.0.results.lock().unwrap().push(Recorded {
                id,
                has_attempt: result.attempt.is_some(),
                next: result.next,
                on_dead: result.on_dead,
                health: result.health,
            });
            result.lease.settle();
            let mut lanes = self.0.lanes.lock().unwrap();
            let place = lanes.iter().position(|lane| lane.front().is_some_and(|head| head.delivery_id == id));
            let place = place.expect("only heads are lent");
            lanes[place].pop_front();
            self.0.is_taken.lock().unwrap()[place] = false;
            match *self.0.finish.lock().unwrap() {
                Finish::Recorded { disabled, .. } => {
                    Ok(Finish::Recorded { disabled, lane_moved: !lanes[place].is_empty() })
                }
                Finish::Superseded => Ok(Finish::Superseded),
            }
        };
        results.into_iter().map(finish).collect()
    }

    async fn note_start(&self, lease: &LeaseKey) -> Result<bool, Fault> {
        self.is_held(lease).await
    }

    async fn is_held(&self, lease: &LeaseKey) -> Result<bool, Fault> {
        Ok(!self.0.lost.lock().unwrap().contains(&lease.delivery_id))
    }

    async fn leases_of(&self, _: WorkerId) -> Result<Vec<LeaseKey>, Fault> {
        Ok(Vec::new())
    }

    async fn backlog(&self, _: Timestamp) -> Result<Backlog, Fault> {
        Ok(Backlog::default())
    }
}

#[async_trait]
impl Workers for Ports {
    async fn enlist(&self, _: WorkerId, _: Timestamp) -> Result<(), Fault> {
        Ok(())
    }

    async fn beat(&self, worker: WorkerId, _: Timestamp) -> Result<Roll, Fault> {
        Ok(Roll { is_enlisted: true, counts: vec![(worker, 1)] })
    }

    async fn bury(&self, _: WorkerId, _: u64, _: Timestamp) -> Result<Option<usize>, Fault> {
        Ok(None)
    }

    async fn discharge(&self, _: WorkerId) -> Result<(), Fault> {
        Ok(())
    }

    async fn reconcile(&self, _: WorkerId) -> Result<usize, Fault> {
        Ok(0)
    }

    async fn lead(&self, _: &'static str, worker: WorkerId, _: Option<Leader>) -> Result<Leader, Fault> {
        Ok(Leader { worker, count: 1 })
    }
}

#[async_trait]
impl Breakers for Ports {
    async fn open_breaker(&self, _: &EndpointKey, _: BreakerChange) -> Result<Option<OpenBreaker>, Fault> {
        Ok(None)
    }

    async fn change_breaker(
        &self,
        _: &EndpointKey,
        _: u64,
        _: Option<BreakerChange>,
    ) -> Result<Option<OpenBreaker>, Fault> {
        Ok(None)
    }

    async fn open_breakers(&self) -> Result<Vec<OpenBreaker>, Fault> {
        Ok(Vec::new())
    }

    async fn find_breaker(&self, _: &TenantId, _: EndpointId) -> Result<Option<OpenBreaker>, Fault> {
        Ok(None)
    }
}

#[async_trait]
impl Directory for Ports {
    async fn tenant(&self, _: &TenantId) -> Result<Option<Arc<TenantSnapshot>>, Fault> {
        Ok(Some(self.snapshot.clone()))
    }

    fn observe(&self, _: &TenantId, _: u64) {}
}

#[async_trait]
impl Sender for Ports {
    async fn send(&self, _: Request) -> Sent {
        *self.sent.lock().unwrap() += 1;
        tokio::task::yield_now().await;
        Sent::answered(self.status)
    }
}

#[async_trait]
impl Clock for Ports {
    fn now(&self) -> Timestamp {
        T0
    }

    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }

    async fn sleep_until(&self, instant: Timestamp) {
        if instant > T0 {
            pending::<()>().await;
        }
    }
}

impl Observer for Ports {
    fn published(&self, _: PublishSeen<'_>) {}
    fn received(&self, _: ReceiveSeen) {}
    fn attempted(&self, _: AttemptSeen<'_>) {}
    fn ended(&self, _: EndSeen<'_>) {}
    fn committed(&self, _: CommitSeen) {}
    fn breaker_changed(&self, _: BreakerSeen<'_>) {}
    fn throttled(&self, _: ThrottleSeen) {}
    fn endpoint_disabled(&self, seen: DisabledSeen<'_>) {
        self.disabled.lock().unwrap().push(seen.reason);
    }
}

fn holding() -> PolicyLayer {
    PolicyLayer { on_dead: Some(OnDead::Hold), ..PolicyLayer::default() }
}

#[tokio::test]
async fn ordered_lanes_go_on_without_waiting_for_a_walk() {
    let lane = |lane: u128| (0..50).map(|place| delivery(lane * 1_000 + place)).collect();
    let ports = Ports::new(PolicyLayer::default(), 200, (0..100).map(lane).collect());
    let results = ports.run().await;
    assert_eq!(results.len(), 5_000, "in no time");
    for lane in 0..100 {
        let ids = results.iter().map(|result| result.id.number()).filter(|id| id / 1_000 == lane);
        assert!(ids.is_sorted(), "in their order");
    }
    let looks = *ports.looks.lock().unwrap();
    assert!(looks < 500, "{looks} looks: those that move together are looked at together");
}

#[tokio::test]
async fn what_was_interrupted_too_often_ends_before_anything_is_sent() {
    let worn = LeasedDelivery { interrupted_count: INTERRUPTIONS_MAX, ..delivery(1) };
    let tough = LeasedDelivery { interrupted_count: INTERRUPTIONS_MAX - 1, ..delivery(2) };
    let ports = Ports::new(holding(), 200, vec![vec![worn], vec![tough]]);
    let results = ports.run().await;
    let of = |number| results.iter().find(|result| result.id == DeliveryId::from_number(number)).unwrap();
    let expected = Recorded {
        id: DeliveryId::from_number(1),
        has_attempt: false,
        next: Next::Dead(Cause::WorkerCrash),
        on_dead: OnDead::Hold,
        health: None,
    };
    assert_eq!(*of(1), expected);
    assert_eq!((of(2).next, *ports.sent.lock().unwrap()), (Next::Delivered, 1));
}

#[tokio::test]
async fn what_was_called_off_while_it_waited_is_not_sent() {
    let again = LeasedDelivery { interrupted_count: 1, ..delivery(2) };
    let ports =
        Ports::new(PolicyLayer::default(), 200, vec![vec![delivery(1)], vec![again], vec![delivery(3)]]);
    ports.lost.lock().unwrap().extend([1, 2].map(DeliveryId::from_number));
    let results = ports.run().await;
    assert_eq!(results.iter().map(|result| result.id.number()).collect::<Vec<_>>(), [3]);
    assert_eq!((*ports.sent.lock().unwrap(), *ports.given_back.lock().unwrap()), (1, 2));
}

#[tokio::test]
async fn a_result_says_what_its_endpoint_is_like_where_that_is_news() {
    let check = async |status, finish, expected: [Option<Health>; 2]| {
        let ports = Ports::new(holding(), status, vec![vec![delivery(1), delivery(2)]]);
        *ports.finish.lock().unwrap() = finish;
        let worker = ports.worker().await;
        while ports.results.lock().unwrap().len() < 2 {
            tokio::task::yield_now().await;
            worker.refill().await.unwrap();
        }
        let results = ports.results.lock().unwrap();
        let news = |health| HealthNews { url_version: 7, health };
        let expected = expected.map(|health| health.map(news));
        assert_eq!([results[0].health, results[1].health], expected, "{status}, {finish:?}");
        assert_eq!(results[0].on_dead, OnDead::Hold);
    };
    let failing = Health::Failing { disable_if_since: T0 - Settings::default().failing_disable_after };
    check(200, RECORDED, [Some(Health::Working), None]).await;
    check(422, RECORDED, [Some(failing), None]).await;
    check(410, RECORDED, [Some(Health::Gone); 2]).await;
    check(422, Finish::Superseded, [Some(failing); 2]).await;
}

#[tokio::test]
async fn what_waits_for_an_endpoint_that_was_disabled_goes_back() {
    let one_at_a_time = PolicyLayer { max_in_flight: Some(1), ..PolicyLayer::default() };
    let ports = Ports::new(one_at_a_time, 410, (1..=9).map(|number| vec![delivery(number)]).collect());
    let disabled = Some(DisabledReason::Gone);
    *ports.finish.lock().unwrap() = Finish::Recorded { disabled, lane_moved: false };
    ports.run().await;
    let (sent, given_back) = (*ports.sent.lock().unwrap(), *ports.given_back.lock().unwrap());
    assert!(sent <= 2 && sent + given_back == 9, "{sent} sent, {given_back} given back");
    assert_eq!(*ports.disabled.lock().unwrap(), vec![DisabledReason::Gone; sent]);
}
