//! A publisher in a test: its ports answer as they are told and remember what they were asked.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use harbor_model::address::AddressPolicy;
use harbor_model::chance::SeededRng;
use harbor_model::decide::fan_out::Routes;
use harbor_model::directory::{EndpointView, TenantSnapshot};
use harbor_model::endpoint::{Endpoint, EndpointUrl};
use harbor_model::event::EventBody;
use harbor_model::id::{EndpointId, TenantId, WorkerId};
use harbor_model::policy::order::Ordering;
use harbor_model::policy::quota::{Quota, QuotaLayer};
use harbor_model::policy::{Layers, Policy, PolicyLayer};
use harbor_model::port::Fault;
use harbor_model::port::deliveries::{EndpointKey, Lease};
use harbor_model::port::directory::Directory;
use harbor_model::port::handoff::{Handoff, LaneWanted, Reservation};
use harbor_model::port::intake::{Intake, NewEvent, Published};
use harbor_model::port::observer::{
    AttemptSeen, BreakerSeen, CommitSeen, DisabledSeen, EndSeen, Observer, PublishResult, PublishSeen,
    ReceiveSeen, ThrottleSeen,
};
use harbor_model::port::quotas::{Quotas, Usage};
use harbor_model::tenant::{Tenant, TenantPolicy};
use harbor_model::time::{Clock, Timestamp};

use crate::publish::{Deps, Publisher};
use crate::request::{PublishRequest, Settings};

pub(crate) const T0: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);

/// Everything around a publisher.
pub(crate) struct Ports {
    pub(crate) now: Mutex<Timestamp>,
    pub(crate) snapshot: Mutex<Arc<TenantSnapshot>>,
    /// What the store answers; once they are used up, everything is stored.
    pub(crate) answers: Mutex<VecDeque<Result<Published, Fault>>>,
    pub(crate) events: Mutex<Vec<NewEvent>>,
    /// Which deliveries of each event room was asked for.
    pub(crate) wanted: Mutex<Vec<Vec<bool>>>,
    pub(crate) announced: Mutex<Vec<Vec<EndpointKey>>>,
    pub(crate) seen: Mutex<Vec<PublishResult>>,
    /// What was told of quotas, and what is answered.
    pub(crate) told: Mutex<Vec<Vec<(TenantId, u64)>>>,
    pub(crate) usage: Mutex<VecDeque<Result<Usage, Fault>>>,
}

pub(crate) fn tenant() -> TenantId {
    "shop".parse().unwrap()
}

pub(crate) fn endpoint(number: u128) -> EndpointId {
    EndpointId::from_number(number)
}

pub(crate) fn key(number: u128) -> EndpointKey {
    EndpointKey { tenant_id: tenant(), endpoint_id: endpoint(number) }
}

pub(crate) fn request(event_type: &str) -> PublishRequest {
    PublishRequest { event_type: event_type.to_owned(), payload: "{}".into(), ..PublishRequest::default() }
}

pub(crate) fn quota(layer: QuotaLayer) -> Quota {
    Quota::resolve(&QuotaLayer::default(), &layer)
}

/// An endpoint with an order, and what it subscribes to.
pub(crate) type Subscriber = (u128, Ordering, &'static str);

pub(crate) fn snapshot(subscribers: &[Subscriber], limits: QuotaLayer) -> Arc<TenantSnapshot> {
    let routes = subscribers.iter().map(|(id, _, pattern)| (pattern.parse().unwrap(), endpoint(*id)));
    Arc::new(TenantSnapshot {
        tenant: Tenant {
            id: tenant(),
            name: "Shop".to_owned(),
            policy: TenantPolicy { quota: limits, ..TenantPolicy::default() },
            version: 1,
            created_at: T0,
            updated_at: T0,
        },
        version: 1,
        addresses: AddressPolicy::default(),
        quota: quota(limits),
        endpoints: subscribers.iter().map(|(id, order, _)| (endpoint(*id), view(*id, *order))).collect(),
        routes: Routes::new(routes),
        sources: HashMap::new(),
    })
}

fn view(id: u128, ordering: Ordering) -> Arc<EndpointView> {
    let none = PolicyLayer::default();
    let policy = PolicyLayer { ordering: Some(ordering), ..PolicyLayer::default() };
    let endpoint = Endpoint {
        id: endpoint(id),
        tenant_id: tenant(),
        name: None,
        description: None,
        url: EndpointUrl::parse("https://example.com/", &AddressPolicy::default()).unwrap(),
        secrets: Vec::new(),
        headers: Vec::new(),
        policy: policy.clone(),
        metadata: BTreeMap::new(),
        paused: false,
        drain: None,
        disabled: None,
        enabled_at: None,
        version: 1,
        url_version: 1,
        created_at: T0,
        updated_at: T0,
    };
    let policy = Policy::resolve(Layers { instance: &none, tenant: &none, endpoint: &policy });
    Arc::new(EndpointView { endpoint, policy })
}

impl Ports {
    pub(crate) fn new(snapshot: Arc<TenantSnapshot>) -> Arc<Self> {
        Arc::new(Self {
            now: Mutex::new(T0),
            snapshot: Mutex::new(snapshot),
            answers: Mutex::default(),
            events: Mutex::default(),
            wanted: Mutex::default(),
            announced: Mutex::default(),
            seen: Mutex::default(),
            told: Mutex::default(),
            usage: Mutex::default(),
        })
    }

    pub(crate) fn publisher(self: &Arc<Self>) -> Publisher {
        let deps = Deps {
            intake: self.clone(),
            directory: self.clone(),
            handoff: self.clone(),
            clock: self.clone(),
            rng: Arc::new(SeededRng::new(1)),
            observer: self.clone(),
        };
        Publisher::new(deps, Settings::default())
    }

    pub(crate) fn answer(&self, answer: Result<Published, Fault>) {
        self.answers.lock().unwrap().push_back(answer);
    }

    pub(crate) fn wait(&self, time: Duration) {
        let mut now = self.now.lock().unwrap();
        *now = *now + time;
    }

    pub(crate) fn take_events(&self) -> Vec<NewEvent> {
        std::mem::take(&mut self.events.lock().unwrap())
    }
}

#[async_trait]
impl Directory for Ports {
    async fn tenant(&self, id: &TenantId) -> Result<Option<Arc<TenantSnapshot>>, Fault> {
        let snapshot = self.snapshot.lock().unwrap().clone();
        Ok(Some(snapshot).filter(|snapshot| snapshot.tenant.id == *id))
    }

    fn observe(&self, _: &TenantId, _: u64) {}
}

#[async_trait]
impl Intake for Ports {
    async fn publish(&self, events: Vec<NewEvent>) -> Vec<Result<Published, Fault>> {
        let mut answers = self.answers.lock().unwrap();
        let mut answer = || answers.pop_front().unwrap_or(Ok(Published::Stored { leases: Vec::new() }));
        let answers = events.iter().map(|_| answer()).collect();
        self.events.lock().unwrap().extend(events);
        answers
    }
}

impl Handoff for Ports {
    fn reserve(&self, wanted: Vec<Option<LaneWanted>>, _: u64) -> Reservation {
        self.wanted.lock().unwrap().push(wanted.iter().map(Option::is_some).collect());
        Reservation::none()
    }

    fn hand_over(&self, _: Arc<EventBody>, _: Vec<Lease>, _: Reservation) {
        unreachable!("nothing is born leased without room");
    }

    fn announce(&self, keys: &[EndpointKey]) {
        self.announced.lock().unwrap().push(keys.to_vec());
    }
}

#[async_trait]
impl Quotas for Ports {
    async fn count_usage(
        &self,
        _: WorkerId,
        taken: Vec<(TenantId, u64)>,
        _: Timestamp,
    ) -> Result<Usage, Fault> {
        self.told.lock().unwrap().push(taken);
        self.usage.lock().unwrap().pop_front().unwrap_or(Err(Fault::bare("the store is away")))
    }
}

#[async_trait]
impl Clock for Ports {
    fn now(&self) -> Timestamp {
        *self.now.lock().unwrap()
    }

    fn elapsed(&self) -> Duration {
        self.now().since(T0)
    }

    async fn sleep_until(&self, instant: Timestamp) {
        let mut now = self.now.lock().unwrap();
        *now = instant.max(*now);
    }
}

impl Observer for Ports {
    fn published(&self, seen: PublishSeen<'_>) {
        self.seen.lock().unwrap().push(seen.result);
    }
    fn received(&self, _: ReceiveSeen) {}
    fn attempted(&self, _: AttemptSeen<'_>) {}
    fn ended(&self, _: EndSeen<'_>) {}
    fn committed(&self, _: CommitSeen) {}
    fn breaker_changed(&self, _: BreakerSeen<'_>) {}
    fn throttled(&self, _: ThrottleSeen) {}
    fn endpoint_disabled(&self, _: DisabledSeen<'_>) {}
}
