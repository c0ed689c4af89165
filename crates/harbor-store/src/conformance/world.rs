//! A fresh store with a clock that stands still, and short words for what tests do with it.

use std::any::Any;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use harbor_model::attempt::{Attempt, ErrorClass};
use harbor_model::chance::SeededRng;
use harbor_model::decide::retry::Next;
use harbor_model::delivery::{Cause, Delivery, DeliveryWithAttempts};
use harbor_model::endpoint::{Endpoint, EndpointUrl};
use harbor_model::event::trace::TraceContext;
use harbor_model::event::{EventBody, FanOutRecord};
use harbor_model::header::CustomHeader;
use harbor_model::id::{
    AttemptId, DeliveryId, EndpointId, EventId, JobId, RejectionId, SourceId, SubscriptionId, TenantId,
    WorkerId,
};
use harbor_model::job::{Job, JobCounts, JobStatus, Task};
use harbor_model::lane::LaneKey;
use harbor_model::policy::order::OnDead;
use harbor_model::policy::{PolicyLayer, RateLimit};
use harbor_model::port::deliveries::{AttemptResult, EndpointKey, Finish, Lease, LeaseAsk, LeaseKeeper};
use harbor_model::port::intake::{IdempotencyClaim, NewDelivery, NewEvent, Published};
use harbor_model::port::page::{Page, PageAsk};
use harbor_model::port::registry::Change;
use harbor_model::port::sources::Refused;
use harbor_model::port::upkeep::{NewReplay, Replayed};
use harbor_model::secret::{Secret, TimedSecret};
use harbor_model::source::{
    Algorithm, Encoding, Provider, Rejected, Source, SourceName, SourceOptions, SourceResponse,
};
use harbor_model::subscription::Subscription;
use harbor_model::tenant::{Tenant, TenantPolicy};
use harbor_model::time::{Clock, Timestamp};

/// A store, which takes leases back by their keys, too.
pub trait Store: crate::Store + LeaseKeeper {}

impl<S: crate::Store + LeaseKeeper> Store for S {}

/// A clock that moves when it is told to.
#[derive(Debug)]
pub struct SetClock {
    now_ms: AtomicI64,
    moved: tokio::sync::Notify,
}

/// When every world begins.
pub const BEGINNING: Timestamp = Timestamp::from_unix_ms(1_800_000_000_000);

impl Default for SetClock {
    fn default() -> Self {
        Self { now_ms: AtomicI64::new(BEGINNING.unix_ms()), moved: tokio::sync::Notify::new() }
    }
}

impl SetClock {
    pub fn advance(&self, by: Duration) {
        self.now_ms.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
        self.moved.notify_waiters();
    }
}

#[async_trait]
impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_ms(self.now_ms.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Duration {
        self.now().since(BEGINNING)
    }

    async fn sleep_until(&self, instant: Timestamp) {
        loop {
            let moved = self.moved.notified();
            if self.now() >= instant {
                return;
            }
            moved.await;
        }
    }
}

/// A fresh store, and what tests do with it.
pub struct World<S> {
    pub store: Arc<S>,
    pub clock: Arc<SetClock>,
    pub rng: Arc<SeededRng>,
    reopen: Option<Arc<Reopen<S>>>,
    _kept: Box<dyn Any + Send + Sync>,
}

/// Opens a store on the data of one that is closed.
type Reopen<S> = dyn Fn(Arc<SetClock>, Arc<SeededRng>) -> Opening<S> + Send + Sync;

/// A store that is being opened.
pub type Opening<S> = Pin<Box<dyn Future<Output = Arc<S>> + Send>>;

/// A world, if there is a store to make it around.
pub trait Fresh {
    type Store;

    fn world(self) -> Option<World<Self::Store>>;
}

impl<S> Fresh for World<S> {
    type Store = S;

    fn world(self) -> Option<Self> {
        Some(self)
    }
}

impl<S> Fresh for Option<World<S>> {
    type Store = S;

    fn world(self) -> Self {
        self
    }
}

/// An event to be published, put together word by word.
pub struct Draft(pub NewEvent);

impl Draft {
    #[must_use]
    pub fn of_type(mut self, event_type: &str) -> Self {
        Arc::get_mut(&mut self.0.body).unwrap().event_type = event_type.parse().unwrap();
        self
    }

    #[must_use]
    pub fn payload(mut self, payload: &[u8]) -> Self {
        Arc::get_mut(&mut self.0.body).unwrap().payload = Bytes::copy_from_slice(payload);
        self
    }

    #[must_use]
    pub fn leased_to(mut self, worker: WorkerId) -> Self {
        for delivery in &mut self.0.deliveries {
            delivery.leased_to = Some(worker);
        }
        self
    }

    #[must_use]
    pub fn due_at(mut self, due_at: Timestamp) -> Self {
        for delivery in &mut self.0.deliveries {
            delivery.due_at = due_at;
        }
        self
    }

    /// Joins the lane of this ordering key; of the endpoint where it is empty.
    #[must_use]
    pub fn in_lane(mut self, key: &str) -> Self {
        self.0.ordering_key = (!key.is_empty()).then(|| key.to_owned());
        for delivery in &mut self.0.deliveries {
            delivery.lane = Some(LaneKey::new(key));
        }
        self
    }

    #[must_use]
    pub fn by_version(mut self, version: u64) -> Self {
        self.0.directory_version = Some(version);
        self
    }

    /// Claims a key for a day; `content` stands for the event's type and payload.
    #[must_use]
    pub fn key(mut self, key: &str, content: u8) -> Self {
        let expires_at = self.0.body.created_at + DAY;
        self.0.idempotency = Some(IdempotencyClaim {
            key: key.to_owned(),
            fingerprint: [content; 32],
            expires_at,
            slides: false,
        });
        self
    }

    /// Has each repeat hold the key for longer.
    #[must_use]
    pub fn sliding(mut self) -> Self {
        self.0.idempotency.as_mut().unwrap().slides = true;
        self
    }

    pub fn id(&self) -> EventId {
        self.0.body.id
    }

    pub fn delivery(&self) -> DeliveryId {
        self.0.deliveries[0].id
    }
}

pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);
pub const SECOND: Duration = Duration::from_secs(1);

/// It is recorded, and nothing else follows from it.
pub const RECORDED: Finish = Finish::Recorded { disabled: None, lane_moved: false };

/// It is recorded, and the next one of its lane is due.
pub const LANE_MOVED: Finish = Finish::Recorded { disabled: None, lane_moved: true };

/// The whole list in one page.
pub const ALL: PageAsk = PageAsk { limit: 10_000, after: None };

impl<S: Store> World<S> {
    /// A world around a fresh store, which `make` opens with the world's clock and chance. What it gives
    /// besides the store is kept as long as the world.
    pub async fn new<K: Any + Send + Sync>(
        make: impl AsyncFnOnce(Arc<SetClock>, Arc<SeededRng>) -> (Arc<S>, K),
    ) -> Self {
        let clock = Arc::new(SetClock::default());
        let rng = Arc::new(SeededRng::new(1));
        let (store, kept) = make(clock.clone(), rng.clone()).await;
        Self { store, clock, rng, reopen: None, _kept: Box::new(kept) }
    }

    /// Says how the store is opened anew, where what it holds outlives it.
    #[must_use]
    pub fn reopened_by(
        self,
        reopen: impl Fn(Arc<SetClock>, Arc<SeededRng>) -> Opening<S> + Send + Sync + 'static,
    ) -> Self {
        Self { reopen: Some(Arc::new(reopen)), ..self }
    }

    /// The world after its store was closed and opened again; none where that would be an empty one.
    pub async fn restarted(&self) -> Option<Self> {
        let reopen = self.reopen.clone()?;
        self.store.close().await;
        let store = reopen(self.clock.clone(), self.rng.clone()).await;
        let (clock, rng) = (self.clock.clone(), self.rng.clone());
        Some(Self { store, clock, rng, reopen: Some(reopen), _kept: Box::new(()) })
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A worker that is enlisted.
    pub async fn worker(&self) -> WorkerId {
        let worker = WorkerId::new(self.now(), &*self.rng);
        self.store.enlist(worker, self.now()).await.unwrap();
        worker
    }

    /// A tenant that is not stored yet.
    pub fn new_tenant(&self, id: &str) -> Tenant {
        Tenant {
            id: id.parse().unwrap(),
            name: format!("The {id} company"),
            policy: TenantPolicy::default(),
            version: 1,
            created_at: self.now(),
            updated_at: self.now(),
        }
    }

    pub async fn tenant(&self, id: &str) -> TenantId {
        done(self.store.create_tenant(self.new_tenant(id)).await.unwrap()).id
    }

    /// An endpoint that is not stored yet.
    pub fn new_endpoint(&self, tenant: &TenantId) -> Endpoint {
        Endpoint {
            id: EndpointId::new(self.now(), &*self.rng),
            tenant_id: tenant.clone(),
            name: Some("shop".to_owned()),
            description: None,
            url: EndpointUrl::from_stored("https://example.com/hooks?token=1").unwrap(),
            secrets: vec![
                TimedSecret::lasting(Secret::new("whsec_bmV3".to_owned())),
                TimedSecret {
                    secret: Secret::new("whsec_b2xk".to_owned()),
                    expires_at: Some(self.now() + DAY),
                },
            ],
            headers: vec![CustomHeader::new("authorization", "Bearer abc").unwrap()],
            policy: PolicyLayer { max_in_flight: Some(7), ..PolicyLayer::default() },
            metadata: BTreeMap::from([("team".to_owned(), "billing".to_owned())]),
            paused: false,
            drain: None,
            disabled: None,
            enabled_at: None,
            version: 1,
            url_version: 1,
            created_at: self.now(),
            updated_at: self.now(),
        }
    }

    /// An endpoint that wants every event.
    pub async fn endpoint(&self, tenant: &TenantId) -> Endpoint {
        let endpoint = self.new_endpoint(tenant);
        let subscription = self.new_subscription(&endpoint, "*");
        done(self.store.create_endpoint(endpoint, vec![subscription], 100).await.unwrap())
    }

    /// The endpoint as it is now, changed.
    pub async fn change(&self, endpoint: &Endpoint, change: impl FnOnce(&mut Endpoint)) -> Endpoint {
        let mut now = self.store.find_endpoint(&endpoint.tenant_id, endpoint.id).await.unwrap().unwrap();
        now.updated_at = self.now();
        change(&mut now);
        done(self.store.update_endpoint(now).await.unwrap())
    }

    /// A subscription that is not stored yet.
    pub fn new_subscription(&self, endpoint: &Endpoint, pattern: &str) -> Subscription {
        Subscription {
            id: SubscriptionId::new(self.now(), &*self.rng),
            tenant_id: endpoint.tenant_id.clone(),
            pattern: pattern.parse().unwrap(),
            endpoint_id: endpoint.id,
            version: 1,
            created_at: self.now(),
            updated_at: self.now(),
        }
    }

    /// A source that is not stored yet, of which everything is set.
    pub fn new_source(&self, tenant: &TenantId) -> Source {
        let ends_at = self.now() + DAY;
        let text = |text: &str| Some(text.to_owned());
        Source {
            id: SourceId::new(self.now(), &*self.rng),
            tenant_id: tenant.clone(),
            name: SourceName::new("Ünser shop").unwrap(),
            provider: Provider::GenericHmac,
            options: SourceOptions {
                algorithm: Some(Algorithm::Sha512),
                header: text("x-signed"),
                encoding: Some(Encoding::Base64),
                template: text("{timestamp}.{body}"),
                prefix: text("v1="),
                timestamp_header: text("x-signed-at"),
                username: text("carrier"),
                verify_token: Some(Secret::new("whverify_dG9rZW4".to_owned())),
                event_type_header: text("x-event-type"),
                event_id_header: text("x-event-id"),
                timestamp_tolerance: Some(Duration::from_millis(90_500)),
            },
            secrets: vec![
                TimedSecret::lasting(Secret::new("whsource_bmV3".to_owned())),
                TimedSecret { secret: Secret::new("whsource_b2xk".to_owned()), expires_at: Some(ends_at) },
            ],
            endpoint_id: Some(EndpointId::from_number(u128::MAX)),
            rate_limit: Some(RateLimit { per_second: 5, burst: 9 }),
            allowed_ips: vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()].into(),
            response: Some(SourceResponse {
                status: 202,
                body: "<ok note=\"ü\0\"/>".to_owned(),
                content_type: text("text/xml"),
            }),
            rejected_count: 0,
            version: 1,
            created_at: self.now(),
            updated_at: self.now(),
        }
    }

    pub async fn source(&self, tenant: &TenantId) -> Source {
        done(self.store.create_source(self.new_source(tenant), 100).await.unwrap())
    }

    /// A request that the source refused now. Each comes a moment after the one before it.
    pub fn rejected(&self, source: &Source) -> Rejected {
        self.clock.advance(Duration::from_millis(1));
        Rejected {
            id: RejectionId::new(self.now(), &*self.rng),
            tenant_id: source.tenant_id.clone(),
            source_id: source.id,
            code: "signature_mismatch".to_owned(),
            message: "no secret makes this \"signature\" \0ü".to_owned(),
            header: Some("x-signed".to_owned()),
            signed_text: Some(b"1700000000.\x00\xff".to_vec()),
            timestamp_age_s: Some(-7),
            method: "POST".to_owned(),
            remote_address: "2001:db8::1".parse().unwrap(),
            body_bytes: 1 << 40,
        }
    }

    /// Has the source refuse so many requests; answers them, oldest first.
    pub async fn refuse(&self, source: &Source, count: usize) -> Vec<Rejected> {
        let newest: Vec<_> = (0..count).map(|_| self.rejected(source)).collect();
        let refused = Refused {
            tenant_id: source.tenant_id.clone(),
            source_id: source.id,
            count: count as u64,
            newest: newest.clone(),
        };
        self.store.note_rejections(vec![refused]).await.unwrap();
        newest
    }

    /// An event to these endpoints, made now, due at once.
    pub fn event(&self, tenant: &TenantId, endpoints: &[&Endpoint]) -> Draft {
        let now = self.now();
        let deliveries = endpoints.iter().map(|endpoint| NewDelivery {
            id: DeliveryId::new(now, &*self.rng),
            endpoint_id: endpoint.id,
            due_at: now,
            lane: None,
            leased_to: None,
        });
        let body = EventBody {
            id: EventId::new(now, &*self.rng),
            tenant_id: tenant.clone(),
            event_type: "invoice.paid".parse().unwrap(),
            payload: Bytes::from_static(b"{\"amount\": 1.10}"),
            content_type: None,
            headers: Vec::new(),
            trace: TraceContext::begin(&*self.rng),
            created_at: now,
        };
        Draft(NewEvent {
            body: body.into(),
            occurred_at: None,
            deliver_at: None,
            ordering_key: None,
            idempotency: None,
            metadata: BTreeMap::new(),
            fan_out: FanOutRecord { count: u32::try_from(endpoints.len()).unwrap(), skipped: Vec::new() },
            deliveries: deliveries.collect(),
            directory_version: None,
        })
    }

    pub async fn publish(&self, draft: Draft) -> Published {
        self.store.publish(vec![draft.0]).await.remove(0).unwrap()
    }

    /// Publishes, and answers the leases of what was born leased.
    pub async fn stored(&self, draft: Draft) -> Vec<Lease> {
        match self.publish(draft).await {
            Published::Stored { leases } => leases,
            other => panic!("the event was not stored: {other:?}"),
        }
    }

    /// Publishes one event to one endpoint; answers its delivery.
    pub async fn owed(&self, endpoint: &Endpoint) -> DeliveryId {
        let draft = self.event(&endpoint.tenant_id, &[endpoint]);
        let id = draft.delivery();
        assert!(self.stored(draft).await.is_empty());
        id
    }

    /// Publishes one event to one endpoint in a lane; answers its delivery.
    pub async fn owed_in(&self, endpoint: &Endpoint, lane: &str) -> DeliveryId {
        let draft = self.event(&endpoint.tenant_id, &[endpoint]).in_lane(lane);
        let id = draft.delivery();
        assert!(self.stored(draft).await.is_empty());
        id
    }

    /// The deliveries that are due to the endpoint and that nobody holds, in the order of their ids.
    pub async fn due(&self, endpoint: &Endpoint) -> Vec<DeliveryId> {
        let leases = self.lease(self.worker().await, endpoint, 1_000).await;
        let mut ids: Vec<_> = leases.iter().map(|lease| lease.delivery.delivery_id).collect();
        ids.sort_unstable();
        ids
    }

    pub async fn lease(&self, worker: WorkerId, endpoint: &Endpoint, count: usize) -> Vec<Lease> {
        let ask = LeaseAsk { key: key_of(endpoint), count };
        self.store.lease(worker, self.now(), vec![ask]).await.unwrap()
    }

    /// Leases the one delivery that is due to the endpoint.
    pub async fn lease_one(&self, endpoint: &Endpoint) -> Lease {
        let mut leases = self.lease(self.worker().await, endpoint, 10).await;
        assert_eq!(leases.len(), 1, "one delivery is due");
        leases.remove(0)
    }

    /// A request that was answered with this status.
    pub fn attempt(&self, status: u16) -> Attempt {
        Attempt {
            id: AttemptId::new(self.now(), &*self.rng),
            number: None,
            started_at: self.now(),
            latency: Duration::from_micros(1_500),
            http_status: Some(status),
            error_class: (status >= 500).then_some(ErrorClass::Http5xx),
            error: None,
            response_body: Bytes::from_static(b"ok"),
            response_headers: vec![("content-type".to_owned(), "text/plain".to_owned())],
            remote_address: Some("192.0.2.1:443".parse().unwrap()),
        }
    }

    pub fn result(&self, lease: Lease, status: u16, next: Next) -> AttemptResult {
        AttemptResult {
            lease,
            attempt: Some(self.attempt(status)),
            is_interrupted: false,
            next,
            decided_at: self.now(),
            on_dead: OnDead::Skip,
            health: None,
        }
    }

    pub async fn record(&self, result: AttemptResult) -> Finish {
        self.store.finish(vec![result]).await.remove(0).unwrap()
    }

    pub async fn finish(&self, lease: Lease, status: u16, next: Next) -> Finish {
        self.record(self.result(lease, status, next)).await
    }

    /// A delivery that was made, tried once, and delivered.
    pub async fn delivered(&self, endpoint: &Endpoint) -> DeliveryId {
        self.ended(endpoint, 200, Next::Delivered).await
    }

    /// A delivery that was made, tried once, and died.
    pub async fn dead(&self, endpoint: &Endpoint) -> DeliveryId {
        self.ended(endpoint, 500, Next::Dead(Cause::AttemptsExhausted)).await
    }

    async fn ended(&self, endpoint: &Endpoint, status: u16, next: Next) -> DeliveryId {
        let draft = self.event(&endpoint.tenant_id, &[endpoint]).leased_to(self.worker().await);
        let id = draft.delivery();
        let lease = self.stored(draft).await.remove(0);
        assert_eq!(self.finish(lease, status, next).await, RECORDED);
        id
    }

    pub async fn read(&self, tenant: &TenantId, id: DeliveryId) -> DeliveryWithAttempts {
        self.store.find_delivery(tenant, id).await.unwrap().expect("the delivery exists")
    }

    /// Where a delivery stands and what was tried, in short: `failed [500]`.
    pub async fn shown(&self, tenant: &TenantId, id: DeliveryId) -> String {
        let found = self.read(tenant, id).await;
        let statuses: Vec<_> =
            found.attempts.iter().map(|attempt| attempt.http_status.unwrap_or(0)).collect();
        format!("{} {statuses:?}", found.delivery.status)
    }

    /// A replay that is not asked for yet.
    pub fn new_replay(&self, tenant: &TenantId, of: DeliveryId) -> NewReplay {
        NewReplay {
            id: DeliveryId::new(self.now(), &*self.rng),
            tenant_id: tenant.clone(),
            of,
            reason: Some("the shop was closed".to_owned()),
            new_webhook_id: false,
            idempotency: None,
            now: self.now(),
        }
    }

    /// A job that is not made yet.
    pub fn new_job(&self, tenant: &TenantId, task: Task) -> Job {
        Job {
            id: JobId::new(self.now(), &*self.rng),
            tenant_id: tenant.clone(),
            task,
            status: JobStatus::Pending,
            counts: JobCounts::default(),
            removed: BTreeMap::new(),
            error: None,
            place: Vec::new(),
            version: 1,
            created_at: self.now(),
            updated_at: self.now(),
        }
    }

    pub async fn replay(&self, tenant: &TenantId, of: DeliveryId) -> Delivery {
        match self.store.replay(self.new_replay(tenant, of)).await.unwrap() {
            Replayed::Made(delivery) => delivery,
            other => panic!("no replay was made: {other:?}"),
        }
    }
}

pub fn key_of(endpoint: &Endpoint) -> EndpointKey {
    EndpointKey { tenant_id: endpoint.tenant_id.clone(), endpoint_id: endpoint.id }
}

/// What a change came to, which must be done.
pub fn done<T: std::fmt::Debug>(change: Change<T>) -> T {
    match change {
        Change::Done(value) => value,
        other => panic!("the change was not made: {other:?}"),
    }
}

/// The items of all pages of a list that is read a few at a time, and how many pages there were.
pub async fn walk<T>(limit: usize, mut list: impl AsyncFnMut(PageAsk) -> Page<T>) -> (Vec<T>, usize) {
    let mut items = Vec::new();
    let mut after = None;
    for page_count in 1..1_000 {
        let page = list(PageAsk { limit, after }).await;
        assert!(page.items.len() <= limit);
        items.extend(page.items);
        match page.next {
            Some(next) => after = Some(next),
            None => return (items, page_count),
        }
    }
    panic!("the list does not end");
}
