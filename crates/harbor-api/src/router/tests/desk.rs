//! A store with one tenant, one endpoint and one of each other thing, that answers as it is told and remembers
//! what it was asked.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use harbor_auth::authenticator::Authenticator;
use harbor_auth::key::KeyHasher;
use harbor_ingest::publish::{self as ingest, Publisher};
use harbor_ingest::receive::{self, Inlet};
use harbor_ingest::rejections::RejectionLog;
use harbor_model::api_key::{ApiKey, ApiKeyHash, Role};
use harbor_model::delivery::{Cause, Delivery, DeliveryStatus, DeliveryWithAttempts};
use harbor_model::directory::TenantSnapshot;
use harbor_model::endpoint::Endpoint;
use harbor_model::event::trace::TraceContext;
use harbor_model::event::{Event, EventBody, EventSummary, FanOutRecord};
use harbor_model::id::{ApiKeyId, DeliveryId, EndpointId, EventId, JobId, TenantId};
use harbor_model::job::{Job, JobCounts, JobKind, JobStatus, Task};
use harbor_model::lane::{LaneHead, LaneKey, OrderedLane, Release, Released};
use harbor_model::policy::InstancePolicy;
use harbor_model::policy::quota::{Quota, QuotaLayer};
use harbor_model::port::Fault;
use harbor_model::port::api_keys::ApiKeys;
use harbor_model::port::directory::Directory;
use harbor_model::port::history::{
    DeadLetterFilter, DeadLetterGroup, DeadLetterSummary, DeliveryFilter, EventFilter, History,
};
use harbor_model::port::intake::{Intake, NewEvent, Published};
use harbor_model::port::interventions::{Intervened, Interventions};
use harbor_model::port::jobs::{JobCancelled, JobCreated, Jobs, NewJob};
use harbor_model::port::lanes::OrderedLanes;
use harbor_model::port::observer::NoObserver;
use harbor_model::port::page::{Page, PageAsk};
use harbor_model::port::registry::{Change, Endpoints, Tenants};
use harbor_model::secret::Secret;
use harbor_model::subscription::Subscription;
use harbor_model::tenant::Tenant;
use harbor_model::time::Timestamp;
use harbor_recover::dead_letters::{self, DeadLetters};
use harbor_recover::tenants::TenantRemoval;
use harbor_recover::{interventions, jobs};

use super::store::{Trouble, TroubledStore, endpoint, endpoint_id, snapshot, tenant_id};
use super::*;

/// The pepper of the keys.
pub(super) const PEPPER: [u8; 32] = [1; 32];

/// Keys of the tenant, of another one, and of the instance; each is named for its holder.
const KEYS: [(&str, Option<&str>, Role); 6] = [
    ("hhk_admin", Some("acme"), Role::Admin),
    ("hhk_publisher", Some("acme"), Role::Publisher),
    ("hhk_viewer", Some("acme"), Role::Viewer),
    ("hhk_stranger", Some("other"), Role::Admin),
    ("hhk_instance_viewer", None, Role::Viewer),
    ("hhk_instance_publisher", None, Role::Publisher),
];

/// The store.
pub(super) struct Desk {
    pub(super) state: Mutex<State>,
}

/// What it answers, and what it was asked.
pub(super) struct State {
    pub(super) asked: Vec<String>,
    pub(super) tenant: Option<Tenant>,
    pub(super) endpoint: Endpoint,
    pub(super) quota: QuotaLayer,
    pub(super) intervened: Option<Intervened>,
    pub(super) released: Released,
    pub(super) is_expunged: bool,
    pub(super) jobs: Vec<Job>,
    pub(super) created: Option<JobCreated>,
}

/// The one delivery.
pub(super) fn delivery_id() -> DeliveryId {
    DeliveryId::from_number(3)
}

/// The one event.
pub(super) fn event_id() -> EventId {
    EventId::from_number(4)
}

/// A delivery that stands so.
pub(super) fn delivery(status: DeliveryStatus) -> Delivery {
    Delivery {
        id: delivery_id(),
        tenant_id: tenant_id(),
        event_id: event_id(),
        event_type: "a.b".parse().unwrap(),
        endpoint_id: endpoint_id(),
        status,
        attempt_count: 1,
        next_attempt_at: None,
        created_at: Timestamp::from_unix_ms(0),
        updated_at: Timestamp::from_unix_ms(0),
        delivered_at: None,
        replay_of: None,
        dead_letter: None,
    }
}

/// A job of the tenant.
pub(super) fn job(number: u128, task: Task, status: JobStatus) -> Job {
    Job {
        id: JobId::from_number(number),
        tenant_id: tenant_id(),
        task,
        status,
        counts: JobCounts::default(),
        removed: BTreeMap::new(),
        error: None,
        place: Vec::new(),
        version: 1,
        created_at: Timestamp::from_unix_ms(0),
        updated_at: Timestamp::from_unix_ms(0),
    }
}

/// The API over a desk.
pub(super) struct Scene {
    pub(super) api: Router,
    pub(super) desk: Arc<Desk>,
}

impl Scene {
    pub(super) fn new() -> Self {
        let desk = Desk::new();
        let rest = Arc::new(TroubledStore { trouble: Trouble::Crowded, open: Vec::new() });
        let (clock, rng): (Arc<dyn Clock>, Arc<dyn Rng>) =
            (Arc::new(StillClock), Arc::new(SeededRng::new(1)));
        let publisher = ingest::Deps {
            intake: desk.clone(),
            directory: desk.clone(),
            handoff: rest.clone(),
            clock: clock.clone(),
            rng: rng.clone(),
            observer: Arc::new(NoObserver),
        };
        let publisher = Publisher::new(publisher, Default::default());
        let inlet = receive::Deps {
            publisher: publisher.clone(),
            sources: rest.clone(),
            history: desk.clone(),
            rejections: Arc::new(RejectionLog::new(rest.clone())),
        };
        let dead_letters = dead_letters::Deps {
            replays: rest.clone(),
            handoff: rest.clone(),
            clock: clock.clone(),
            rng: rng.clone(),
        };
        let interventions = interventions::Deps {
            interventions: desk.clone(),
            lanes: desk.clone(),
            handoff: rest.clone(),
            clock: clock.clone(),
            rng: rng.clone(),
        };
        let jobs = jobs::Deps { jobs: desk.clone(), clock: clock.clone(), rng: rng.clone() };
        let operator_key = Secret::new(OPERATOR_KEY.to_owned());
        let authenticator = Authenticator::new(desk.clone(), &PEPPER, clock.clone(), Some(&operator_key));
        let api = router(Deps {
            publisher,
            inlet: Inlet::new(inlet),
            dead_letters: DeadLetters::new(dead_letters, Default::default()),
            interventions: interventions::Interventions::new(interventions),
            jobs: jobs::Jobs::new(jobs, Default::default()),
            tenant_removal: TenantRemoval { tenants: desk.clone(), clock: clock.clone(), rng: rng.clone() },
            authenticator: Arc::new(authenticator),
            directory: desk.clone(),
            tenants: desk.clone(),
            endpoints: desk.clone(),
            breakers: rest.clone(),
            subscriptions: rest.clone(),
            sources: rest.clone(),
            api_keys: desk.clone(),
            history: desk.clone(),
            lanes: desk.clone(),
            handoff: rest.clone(),
            readiness: rest,
            clock,
            rng,
            instance_policy: InstancePolicy::default(),
            base_url: "http://127.0.0.1:8080".to_owned(),
            public_url: None,
            cursor_key: [1; 32],
            settings: Settings::default(),
        });
        Self { api, desk }
    }

    /// Asks with a key; answers the status and the body.
    pub(super) async fn ask(&self, key: &str, method: &str, path: &str, body: Value) -> (u16, Value) {
        let (status, _, body) = call(&self.api, method, path, key, &body).await;
        (status.as_u16(), body)
    }

    /// Asks with a key and expects a problem.
    pub(super) async fn refuses(
        &self,
        key: &str,
        method: &str,
        path: &str,
        body: Value,
        expected: (u16, &str),
    ) {
        let asked = format!("{key} {method} {path} {body}");
        let (status, answer) = self.ask(key, method, path, body).await;
        let code = answer["code"].as_str().unwrap_or_default();
        assert_eq!((status, code), expected, "{asked}: {answer}");
    }

    /// Asks as the tenant's admin and expects that these fields are refused.
    pub(super) async fn refuses_fields(&self, method: &str, path: &str, body: Value, expected: &[&str]) {
        let asked = format!("{method} {path} {body}");
        let (status, answer) = self.ask("hhk_admin", method, path, body).await;
        let errors = answer["errors"].as_array().cloned().unwrap_or_default();
        let fields: Vec<_> = errors.iter().filter_map(|error| error["field"].as_str()).collect();
        assert_eq!((status, fields.as_slice()), (422, expected), "{asked}: {answer}");
    }

    /// Expects that nobody may who only publishes or, where `changes`, who only reads, nor anybody of another
    /// tenant or without a key.
    pub(super) async fn is_guarded(&self, method: &str, path: &str, body: &Value, changes: bool) {
        let own = format!("/v1/{path}");
        let named = format!("/v1/tenants/acme/{path}");
        self.refuses("hhk_publisher", method, &own, body.clone(), (403, "forbidden")).await;
        self.refuses("hhk_instance_publisher", method, &named, body.clone(), (403, "forbidden")).await;
        if changes {
            self.refuses("hhk_viewer", method, &own, body.clone(), (403, "forbidden")).await;
            self.refuses("hhk_instance_viewer", method, &named, body.clone(), (403, "forbidden")).await;
        }
        self.refuses("hhk_stranger", method, &named, body.clone(), (403, "tenant_mismatch")).await;
        self.refuses("hhk_nobody", method, &own, body.clone(), (401, "unauthorized")).await;
        let missing = format!("/v1/tenants/nobody/{path}");
        self.refuses(OPERATOR_KEY, method, &missing, body.clone(), (404, "tenant_not_found")).await;
    }
}

impl Desk {
    pub(super) fn new() -> Arc<Self> {
        let state = State {
            asked: Vec::new(),
            tenant: Some(snapshot().tenant),
            endpoint: endpoint(),
            quota: QuotaLayer::default(),
            intervened: None,
            released: Released::Missing,
            is_expunged: false,
            jobs: Vec::new(),
            created: None,
        };
        Arc::new(Self { state: Mutex::new(state) })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// What was asked since somebody last looked.
    pub(super) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state().asked)
    }

    fn note(&self, asked: impl fmt::Display) {
        self.state().asked.push(asked.to_string());
    }
}

fn unasked<T>() -> Result<T, Fault> {
    Err(Fault::bare("nobody was to ask this"))
}

#[async_trait]
impl ApiKeys for Desk {
    async fn create_api_key(&self, _: ApiKey, _: ApiKeyHash) -> Result<Change<ApiKey>, Fault> {
        unasked()
    }

    async fn find_api_key(&self, hash: &ApiKeyHash) -> Result<Option<ApiKey>, Fault> {
        let hasher = KeyHasher::new(&PEPPER);
        let found = KEYS.iter().position(|(text, _, _)| hasher.hash(text) == *hash);
        let is_revoked = self.state().tenant.is_none();
        let key = found.map(|n| (n as u128, KEYS[n])).map(|(n, (name, tenant, role))| ApiKey {
            id: ApiKeyId::from_number(n),
            tenant_id: tenant.map(|tenant| tenant.parse().unwrap()),
            role,
            name: name.to_owned(),
            created_at: Timestamp::from_unix_ms(0),
            expires_at: None,
        });
        Ok(key.filter(|key| !(is_revoked && key.tenant_id == Some(tenant_id()))))
    }

    async fn api_keys(&self, _: Option<&TenantId>, _: PageAsk) -> Result<Page<ApiKey>, Fault> {
        unasked()
    }

    async fn delete_api_key(&self, _: Option<&TenantId>, _: ApiKeyId) -> Result<bool, Fault> {
        unasked()
    }

    async fn has_no_api_key(&self) -> Result<bool, Fault> {
        unasked()
    }
}

#[async_trait]
impl Directory for Desk {
    async fn tenant(&self, id: &TenantId) -> Result<Option<Arc<TenantSnapshot>>, Fault> {
        let state = self.state();
        let Some(tenant) = state.tenant.clone().filter(|tenant| tenant.id == *id) else { return Ok(None) };
        let quota = Quota::resolve(&QuotaLayer::default(), &state.quota);
        Ok(Some(Arc::new(TenantSnapshot { tenant, quota, ..snapshot() })))
    }

    fn observe(&self, _: &TenantId, _: u64) {}
}

#[async_trait]
impl Intake for Desk {
    async fn publish(&self, events: Vec<NewEvent>) -> Vec<Result<Published, Fault>> {
        events.iter().map(|_| Ok(Published::Stored { leases: Vec::new() })).collect()
    }
}

#[async_trait]
impl Tenants for Desk {
    async fn create_tenant(&self, tenant: Tenant) -> Result<Change<Tenant>, Fault> {
        let is_taken = tenant.id == tenant_id();
        Ok(if is_taken { Change::Exists } else { Change::Done(tenant) })
    }

    async fn find_tenant(&self, id: &TenantId) -> Result<Option<Tenant>, Fault> {
        Ok(self.state().tenant.clone().filter(|tenant| tenant.id == *id))
    }

    async fn tenants(&self, _: PageAsk) -> Result<Page<Tenant>, Fault> {
        unasked()
    }

    async fn update_tenant(&self, tenant: Tenant) -> Result<Change<Tenant>, Fault> {
        let tenant = Tenant { version: tenant.version + 1, ..tenant };
        self.state().tenant = Some(tenant.clone());
        Ok(Change::Done(tenant))
    }

    async fn delete_tenant(&self, id: &TenantId, job: Job) -> Result<Change<Job>, Fault> {
        self.note(format_args!("delete tenant {id}"));
        let mut state = self.state();
        if state.tenant.take_if(|tenant| tenant.id == *id).is_none() {
            return Ok(Change::Missing);
        }
        state.jobs.push(job.clone());
        Ok(Change::Done(job))
    }
}

#[async_trait]
impl Endpoints for Desk {
    async fn create_endpoint(
        &self,
        endpoint: Endpoint,
        _: Vec<Subscription>,
        _: usize,
    ) -> Result<Change<Endpoint>, Fault> {
        Ok(Change::Done(endpoint))
    }

    async fn find_endpoint(&self, tenant: &TenantId, id: EndpointId) -> Result<Option<Endpoint>, Fault> {
        let endpoint = self.state().endpoint.clone();
        Ok(Some(endpoint).filter(|endpoint| endpoint.tenant_id == *tenant && endpoint.id == id))
    }

    async fn endpoints(&self, _: &TenantId, _: PageAsk) -> Result<Page<Endpoint>, Fault> {
        unasked()
    }

    async fn update_endpoint(&self, endpoint: Endpoint) -> Result<Change<Endpoint>, Fault> {
        let endpoint = Endpoint { version: endpoint.version + 1, ..endpoint };
        self.state().endpoint = endpoint.clone();
        Ok(Change::Done(endpoint))
    }

    async fn delete_endpoint(
        &self,
        _: &TenantId,
        _: EndpointId,
        _: Option<u64>,
        _: Timestamp,
    ) -> Result<Change<()>, Fault> {
        unasked()
    }
}

#[async_trait]
impl History for Desk {
    async fn events(&self, _: &TenantId, _: EventFilter, _: PageAsk) -> Result<Page<EventSummary>, Fault> {
        unasked()
    }

    async fn find_event(&self, tenant: &TenantId, id: EventId) -> Result<Option<Event>, Fault> {
        if *tenant != tenant_id() || id != event_id() {
            return Ok(None);
        }
        let is_expunged = self.state().is_expunged;
        let payload = if is_expunged { "" } else { "{\"a\":1}" };
        let body = EventBody {
            id,
            tenant_id: tenant_id(),
            event_type: "a.b".parse().unwrap(),
            payload: payload.into(),
            content_type: None,
            headers: Vec::new(),
            trace: TraceContext::begin(&harbor_model::chance::SeededRng::new(1)),
            created_at: Timestamp::from_unix_ms(0),
        };
        Ok(Some(Event {
            body: Arc::new(body),
            occurred_at: None,
            deliver_at: None,
            ordering_key: None,
            idempotency_key: None,
            metadata: BTreeMap::new(),
            fan_out: FanOutRecord::default(),
            is_expunged,
        }))
    }

    async fn deliveries(&self, _: &TenantId, _: DeliveryFilter, _: PageAsk) -> Result<Page<Delivery>, Fault> {
        unasked()
    }

    async fn deliveries_of_event(
        &self,
        _: &TenantId,
        _: EventId,
        _: DeliveryFilter,
        _: PageAsk,
    ) -> Result<Page<DeliveryWithAttempts>, Fault> {
        unasked()
    }

    async fn find_delivery(
        &self,
        _: &TenantId,
        _: DeliveryId,
    ) -> Result<Option<DeliveryWithAttempts>, Fault> {
        unasked()
    }

    async fn dead_letters(
        &self,
        _: &TenantId,
        _: DeadLetterFilter,
        _: PageAsk,
    ) -> Result<Page<Delivery>, Fault> {
        unasked()
    }

    async fn dead_letter_summary(&self, _: &TenantId) -> Result<DeadLetterSummary, Fault> {
        let group = DeadLetterGroup {
            endpoint_id: endpoint_id(),
            cause: Cause::ClientError,
            count: 42,
            first_dead_at: Timestamp::from_unix_ms(0),
            last_dead_at: Timestamp::from_unix_ms(1_000),
        };
        Ok(DeadLetterSummary { groups: vec![group], is_complete: true })
    }
}

impl Desk {
    /// What was made of the one delivery; of another tenant's, nothing.
    fn intervene(&self, what: &str, tenant: &TenantId, id: DeliveryId) -> Intervened {
        self.note(format_args!("{what} {id}"));
        let is_there = *tenant == tenant_id() && id == delivery_id();
        self.state().intervened.clone().filter(|_| is_there).unwrap_or(Intervened::Missing)
    }
}

#[async_trait]
impl Interventions for Desk {
    async fn retry_now(&self, tenant: &TenantId, id: DeliveryId, _: Timestamp) -> Result<Intervened, Fault> {
        Ok(self.intervene("retry", tenant, id))
    }

    async fn cancel(&self, tenant: &TenantId, id: DeliveryId, _: Timestamp) -> Result<Intervened, Fault> {
        Ok(self.intervene("cancel", tenant, id))
    }

    async fn expunge(&self, tenant: &TenantId, id: EventId, _: Timestamp) -> Result<bool, Fault> {
        let is_there = *tenant == tenant_id() && id == event_id();
        self.state().is_expunged |= is_there;
        Ok(is_there)
    }
}

#[async_trait]
impl OrderedLanes for Desk {
    async fn lanes(
        &self,
        tenant: &TenantId,
        endpoint: EndpointId,
        _: PageAsk,
    ) -> Result<Page<OrderedLane>, Fault> {
        let lane = OrderedLane {
            key: LaneKey::new("a/b:c"),
            head: Some(LaneHead {
                delivery_id: delivery_id(),
                status: DeliveryStatus::Dead,
                attempt_count: 5,
                next_attempt_at: None,
            }),
            waiting_count: 3,
            held_at: Some(Timestamp::from_unix_ms(0)),
        };
        let is_there = *tenant == tenant_id() && endpoint == endpoint_id();
        Ok(Page { items: if is_there { vec![lane] } else { Vec::new() }, next: None })
    }

    async fn release_lane(
        &self,
        _: &TenantId,
        _: EndpointId,
        key: &LaneKey,
        release: Release,
        _: Timestamp,
    ) -> Result<Released, Fault> {
        let what = match release {
            Release::Skip => "skip",
            Release::Retry(_) => "retry",
        };
        self.note(format_args!("{what} lane `{key}`"));
        Ok(self.state().released.clone())
    }
}

#[async_trait]
impl Jobs for Desk {
    async fn create_job(&self, new: NewJob, _: usize) -> Result<JobCreated, Fault> {
        let key = new.idempotency.as_ref().map(|(key, _, _)| key.as_str());
        self.note(format_args!("create {} under {key:?}", new.job.task.kind()));
        let mut state = self.state();
        if let Some(created) = state.created.clone() {
            return Ok(created);
        }
        state.jobs.push(new.job.clone());
        Ok(JobCreated::Done(new.job))
    }

    async fn find_job(&self, tenant: Option<&TenantId>, id: JobId) -> Result<Option<Job>, Fault> {
        let jobs = self.state().jobs.clone();
        let is_asked = |job: &Job| job.id == id && tenant.is_none_or(|tenant| *tenant == job.tenant_id);
        Ok(jobs.into_iter().find(is_asked))
    }

    async fn jobs(
        &self,
        tenant: Option<&TenantId>,
        kinds: &[JobKind],
        _: PageAsk,
    ) -> Result<Page<Job>, Fault> {
        let is_asked = |job: &Job| {
            kinds.contains(&job.task.kind()) && tenant.is_none_or(|tenant| *tenant == job.tenant_id)
        };
        Ok(Page {
            items: self.state().jobs.iter().filter(|job| is_asked(job)).cloned().collect(),
            next: None,
        })
    }

    async fn cancel_job(&self, _: &TenantId, id: JobId, _: Timestamp) -> Result<JobCancelled, Fault> {
        self.note(format_args!("cancel {id}"));
        let mut state = self.state();
        let Some(job) = state.jobs.iter_mut().find(|job| job.id == id) else {
            return Ok(JobCancelled::Missing);
        };
        if job.status.is_final() {
            return Ok(JobCancelled::Final(job.status));
        }
        job.status = JobStatus::Cancelled;
        Ok(JobCancelled::Done(job.clone()))
    }
}
