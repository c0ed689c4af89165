//! Bugs that are planted, each of which the simulator has to find.

use std::collections::HashMap;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use harbor_model::event::EventBody;
use harbor_model::id::{DeliveryId, EventId, TenantId, WorkerId};
use harbor_model::port::Fault;
use harbor_model::port::deliveries::{
    AttemptResult, Backlog, Deliveries, DueEndpoint, EndpointKey, Finish, Lease, LeaseAsk, LeaseKeeper,
    LeaseKey, LeasedDelivery,
};
use harbor_model::port::directory::Directory;
use harbor_model::port::handoff::{Handoff, LaneWanted};
use harbor_model::port::intake::{Intake, NewEvent, Published};
use harbor_model::time::{Clock, Timestamp};
use harbor_testkit::sim::{self, Plant, Settings, SqliteGround, Violation};

/// Runs seeds until one finds what is planted; it has to be found within `seeds`, and be called by one of
/// these names.
fn find(plant: &dyn Plant, nodes: usize, seeds: u64, names: &[&str]) -> Box<Violation> {
    let settings = Settings { nodes: Some(nodes), ..Settings::default() };
    let run = |seed| sim::run_on(&mut SqliteGround::new(), plant, seed, settings).err();
    let found = (0..seeds).find_map(run).unwrap_or_else(|| panic!("{seeds} seeds did not find it"));
    let is_named = names.iter().any(|name| found.what.contains(name));
    assert!(is_named, "something else was found: {found}");
    found
}

#[test]
fn a_lost_wake_up_is_found() {
    let found = find(&LooksBeforeLyingDown, 1, 200, &["and does not start", "never come to their end"]);
    println!("seed {}, step {}: {}", found.seed, found.step, found.what);
}

#[test]
fn a_result_recorded_after_its_lease_was_lost_is_found() {
    // The holder whose result was taken away sees the other side of it.
    let names = ["is recorded after its lease was lost", "is superseded though its lease held", "is lent to"];
    let found = find(&Unfenced, 2, 50, &names);
    println!("seed {}, step {}: {}", found.seed, found.step, found.what);
}

#[test]
fn a_delivery_handed_over_before_its_commit_is_found() {
    let found = find(&Hasty, 1, 10, &["which was never stored", "without holding it"]);
    println!("seed {}, step {}: {}", found.seed, found.step, found.what);
}

/// A clock whose sleepers look at it first and lie down afterwards: an alarm between the two is missed.
struct LooksBeforeLyingDown;

impl Plant for LooksBeforeLyingDown {
    fn clock(&self, real: Arc<dyn Clock>) -> Arc<dyn Clock> {
        Arc::new(SleepyClock(real))
    }
}

struct SleepyClock(Arc<dyn Clock>);

#[async_trait]
impl Clock for SleepyClock {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    async fn sleep_until(&self, instant: Timestamp) {
        if self.now() >= instant {
            return;
        }
        tokio::task::yield_now().await;
        if self.now() >= instant {
            pending::<()>().await;
        }
        self.0.sleep_until(instant).await;
    }
}

/// A store that takes any result for that of whoever holds the delivery now.
struct Unfenced;

impl Plant for Unfenced {
    fn deliveries(&self, real: Arc<dyn Deliveries>) -> Arc<dyn Deliveries> {
        Arc::new(TamperedDeliveries { real, is_fenced: false, holders: Mutex::default() })
    }
}

/// Deliveries that are not quite those of the store.
struct TamperedDeliveries {
    real: Arc<dyn Deliveries>,
    /// Whether a result counts only for its own lease.
    is_fenced: bool,
    holders: Mutex<HashMap<DeliveryId, LeaseKey>>,
}

/// The number of a lease that no store has given out.
const NEVER_LENT: u64 = 0;

/// Keeps what was never lent.
struct Nobody;

impl LeaseKeeper for Nobody {
    fn give_back(&self, _: LeaseKey) {}
}

#[async_trait]
impl Deliveries for TamperedDeliveries {
    async fn due_endpoints(
        &self,
        now: Timestamp,
        after: Option<EndpointKey>,
        limit: usize,
    ) -> Result<Vec<DueEndpoint>, Fault> {
        self.real.due_endpoints(now, after, limit).await
    }

    async fn lease(
        &self,
        worker: WorkerId,
        now: Timestamp,
        asks: Vec<LeaseAsk>,
    ) -> Result<Vec<Lease>, Fault> {
        let leases = self.real.lease(worker, now, asks).await?;
        let mut holders = self.holders.lock().unwrap();
        holders.extend(leases.iter().map(|lease| (lease.key().delivery_id, lease.key().clone())));
        Ok(leases)
    }

    async fn load_events(
        &self,
        asks: Vec<(TenantId, EventId)>,
    ) -> Result<Vec<Option<Arc<EventBody>>>, Fault> {
        self.real.load_events(asks).await
    }

    async fn finish(&self, results: Vec<AttemptResult>) -> Vec<Result<Finish, Fault>> {
        if self.is_fenced {
            return self.real.finish(results).await;
        }
        let pass_off = |result: AttemptResult| {
            let holder = self.holders.lock().unwrap().get(&result.lease.key().delivery_id).cloned();
            let Some(holder) = holder.filter(|holder| holder != result.lease.key()) else { return result };
            let delivery = result.lease.delivery.clone();
            let lease = Lease::new(delivery, holder.worker, holder.number, Arc::new(Nobody));
            AttemptResult { lease, ..result }
        };
        self.real.finish(results.into_iter().map(pass_off).collect()).await
    }

    async fn note_start(&self, lease: &LeaseKey) -> Result<bool, Fault> {
        self.real.note_start(lease).await
    }

    async fn is_held(&self, lease: &LeaseKey) -> Result<bool, Fault> {
        // A lease that nobody lent is believed as well.
        Ok(lease.number == NEVER_LENT || self.real.is_held(lease).await?)
    }

    async fn leases_of(&self, worker: WorkerId) -> Result<Vec<LeaseKey>, Fault> {
        self.real.leases_of(worker).await
    }

    async fn backlog(&self, now: Timestamp) -> Result<Backlog, Fault> {
        self.real.backlog(now).await
    }
}

/// A publisher that hands over first and commits afterwards.
struct Hasty;

impl Plant for Hasty {
    fn deliveries(&self, real: Arc<dyn Deliveries>) -> Arc<dyn Deliveries> {
        Arc::new(TamperedDeliveries { real, is_fenced: true, holders: Mutex::default() })
    }

    fn intake(
        &self,
        real: Arc<dyn Intake>,
        handoff: Arc<dyn Handoff>,
        directory: Arc<dyn Directory>,
    ) -> Arc<dyn Intake> {
        Arc::new(HastyIntake { real, handoff, directory })
    }
}

struct HastyIntake {
    real: Arc<dyn Intake>,
    handoff: Arc<dyn Handoff>,
    directory: Arc<dyn Directory>,
}

#[async_trait]
impl Intake for HastyIntake {
    async fn publish(&self, mut events: Vec<NewEvent>) -> Vec<Result<Published, Fault>> {
        for event in &mut events {
            self.hand_over(event).await;
        }
        // A disk takes its time.
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
        self.real.publish(events).await
    }
}

impl HastyIntake {
    async fn hand_over(&self, event: &mut NewEvent) {
        let body = Arc::clone(&event.body);
        let Ok(Some(snapshot)) = self.directory.tenant(&body.tenant_id).await else { return };
        let key = |endpoint_id| EndpointKey { tenant_id: body.tenant_id.clone(), endpoint_id };
        let born_leased: Vec<_> =
            event.deliveries.iter_mut().filter_map(|one| one.leased_to.take().map(|_| one.clone())).collect();
        let wanted = born_leased.iter().map(|one| {
            let view = Arc::clone(snapshot.endpoints.get(&one.endpoint_id)?);
            Some(LaneWanted { key: key(one.endpoint_id), view })
        });
        let payload_bytes = u64::try_from(body.payload.len()).unwrap();
        let reservation = self.handoff.reserve(wanted.collect(), payload_bytes);
        let lease = |(position, one): (usize, &harbor_model::port::intake::NewDelivery)| {
            let delivery = LeasedDelivery {
                is_ordered: false,
                key: key(one.endpoint_id),
                delivery_id: one.id,
                event_id: body.id,
                attempt_count: 0,
                interrupted_count: 0,
                payload_bytes,
                created_at: body.created_at,
                replay_of: None,
                new_webhook_id: false,
                directory_version: snapshot.version,
            };
            Some(Lease::new(delivery, reservation.granted(position)?, NEVER_LENT, Arc::new(Nobody)))
        };
        let leases: Vec<_> = born_leased.iter().enumerate().filter_map(lease).collect();
        self.handoff.hand_over(body, leases, reservation);
    }
}
