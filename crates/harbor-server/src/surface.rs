//! What callers reach: the API, with everything behind it.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use harbor_api::deps::{Deps, Readiness};
use harbor_api::router::{ops_router, router};
use harbor_auth::authenticator::Authenticator;
use harbor_ingest::publish::Publisher;
use harbor_ingest::receive::{self, Inlet};
use harbor_ingest::rejections::RejectionLog;
use harbor_model::chance::Rng;
use harbor_model::policy::InstancePolicy;
use harbor_model::port::Fault;
use harbor_model::port::handoff::Handoff;
use harbor_model::time::Clock;
use harbor_recover::dead_letters::{self, DeadLetters};
use harbor_recover::interventions::{self, Interventions};
use harbor_recover::jobs::{self, Jobs};
use harbor_recover::tenants::TenantRemoval;
use harbor_store::Store;
use tokio_util::sync::CancellationToken;

use crate::settings::Settings;

/// What the API is made of.
pub(crate) struct Parts<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) instance_policy: InstancePolicy,
    pub(crate) cursor_key: [u8; 32],
    pub(crate) store: Arc<dyn Store>,
    pub(crate) publisher: Publisher,
    pub(crate) rejections: Arc<RejectionLog>,
    /// Where the API is reached.
    pub(crate) base_url: String,
    pub(crate) handoff: Arc<dyn Handoff>,
    pub(crate) authenticator: Arc<Authenticator>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) stopping: CancellationToken,
}

/// What is served.
pub(crate) struct Routers {
    /// On the listener of the API.
    pub(crate) api: Router,
    /// Health and readiness, on the ops listener.
    pub(crate) probes: Router,
}

/// Puts the API together.
pub(crate) fn routers(parts: Parts<'_>) -> Routers {
    let Parts { settings, store, handoff, clock, rng, .. } = parts;
    let readiness = Arc::new(StoreReadiness { store: store.clone(), stopping: parts.stopping });
    let dead_letters = DeadLetters::new(
        dead_letters::Deps {
            replays: store.clone(),
            handoff: handoff.clone(),
            clock: clock.clone(),
            rng: rng.clone(),
        },
        settings.replay.clone(),
    );
    let interventions = Interventions::new(interventions::Deps {
        interventions: store.clone(),
        lanes: store.clone(),
        handoff: handoff.clone(),
        clock: clock.clone(),
        rng: rng.clone(),
    });
    let jobs = Jobs::new(
        jobs::Deps { jobs: store.clone(), clock: clock.clone(), rng: rng.clone() },
        settings.job_limits(),
    );
    let tenant_removal = TenantRemoval { tenants: store.clone(), clock: clock.clone(), rng: rng.clone() };
    let probes = ops_router(readiness.clone(), clock.clone(), rng.clone(), &settings.api);
    let inlet = Inlet::new(receive::Deps {
        publisher: parts.publisher.clone(),
        sources: store.clone(),
        history: store.clone(),
        rejections: parts.rejections,
    });
    let api = router(Deps {
        publisher: parts.publisher,
        inlet,
        dead_letters,
        interventions,
        jobs,
        tenant_removal,
        authenticator: parts.authenticator,
        directory: store.clone(),
        tenants: store.clone(),
        endpoints: store.clone(),
        breakers: store.clone(),
        subscriptions: store.clone(),
        sources: store.clone(),
        api_keys: store.clone(),
        lanes: store.clone(),
        history: store,
        handoff,
        readiness,
        clock,
        rng,
        instance_policy: parts.instance_policy,
        public_url: settings.server.public_url.is_some().then(|| parts.base_url.clone()),
        base_url: parts.base_url,
        cursor_key: parts.cursor_key,
        settings: settings.api.clone(),
    });
    Routers { api, probes }
}

/// Ready while the store answers and nobody has asked the instance to stop.
struct StoreReadiness {
    store: Arc<dyn Store>,
    stopping: CancellationToken,
}

#[async_trait]
impl Readiness for StoreReadiness {
    async fn check(&self) -> Result<(), Fault> {
        if self.stopping.is_cancelled() {
            return Err(Fault::bare("the instance is stopping"));
        }
        self.store.check().await
    }
}
