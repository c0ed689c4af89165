//! A whole instance in a test: the real store, publisher and worker around a clock that the test moves.

mod endpoint;
mod operation;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use harbor_deliver::worker::{self, Worker};
use harbor_ingest::publish::{self, PublishReceipt, PublishRefusal, Publisher};
use harbor_ingest::receive::{self, Inlet};
use harbor_ingest::rejections::RejectionLog;
use harbor_ingest::request::PublishRequest;
use harbor_model::address::AddressPolicy;
use harbor_model::chance::{Rng, SeededRng};
use harbor_model::delivery::{Delivery, DeliveryWithAttempts};
use harbor_model::endpoint::Endpoint;
use harbor_model::id::{DeliveryId, EndpointId, EventId, TenantId};
use harbor_model::port::history::{DeadLetterFilter, DeliveryFilter};
use harbor_model::port::observer::NoObserver;
use harbor_model::port::page::PageAsk;
use harbor_model::port::registry::Change;
use harbor_model::tenant::{Tenant, TenantPolicy};
use harbor_model::time::{Clock, Timestamp};
use harbor_store::Store;
use harbor_store::directory::InstanceLayer;

use crate::clock::ManualClock;
use crate::receivers::{Received, ScriptedReceivers};
use crate::services::TestDatabase;
use crate::stores;
use crate::world::endpoint::EndpointPlan;
use crate::world::operation::Operation;

pub use crate::world::endpoint::SECRET;

/// When every world begins.
pub const WORLD_BEGINS: Timestamp = Timestamp::from_unix_ms(1_800_000_000_000);

/// How far the clock moves at a time while something has a rate.
const STEP: Duration = Duration::from_millis(10);

/// The most items that a test reads of one list.
const ALL: PageAsk = PageAsk { limit: 500, after: None };

/// A whole instance in a test, with one tenant.
pub struct World {
    /// The time, moved by the test.
    pub clock: Arc<ManualClock>,
    /// What endpoints answer, and what they got.
    pub receivers: Arc<ScriptedReceivers>,
    /// The store.
    pub store: Arc<dyn Store>,
    /// The publisher.
    pub publisher: Publisher,
    /// What sources take in by.
    pub inlet: Inlet,
    /// The worker.
    pub worker: Worker,
    /// The tenant.
    pub tenant: TenantId,
    /// Chance, from a seed.
    pub rng: Arc<dyn Rng>,
    operation: Operation,
    /// Dropped after everything that uses it.
    _database: Option<TestDatabase>,
}

/// An endpoint of a world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shop {
    /// Names it.
    pub id: EndpointId,
    /// The path of its URL, which tells its receiver from others.
    pub path: String,
}

impl World {
    /// A world with one tenant and no endpoint.
    pub async fn new() -> Self {
        Self::from_seed(1).await
    }

    /// A world whose ids and jitter come from `seed`.
    pub async fn from_seed(seed: u64) -> Self {
        let clock = Arc::new(ManualClock::new(WORLD_BEGINS));
        let rng: Arc<dyn Rng> = Arc::new(SeededRng::new(seed));
        let addresses = AddressPolicy { http: true, loopback: true, ..AddressPolicy::default() };
        let instance = InstanceLayer { addresses, ..InstanceLayer::default() };
        let (store, database) = stores::open_fresh(instance, clock.clone(), rng.clone()).await;
        let receivers = Arc::new(ScriptedReceivers::new(clock.clone()));
        let worker = start_worker(deps_of(&store, &clock, &rng, &receivers)).await;
        let publisher = publisher_of(&store, &worker, &clock, &rng);
        let inlet = Inlet::new(receive::Deps {
            publisher: publisher.clone(),
            sources: store.clone(),
            history: store.clone(),
            rejections: Arc::new(RejectionLog::new(store.clone())),
        });
        let tenant = create_tenant(&*store, "tn_world").await;
        let operation = Operation::new(&store, &worker, &publisher, &clock, &rng);
        Self {
            clock,
            receivers,
            store,
            publisher,
            inlet,
            worker,
            tenant,
            rng,
            operation,
            _database: database,
        }
    }

    /// A publisher beside the world's own, as another process has one.
    pub fn another_publisher(&self) -> Publisher {
        publisher_of(&self.store, &self.worker, &self.clock, &self.rng)
    }

    /// What a worker of this world needs; a test may put something else in a place.
    pub fn worker_deps(&self) -> worker::Deps {
        deps_of(&self.store, &self.clock, &self.rng, &self.receivers)
    }

    /// Starts another worker beside the world's own.
    pub async fn another_worker(&self) -> Worker {
        start_worker(self.worker_deps()).await
    }

    /// Plans an endpoint of the world's tenant that wants every event; `.await` makes it.
    pub fn endpoint(&self) -> EndpointPlan<'_> {
        EndpointPlan::new(self)
    }

    /// Publishes an event of this type.
    pub async fn publish(&self, event_type: &str) -> EventId {
        let request = PublishRequest {
            event_type: event_type.to_owned(),
            payload: Bytes::from_static(br#"{"amount": 1.10}"#),
            ..PublishRequest::default()
        };
        self.try_publish(request).await.expect("the event is valid").event_id
    }

    /// Publishes an event with this ordering key and payload.
    pub async fn publish_in_order(&self, key: &str, payload: impl Into<Bytes>) -> EventId {
        let request = PublishRequest {
            event_type: "order.changed".to_owned(),
            payload: payload.into(),
            ordering_key: Some(key.to_owned()),
            ..PublishRequest::default()
        };
        self.try_publish(request).await.expect("the event is valid").event_id
    }

    /// Publishes what the test wrote.
    pub async fn try_publish(&self, request: PublishRequest) -> Result<PublishReceipt, PublishRefusal> {
        self.publisher.publish(&self.tenant, request).await
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Lets everything happen that is due now; time stands still.
    pub async fn settle(&self) {
        loop {
            let taken = self.worker.refill().await.expect("the store answers");
            self.worker.idle().await;
            if taken == 0 {
                return;
            }
        }
    }

    /// Lets everything happen, moving the clock to each next due time, until nothing is due any more.
    pub async fn run_until_idle(&self) {
        loop {
            self.settle().await;
            let backlog = self.store.backlog(self.clock.now()).await.expect("the store answers");
            let Some(next) = backlog.next_due_at else { return };
            self.clock.advance_to(next);
        }
    }

    /// Moves the clock on, letting everything happen that becomes due on the way.
    pub async fn advance(&self, step: Duration) {
        let end = self.clock.now() + step;
        loop {
            self.settle().await;
            let backlog = self.store.backlog(self.clock.now()).await.expect("the store answers");
            match backlog.next_due_at {
                Some(next) if next <= end => self.clock.advance_to(next),
                Some(_) | None => break,
            }
        }
        self.clock.advance_to(end);
        self.settle().await;
    }

    /// Moves the clock on in small steps, as whatever has a rate needs it, letting everything happen.
    pub async fn pass(&self, time: Duration) {
        let end = self.clock.now() + time;
        self.settle().await;
        while self.clock.now() < end {
            self.clock.advance_to(end.min(self.clock.now() + STEP));
            self.settle().await;
        }
    }

    /// What became of every delivery to an endpoint, oldest first: each attempt's status or error, then
    /// where the delivery stands.
    pub async fn history(&self, shop: &Shop) -> Vec<String> {
        let mut told = Vec::new();
        for delivery in self.deliveries(shop).await {
            let DeliveryWithAttempts { delivery, attempts } = self.delivery(delivery.id).await;
            for attempt in attempts {
                let status = attempt.http_status.map(|status| status.to_string());
                let class = attempt.error_class.map(|class| class.to_string());
                told.push(status.or(class).unwrap_or_default());
            }
            told.push(delivery.status.to_string());
        }
        told
    }

    /// Every delivery to an endpoint, oldest first.
    pub async fn deliveries(&self, shop: &Shop) -> Vec<Delivery> {
        let filter = DeliveryFilter { endpoint_id: Some(shop.id), ..DeliveryFilter::default() };
        let page = self.store.deliveries(&self.tenant, filter, ALL).await.expect("the store answers");
        assert_eq!(page.next, None, "a test reads one page");
        page.items.into_iter().rev().collect()
    }

    /// The delivery of an event that goes to one endpoint.
    pub async fn delivery_of(&self, event: EventId) -> Delivery {
        let filter = DeliveryFilter { event_id: Some(event), ..DeliveryFilter::default() };
        let page = self.store.deliveries(&self.tenant, filter, ALL).await.expect("the store answers");
        let [delivery] = &page.items[..] else { panic!("one delivery of {event}, and not {:?}", page.items) };
        delivery.clone()
    }

    /// One delivery with its attempts.
    pub async fn delivery(&self, id: DeliveryId) -> DeliveryWithAttempts {
        let found = self.store.find_delivery(&self.tenant, id).await.expect("the store answers");
        found.expect("the delivery exists")
    }

    /// The dead letters that match, newest first.
    pub async fn dead_letters(&self, filter: DeadLetterFilter) -> Vec<Delivery> {
        self.store.dead_letters(&self.tenant, filter, ALL).await.expect("the store answers").items
    }

    /// Every request that an endpoint got, in order.
    pub fn received(&self, shop: &Shop) -> Vec<Received> {
        self.receivers.received(&shop.path)
    }

    /// The payload of every request that an endpoint got, in order.
    pub fn bodies(&self, shop: &Shop) -> Vec<String> {
        let text = |request: Received| String::from_utf8(request.body.into()).expect("payloads are text");
        self.received(shop).into_iter().map(text).collect()
    }

    /// An endpoint as it is now.
    pub async fn find(&self, shop: &Shop) -> Endpoint {
        let found = self.store.find_endpoint(&self.tenant, shop.id).await.expect("the store answers");
        found.expect("the endpoint exists")
    }

    /// Changes an endpoint.
    pub async fn change(&self, shop: &Shop, change: impl FnOnce(&mut Endpoint)) {
        let mut endpoint = Endpoint { updated_at: self.now(), ..self.find(shop).await };
        change(&mut endpoint);
        let changed = self.store.update_endpoint(endpoint).await.expect("the store answers");
        assert!(matches!(changed, Change::Done(_)), "{changed:?}");
    }

    /// Changes the tenant.
    pub async fn change_tenant(&self, change: impl FnOnce(&mut Tenant)) {
        let found = self.store.find_tenant(&self.tenant).await.expect("the store answers");
        let mut tenant = Tenant { updated_at: self.now(), ..found.expect("the tenant exists") };
        change(&mut tenant);
        let changed = self.store.update_tenant(tenant).await.expect("the store answers");
        assert!(matches!(changed, Change::Done(_)), "{changed:?}");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let held = self.worker.held();
            assert_eq!(held.items, 0, "the worker still holds deliveries at the end of the test");
        }
    }
}

async fn start_worker(deps: worker::Deps) -> Worker {
    Worker::start(deps, worker::Settings::default()).await.expect("the store answers")
}

fn deps_of(
    store: &Arc<dyn Store>,
    clock: &Arc<ManualClock>,
    rng: &Arc<dyn Rng>,
    receivers: &Arc<ScriptedReceivers>,
) -> worker::Deps {
    worker::Deps {
        deliveries: store.clone(),
        workers: store.clone(),
        breakers: store.clone(),
        directory: store.clone(),
        sender: receivers.clone(),
        clock: clock.clone(),
        rng: rng.clone(),
        observer: Arc::new(NoObserver),
    }
}

fn publisher_of(
    store: &Arc<dyn Store>,
    worker: &Worker,
    clock: &Arc<ManualClock>,
    rng: &Arc<dyn Rng>,
) -> Publisher {
    let deps = publish::Deps {
        intake: store.clone(),
        directory: store.clone(),
        handoff: Arc::new(worker.clone()),
        clock: clock.clone(),
        rng: rng.clone(),
        observer: Arc::new(NoObserver),
    };
    Publisher::new(deps, harbor_ingest::request::Settings::default())
}

async fn create_tenant(store: &dyn Store, id: &str) -> TenantId {
    let tenant = Tenant {
        id: id.parse().expect("a tenant id"),
        name: id.to_owned(),
        policy: TenantPolicy::default(),
        version: 1,
        created_at: WORLD_BEGINS,
        updated_at: WORLD_BEGINS,
    };
    match store.create_tenant(tenant).await.expect("the store answers") {
        Change::Done(tenant) => tenant.id,
        other => panic!("the tenant is new: {other:?}"),
    }
}
