//! A store in trouble: it knows one tenant with one endpoint, and little else.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use harbor_model::address::AddressPolicy;
use harbor_model::api_key::{ApiKey, ApiKeyHash};
use harbor_model::decide::fan_out::Routes;
use harbor_model::delivery::{Delivery, DeliveryWithAttempts};
use harbor_model::directory::{EndpointView, TenantSnapshot};
use harbor_model::endpoint::{Endpoint, EndpointUrl};
use harbor_model::event::{Event, EventBody, EventSummary};
use harbor_model::id::{
    ApiKeyId, DeliveryId, EndpointId, EventId, JobId, SourceId, SubscriptionId, TenantId,
};
use harbor_model::job::{Job, JobKind};
use harbor_model::lane::{LaneKey, OrderedLane, Release, Released};
use harbor_model::policy::quota::{Quota, QuotaLayer};
use harbor_model::policy::{Layers, Policy, PolicyLayer};
use harbor_model::port::Fault;
use harbor_model::port::api_keys::ApiKeys;
use harbor_model::port::breakers::{BreakerChange, Breakers, OpenBreaker};
use harbor_model::port::deliveries::{EndpointKey, Lease};
use harbor_model::port::directory::Directory;
use harbor_model::port::handoff::{Handoff, LaneWanted, Reservation};
use harbor_model::port::history::{
    DeadLetterFilter, DeadLetterSummary, DeliveryFilter, EventFilter, History,
};
use harbor_model::port::intake::{Intake, NewEvent, Published};
use harbor_model::port::interventions::{Intervened, Interventions};
use harbor_model::port::jobs::{JobCancelled, JobCreated, Jobs, NewJob};
use harbor_model::port::lanes::OrderedLanes;
use harbor_model::port::page::{Page, PageAsk};
use harbor_model::port::registry::{Change, Endpoints, SubscriptionFilter, Subscriptions, Tenants};
use harbor_model::port::sources::{Refused, Rejections, Sources};
use harbor_model::port::upkeep::{Discarded, NewReplay, Replayed, Replays};
use harbor_model::source::{Rejected, Source};
use harbor_model::subscription::Subscription;
use harbor_model::tenant::{Tenant, TenantPolicy};
use harbor_model::time::Timestamp;

/// What a fault says to operators, and to nobody else.
const CONTEXT: &str = "asking the store";
const SECRET: &str = "postgres://harbor@10.9.8.7/hooks: SELECT secret FROM endpoints";

/// Whether an answer tells what is for operators.
pub(super) fn tells_too_much(answer: &str) -> bool {
    answer.contains(CONTEXT) || answer.contains(SECRET)
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nothing answers.
    AllAway,
    /// What is remembered of the tenant is there, and nothing else answers.
    AllButDirectoryAway,
    /// Endpoints and breakers can be read; the tenant has too much waiting.
    Crowded,
}

/// A store in trouble.
pub(super) struct TroubledStore {
    pub(super) trouble: Trouble,
    pub(super) open: Vec<OpenBreaker>,
}

/// The one endpoint.
pub(super) fn endpoint_id() -> EndpointId {
    EndpointId::from_number(1)
}

/// The one tenant.
pub(super) fn tenant_id() -> TenantId {
    "acme".parse().unwrap()
}

/// That endpoint.
pub(super) fn endpoint() -> Endpoint {
    Endpoint {
        id: endpoint_id(),
        tenant_id: tenant_id(),
        name: None,
        description: None,
        url: EndpointUrl::parse("https://example.com/", &AddressPolicy::default()).unwrap(),
        secrets: Vec::new(),
        headers: Vec::new(),
        policy: PolicyLayer::default(),
        metadata: Default::default(),
        paused: false,
        drain: None,
        disabled: None,
        enabled_at: None,
        version: 1,
        url_version: 1,
        created_at: Timestamp::from_unix_ms(0),
        updated_at: Timestamp::from_unix_ms(0),
    }
}

/// What is known of the tenant.
pub(super) fn snapshot() -> TenantSnapshot {
    let layer = PolicyLayer::default();
    let policy = Policy::resolve(Layers { instance: &layer, tenant: &layer, endpoint: &layer });
    TenantSnapshot {
        tenant: Tenant {
            id: tenant_id(),
            name: "Acme".to_owned(),
            policy: TenantPolicy::default(),
            version: 1,
            created_at: Timestamp::from_unix_ms(0),
            updated_at: Timestamp::from_unix_ms(0),
        },
        version: 1,
        addresses: AddressPolicy::default(),
        quota: Quota::resolve(&QuotaLayer::default(), &QuotaLayer::default()),
        endpoints: [(endpoint_id(), Arc::new(EndpointView { endpoint: endpoint(), policy }))].into(),
        routes: Routes::new([("*".parse().unwrap(), endpoint_id())]),
        sources: HashMap::new(),
    }
}

fn away<T>() -> Result<T, Fault> {
    Err(Fault::new(CONTEXT, SECRET))
}

impl TroubledStore {
    fn unless_away<T>(&self, value: T) -> Result<T, Fault> {
        match self.trouble {
            Trouble::AllAway | Trouble::AllButDirectoryAway => away(),
            Trouble::Crowded => Ok(value),
        }
    }
}

#[async_trait]
impl Directory for TroubledStore {
    async fn tenant(&self, _: &TenantId) -> Result<Option<Arc<TenantSnapshot>>, Fault> {
        match self.trouble {
            Trouble::AllAway => away(),
            Trouble::AllButDirectoryAway | Trouble::Crowded => Ok(Some(Arc::new(snapshot()))),
        }
    }

    fn observe(&self, _: &TenantId, _: u64) {}
}

#[async_trait]
impl Intake for TroubledStore {
    async fn publish(&self, events: Vec<NewEvent>) -> Vec<Result<Published, Fault>> {
        events.iter().map(|_| self.unless_away(Published::Crowded)).collect()
    }
}

#[async_trait]
impl Breakers for TroubledStore {
    async fn open_breaker(&self, _: &EndpointKey, _: BreakerChange) -> Result<Option<OpenBreaker>, Fault> {
        away()
    }

    async fn change_breaker(
        &self,
        _: &EndpointKey,
        _: u64,
        _: Option<BreakerChange>,
    ) -> Result<Option<OpenBreaker>, Fault> {
        away()
    }

    async fn open_breakers(&self) -> Result<Vec<OpenBreaker>, Fault> {
        self.unless_away(self.open.clone())
    }

    async fn find_breaker(&self, tenant: &TenantId, id: EndpointId) -> Result<Option<OpenBreaker>, Fault> {
        let is_asked =
            |breaker: &&OpenBreaker| breaker.key.tenant_id == *tenant && breaker.key.endpoint_id == id;
        self.unless_away(self.open.iter().find(is_asked).cloned())
    }
}

#[async_trait]
impl Endpoints for TroubledStore {
    async fn create_endpoint(
        &self,
        _: Endpoint,
        _: Vec<Subscription>,
        _: usize,
    ) -> Result<Change<Endpoint>, Fault> {
        away()
    }

    async fn find_endpoint(&self, _: &TenantId, _: EndpointId) -> Result<Option<Endpoint>, Fault> {
        self.unless_away(Some(endpoint()))
    }

    async fn endpoints(&self, _: &TenantId, _: PageAsk) -> Result<Page<Endpoint>, Fault> {
        let other = Endpoint { id: EndpointId::from_number(2), ..endpoint() };
        self.unless_away(Page { items: vec![other, endpoint()], next: None })
    }

    async fn update_endpoint(&self, _: Endpoint) -> Result<Change<Endpoint>, Fault> {
        away()
    }

    async fn delete_endpoint(
        &self,
        _: &TenantId,
        _: EndpointId,
        _: Option<u64>,
        _: Timestamp,
    ) -> Result<Change<()>, Fault> {
        away()
    }
}

#[async_trait]
impl Tenants for TroubledStore {
    async fn create_tenant(&self, _: Tenant) -> Result<Change<Tenant>, Fault> {
        away()
    }

    async fn find_tenant(&self, _: &TenantId) -> Result<Option<Tenant>, Fault> {
        away()
    }

    async fn tenants(&self, _: PageAsk) -> Result<Page<Tenant>, Fault> {
        away()
    }

    async fn update_tenant(&self, _: Tenant) -> Result<Change<Tenant>, Fault> {
        away()
    }

    async fn delete_tenant(&self, _: &TenantId, _: Job) -> Result<Change<Job>, Fault> {
        away()
    }
}

#[async_trait]
impl Subscriptions for TroubledStore {
    async fn create_subscription(&self, _: Subscription, _: usize) -> Result<Change<Subscription>, Fault> {
        away()
    }

    async fn find_subscription(
        &self,
        _: &TenantId,
        _: SubscriptionId,
    ) -> Result<Option<Subscription>, Fault> {
        away()
    }

    async fn subscriptions(
        &self,
        _: &TenantId,
        _: SubscriptionFilter,
        _: PageAsk,
    ) -> Result<Page<Subscription>, Fault> {
        away()
    }

    async fn update_subscription(&self, _: Subscription) -> Result<Change<Subscription>, Fault> {
        away()
    }

    async fn delete_subscription(
        &self,
        _: &TenantId,
        _: SubscriptionId,
        _: Option<u64>,
    ) -> Result<Change<()>, Fault> {
        away()
    }
}

#[async_trait]
impl ApiKeys for TroubledStore {
    async fn create_api_key(&self, _: ApiKey, _: ApiKeyHash) -> Result<Change<ApiKey>, Fault> {
        away()
    }

    async fn find_api_key(&self, _: &ApiKeyHash) -> Result<Option<ApiKey>, Fault> {
        away()
    }

    async fn api_keys(&self, _: Option<&TenantId>, _: PageAsk) -> Result<Page<ApiKey>, Fault> {
        away()
    }

    async fn delete_api_key(&self, _: Option<&TenantId>, _: ApiKeyId) -> Result<bool, Fault> {
        away()
    }

    async fn has_no_api_key(&self) -> Result<bool, Fault> {
        away()
    }
}

#[async_trait]
impl History for TroubledStore {
    async fn events(&self, _: &TenantId, _: EventFilter, _: PageAsk) -> Result<Page<EventSummary>, Fault> {
        away()
    }

    async fn find_event(&self, _: &TenantId, _: EventId) -> Result<Option<Event>, Fault> {
        away()
    }

    async fn deliveries(&self, _: &TenantId, _: DeliveryFilter, _: PageAsk) -> Result<Page<Delivery>, Fault> {
        away()
    }

    async fn deliveries_of_event(
        &self,
        _: &TenantId,
        _: EventId,
        _: DeliveryFilter,
        _: PageAsk,
    ) -> Result<Page<DeliveryWithAttempts>, Fault> {
        away()
    }

    async fn find_delivery(
        &self,
        _: &TenantId,
        _: DeliveryId,
    ) -> Result<Option<DeliveryWithAttempts>, Fault> {
        away()
    }

    async fn dead_letters(
        &self,
        _: &TenantId,
        _: DeadLetterFilter,
        _: PageAsk,
    ) -> Result<Page<Delivery>, Fault> {
        away()
    }

    async fn dead_letter_summary(&self, _: &TenantId) -> Result<DeadLetterSummary, Fault> {
        away()
    }
}

#[async_trait]
impl Interventions for TroubledStore {
    async fn retry_now(&self, _: &TenantId, _: DeliveryId, _: Timestamp) -> Result<Intervened, Fault> {
        away()
    }

    async fn cancel(&self, _: &TenantId, _: DeliveryId, _: Timestamp) -> Result<Intervened, Fault> {
        away()
    }

    async fn expunge(&self, _: &TenantId, _: EventId, _: Timestamp) -> Result<bool, Fault> {
        away()
    }
}

#[async_trait]
impl OrderedLanes for TroubledStore {
    async fn lanes(&self, _: &TenantId, _: EndpointId, _: PageAsk) -> Result<Page<OrderedLane>, Fault> {
        away()
    }

    async fn release_lane(
        &self,
        _: &TenantId,
        _: EndpointId,
        _: &LaneKey,
        _: Release,
        _: Timestamp,
    ) -> Result<Released, Fault> {
        away()
    }
}

#[async_trait]
impl Jobs for TroubledStore {
    async fn create_job(&self, _: NewJob, _: usize) -> Result<JobCreated, Fault> {
        away()
    }

    async fn find_job(&self, _: Option<&TenantId>, _: JobId) -> Result<Option<Job>, Fault> {
        away()
    }

    async fn jobs(&self, _: Option<&TenantId>, _: &[JobKind], _: PageAsk) -> Result<Page<Job>, Fault> {
        away()
    }

    async fn cancel_job(&self, _: &TenantId, _: JobId, _: Timestamp) -> Result<JobCancelled, Fault> {
        away()
    }
}

#[async_trait]
impl Replays for TroubledStore {
    async fn replay(&self, _: NewReplay) -> Result<Replayed, Fault> {
        away()
    }

    async fn discard(&self, _: &TenantId, _: DeliveryId, _: Timestamp) -> Result<Discarded, Fault> {
        away()
    }
}

#[async_trait]
impl crate::deps::Readiness for TroubledStore {
    async fn check(&self) -> Result<(), Fault> {
        away()
    }
}

impl Handoff for TroubledStore {
    fn reserve(&self, _: Vec<Option<LaneWanted>>, _: u64) -> Reservation {
        Reservation::none()
    }

    fn hand_over(&self, _: Arc<EventBody>, _: Vec<Lease>, _: Reservation) {}

    fn announce(&self, _: &[EndpointKey]) {}
}

#[async_trait]
impl Sources for TroubledStore {
    async fn create_source(&self, _: Source, _: usize) -> Result<Change<Source>, Fault> {
        away()
    }

    async fn find_source(&self, _: &TenantId, _: SourceId) -> Result<Option<Source>, Fault> {
        away()
    }

    async fn sources(&self, _: &TenantId, _: PageAsk) -> Result<Page<Source>, Fault> {
        away()
    }

    async fn update_source(&self, _: Source) -> Result<Change<Source>, Fault> {
        away()
    }

    async fn delete_source(&self, _: &TenantId, _: SourceId, _: Option<u64>) -> Result<Change<()>, Fault> {
        away()
    }

    async fn owner_of_source(&self, _: SourceId) -> Result<Option<TenantId>, Fault> {
        away()
    }
}

#[async_trait]
impl Rejections for TroubledStore {
    async fn note_rejections(&self, _: Vec<Refused>) -> Result<(), Fault> {
        away()
    }

    async fn rejections(&self, _: &TenantId, _: SourceId, _: PageAsk) -> Result<Page<Rejected>, Fault> {
        away()
    }
}
