//! What callers reach: the API, with everything behind it.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use harbor_api::deps::{Deps, Readiness};
use harbor_api::router::{ops_router, router};
use harbor_auth::authenticator::Authenticator;
use harbor_ingest::publish::{self, Publisher};
use harbor_model::chance::Rng;
use harbor_model::policy::PolicyLayer;
use harbor_model::port::Fault;
use harbor_model::port::handoff::Handoff;
use harbor_model::port::observer::Observer;
use harbor_model::time::Clock;
use harbor_recover::dead_letters::{self, DeadLetters};
use harbor_store::Store;
use tokio_util::sync::CancellationToken;

use crate::settings::Settings;

/// What the API is made of.
pub(crate) struct Parts<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) instance_policy: PolicyLayer,
    pub(crate) cursor_key: [u8; 32],
    pub(crate) store: Arc<dyn Store>,
    pub(crate) handoff: Arc<dyn Handoff>,
    pub(crate) authenticator: Arc<Authenticator>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) observer: Arc<dyn Observer>,
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
    let publisher = Publisher::new(
        publish::Deps {
            intake: store.clone(),
            directory: store.clone(),
            handoff: handoff.clone(),
            clock: clock.clone(),
            rng: rng.clone(),
            observer: parts.observer,
        },
        settings.publish.clone(),
    );
    let dead_letters = DeadLetters::new(
        dead_letters::Deps {
            replays: store.clone(),
            handoff: handoff.clone(),
            clock: clock.clone(),
            rng: rng.clone(),
        },
        settings.replay.clone(),
    );
    let probes = ops_router(readiness.clone(), clock.clone(), rng.clone(), &settings.api);
    let api = router(Deps {
        publisher,
        dead_letters,
        authenticator: parts.authenticator,
        directory: store.clone(),
        tenants: store.clone(),
        endpoints: store.clone(),
        breakers: store.clone(),
        subscriptions: store.clone(),
        api_keys: store.clone(),
        history: store,
        handoff,
        readiness,
        clock,
        rng,
        instance_policy: parts.instance_policy,
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
