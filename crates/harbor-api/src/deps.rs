//! What the API needs.

use std::sync::Arc;

use async_trait::async_trait;
use harbor_auth::authenticator::Authenticator;
use harbor_ingest::publish::Publisher;
use harbor_ingest::receive::Inlet;
use harbor_model::chance::Rng;
use harbor_model::policy::InstancePolicy;
use harbor_model::port::Fault;
use harbor_model::port::api_keys::ApiKeys;
use harbor_model::port::breakers::Breakers;
use harbor_model::port::directory::Directory;
use harbor_model::port::handoff::Handoff;
use harbor_model::port::history::History;
use harbor_model::port::lanes::OrderedLanes;
use harbor_model::port::registry::{Endpoints, Subscriptions, Tenants};
use harbor_model::port::sources::Sources;
use harbor_model::time::Clock;
use harbor_recover::dead_letters::DeadLetters;
use harbor_recover::interventions::Interventions;
use harbor_recover::jobs::Jobs;
use harbor_recover::tenants::TenantRemoval;

use crate::settings::Settings;

/// What the API needs.
pub struct Deps {
    /// Takes events in.
    pub publisher: Publisher,
    /// Takes in what providers send to sources.
    pub inlet: Inlet,
    /// Replays and discards.
    pub dead_letters: DeadLetters,
    /// Retries and cancels what is under way, releases lanes, expunges payloads.
    pub interventions: Interventions,
    /// Starts, shows and stops work on many deliveries.
    pub jobs: Jobs,
    /// Deletes tenants.
    pub tenant_removal: TenantRemoval,
    /// Knows who is calling.
    pub authenticator: Arc<Authenticator>,
    /// Knows the tenants that are there, and what addresses their endpoints may have.
    pub directory: Arc<dyn Directory>,
    /// Keeps tenants.
    pub tenants: Arc<dyn Tenants>,
    /// Keeps endpoints.
    pub endpoints: Arc<dyn Endpoints>,
    /// Knows the circuit breakers that are not closed.
    pub breakers: Arc<dyn Breakers>,
    /// Keeps subscriptions.
    pub subscriptions: Arc<dyn Subscriptions>,
    /// Keeps sources.
    pub sources: Arc<dyn Sources>,
    /// Keeps API keys.
    pub api_keys: Arc<dyn ApiKeys>,
    /// Reads what happened.
    pub history: Arc<dyn History>,
    /// Shows ordered lanes.
    pub lanes: Arc<dyn OrderedLanes>,
    /// Wakes whoever delivers.
    pub handoff: Arc<dyn Handoff>,
    /// Says whether the store is there.
    pub readiness: Arc<dyn Readiness>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Draws ids, keys and secrets.
    pub rng: Arc<dyn Rng>,
    /// What the instance sets for all tenants.
    pub instance_policy: InstancePolicy,
    /// Where the API is reached, without a slash at the end: what sources are told to be at.
    pub base_url: String,
    /// The same where it was set; none where it is guessed from the listening address.
    pub public_url: Option<String>,
    /// Guards cursors against forgery; the same on every node.
    pub cursor_key: [u8; 32],
    /// The limits.
    pub settings: Settings,
}

/// Says whether what the server needs is reachable.
#[async_trait]
pub trait Readiness: Send + Sync {
    /// Asks the store for something small.
    async fn check(&self) -> Result<(), Fault>;
}
