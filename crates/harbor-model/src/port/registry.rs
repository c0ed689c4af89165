//! Tenants, endpoints and subscriptions as people set them up.

use async_trait::async_trait;

use crate::endpoint::Endpoint;
use crate::event_type::EventTypePattern;
use crate::id::{EndpointId, SubscriptionId, TenantId};
use crate::job::Job;
use crate::port::Fault;
use crate::port::page::{Page, PageAsk};
use crate::subscription::Subscription;
use crate::tenant::Tenant;
use crate::time::Timestamp;

/// What came of a change.
#[derive(Clone, Debug, PartialEq)]
pub enum Change<T> {
    /// It is made, and obeyed by every later publish and delivery.
    Done(T),
    /// The thing does not exist.
    Missing,
    /// The thing has changed since it was read.
    Conflict,
    /// It would stand twice.
    Exists,
    /// There are as many as there may be.
    TooMany,
}

/// Keeps tenants.
#[async_trait]
pub trait Tenants: Send + Sync {
    /// Adds a tenant.
    async fn create_tenant(&self, tenant: Tenant) -> Result<Change<Tenant>, Fault>;

    /// Reads one.
    async fn find_tenant(&self, id: &TenantId) -> Result<Option<Tenant>, Fault>;

    /// Lists them, newest first.
    async fn tenants(&self, page: PageAsk) -> Result<Page<Tenant>, Fault>;

    /// Puts `tenant` in place of the one that has its id and its version, with the next version.
    async fn update_tenant(&self, tenant: Tenant) -> Result<Change<Tenant>, Fault>;

    /// Ends all access of a tenant at once and makes the job that purges it. Its id stays taken until the
    /// job has ended.
    async fn delete_tenant(&self, id: &TenantId, job: Job) -> Result<Change<Job>, Fault>;
}

/// Keeps endpoints.
#[async_trait]
pub trait Endpoints: Send + Sync {
    /// Adds an endpoint with its first subscriptions; at most `endpoints_max` for one tenant.
    async fn create_endpoint(
        &self,
        endpoint: Endpoint,
        subscriptions: Vec<Subscription>,
        endpoints_max: usize,
    ) -> Result<Change<Endpoint>, Fault>;

    /// Reads one.
    async fn find_endpoint(&self, tenant: &TenantId, id: EndpointId) -> Result<Option<Endpoint>, Fault>;

    /// Lists them, newest first.
    async fn endpoints(&self, tenant: &TenantId, page: PageAsk) -> Result<Page<Endpoint>, Fault>;

    /// Puts `endpoint` in place of the one that has its id and its version, with the next version.
    async fn update_endpoint(&self, endpoint: Endpoint) -> Result<Change<Endpoint>, Fault>;

    /// Removes an endpoint and its subscriptions. Its open deliveries get no more attempts at once and
    /// are cancelled by upkeep. `version` guards where it is given.
    async fn delete_endpoint(
        &self,
        tenant: &TenantId,
        id: EndpointId,
        version: Option<u64>,
        now: Timestamp,
    ) -> Result<Change<()>, Fault>;
}

/// Keeps subscriptions.
#[async_trait]
pub trait Subscriptions: Send + Sync {
    /// Adds a subscription; at most `per_endpoint_max` for one endpoint. [`Change::Missing`] where its
    /// endpoint does not exist.
    async fn create_subscription(
        &self,
        subscription: Subscription,
        per_endpoint_max: usize,
    ) -> Result<Change<Subscription>, Fault>;

    /// Reads one.
    async fn find_subscription(
        &self,
        tenant: &TenantId,
        id: SubscriptionId,
    ) -> Result<Option<Subscription>, Fault>;

    /// Lists them, newest first; of one endpoint or with one pattern, if wanted.
    async fn subscriptions(
        &self,
        tenant: &TenantId,
        filter: SubscriptionFilter,
        page: PageAsk,
    ) -> Result<Page<Subscription>, Fault>;

    /// Puts `subscription` in place of the one that has its id and its version, with the next version.
    async fn update_subscription(&self, subscription: Subscription) -> Result<Change<Subscription>, Fault>;

    /// Removes one. `version` guards where it is given.
    async fn delete_subscription(
        &self,
        tenant: &TenantId,
        id: SubscriptionId,
        version: Option<u64>,
    ) -> Result<Change<()>, Fault>;
}

/// Which subscriptions a list shows. What is `None` does not narrow it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionFilter {
    /// To this endpoint.
    pub endpoint_id: Option<EndpointId>,
    /// With this pattern.
    pub pattern: Option<EventTypePattern>,
}
