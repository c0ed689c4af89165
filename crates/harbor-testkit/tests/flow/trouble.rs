use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use harbor_deliver::worker::{Deps, Settings, Worker};
use harbor_model::event::EventBody;
use harbor_model::id::{EventId, TenantId, WorkerId};
use harbor_model::port::Fault;
use harbor_model::port::deliveries::{
    AttemptResult, Backlog, Deliveries, DueEndpoint, EndpointKey, Finish, Lease, LeaseAsk, LeaseKey,
};
use harbor_model::time::Timestamp;
use harbor_store::Store;
use harbor_testkit::world::World;

/// A store that can be told to record nothing, as if its disk were full.
struct FullDisk {
    store: Arc<dyn Store>,
    is_full: AtomicBool,
}

#[async_trait]
impl Deliveries for FullDisk {
    async fn due_endpoints(
        &self,
        now: Timestamp,
        after: Option<EndpointKey>,
        limit: usize,
    ) -> Result<Vec<DueEndpoint>, Fault> {
        self.store.due_endpoints(now, after, limit).await
    }

    async fn lease(
        &self,
        worker: WorkerId,
        now: Timestamp,
        asks: Vec<LeaseAsk>,
    ) -> Result<Vec<Lease>, Fault> {
        self.store.lease(worker, now, asks).await
    }

    async fn load_events(
        &self,
        asks: Vec<(TenantId, EventId)>,
    ) -> Result<Vec<Option<Arc<EventBody>>>, Fault> {
        self.store.load_events(asks).await
    }

    async fn finish(&self, results: Vec<AttemptResult>) -> Vec<Result<Finish, Fault>> {
        if self.is_full.load(Ordering::Relaxed) {
            return results.iter().map(|_| Err(Fault::bare("the disk is full"))).collect();
        }
        self.store.finish(results).await
    }

    async fn note_start(&self, lease: &LeaseKey) -> Result<bool, Fault> {
        self.store.note_start(lease).await
    }

    async fn is_held(&self, lease: &LeaseKey) -> Result<bool, Fault> {
        self.store.is_held(lease).await
    }

    async fn leases_of(&self, worker: WorkerId) -> Result<Vec<LeaseKey>, Fault> {
        self.store.leases_of(worker).await
    }

    async fn backlog(&self, now: Timestamp) -> Result<Backlog, Fault> {
        self.store.backlog(now).await
    }
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_sent_again_without_a_pause() {
    let world = World::new().await;
    let shop = world.endpoint().await;
    // The world's own worker would deliver what this one gives back.
    world.worker.stop(Duration::ZERO).await;
    let deliveries = Arc::new(FullDisk { store: world.store.clone(), is_full: AtomicBool::new(true) });
    let deps = Deps { deliveries: deliveries.clone(), ..world.worker_deps() };
    let settings = Settings::default();
    world.publish("a").await;

    let worker = Worker::start(deps, settings.clone()).await.unwrap();
    worker.refill().await.unwrap();
    worker.idle().await;
    assert_eq!(world.received(&shop).len(), 1);
    assert_eq!(world.deliveries(&shop).await[0].attempt_count, 0, "nothing is recorded");

    deliveries.is_full.store(false, Ordering::Relaxed);
    let sent_again = async || {
        while world.received(&shop).len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    // The worker may begin its pause a moment after the clock has moved.
    for _ in 0..20 {
        world.clock.advance(settings.trouble_pause);
        if tokio::time::timeout(Duration::from_secs(1), sent_again()).await.is_ok() {
            break;
        }
    }
    assert_eq!(world.received(&shop).len(), 2, "it is sent again after the pause");
    worker.idle().await;
    worker.stop(Duration::ZERO).await;

    assert_eq!(world.history(&shop).await, ["200", "delivered"], "at least once, and recorded once");
}
