//! A store, whichever it is: every port, and what whoever runs it needs besides.

use async_trait::async_trait;
use harbor_model::port::Fault;
use harbor_model::port::api_keys::ApiKeys;
use harbor_model::port::breakers::Breakers;
use harbor_model::port::deliveries::Deliveries;
use harbor_model::port::directory::Directory;
use harbor_model::port::history::History;
use harbor_model::port::intake::Intake;
use harbor_model::port::interventions::Interventions;
use harbor_model::port::jobs::{JobSteps, Jobs};
use harbor_model::port::lanes::OrderedLanes;
use harbor_model::port::notices::Notices;
use harbor_model::port::quotas::Quotas;
use harbor_model::port::registry::{Endpoints, Subscriptions, Tenants};
use harbor_model::port::sources::{Rejections, Sources};
use harbor_model::port::upkeep::{Replays, Upkeep};
use harbor_model::port::workers::Workers;
use tokio::sync::watch;

/// Everything that is asked of a store.
#[async_trait]
pub trait Store:
    Intake
    + Deliveries
    + Workers
    + Breakers
    + Directory
    + History
    + Tenants
    + Endpoints
    + Subscriptions
    + Sources
    + Rejections
    + ApiKeys
    + Replays
    + Interventions
    + OrderedLanes
    + Jobs
    + JobSteps
    + Notices
    + Quotas
    + Upkeep
    + 'static
{
    /// Whether the store answers.
    async fn check(&self) -> Result<(), Fault>;

    /// Finishes what was handed in and lets go of the database. What is asked afterwards is answered with
    /// a fault.
    async fn close(&self);

    /// Changes whenever another process may have made work for the workers of this one. A hint: missing it
    /// costs time only.
    fn hints(&self) -> watch::Receiver<u64>;
}
