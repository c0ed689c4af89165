//! The worker: takes leases, sends, judges, records.
//!
//! Deliveries come in two ways: handed over by a publish in the same process ([`Handoff`]), or leased
//! from the store by the `refill`. Both fill lanes; a delivery whose turn it is becomes a task that
//! makes one `attempt` and records it.

mod attempt;
mod bodies;
mod prepared;
mod refill;
mod wakeups;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use harbor_model::chance::Rng;
use harbor_model::event::EventBody;
use harbor_model::id::WorkerId;
use harbor_model::port::Fault;
use harbor_model::port::deliveries::{Deliveries, EndpointKey, Lease};
use harbor_model::port::directory::Directory;
use harbor_model::port::handoff::{Handoff, LaneRoom, LaneWanted, Reservation};
use harbor_model::port::observer::Observer;
use harbor_model::time::{Clock, Timestamp};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

use crate::lanes::{self, Held, Lanes, Next};
use crate::send::Sender;
use crate::worker::bodies::Bodies;
use crate::worker::prepared::PreparedEndpoints;
use crate::worker::wakeups::Wakeups;

/// What a worker needs.
#[derive(Clone)]
pub struct Deps {
    /// Leases and records.
    pub deliveries: Arc<dyn Deliveries>,
    /// Knows endpoints.
    pub directory: Arc<dyn Directory>,
    /// Makes requests.
    pub sender: Arc<dyn Sender>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Draws ids and jitter.
    pub rng: Arc<dyn Rng>,
    /// Watches.
    pub observer: Arc<dyn Observer>,
}

/// The limits of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What it holds.
    pub lanes: lanes::Settings,
    /// How often the store is walked for due work that nobody announced.
    pub refill_interval: Duration,
    /// How many endpoints one step of that walk names.
    pub refill_endpoints: usize,
    /// How long nothing new is leased after a result could not be recorded: what cannot be recorded
    /// would be sent again and again.
    pub trouble_pause: Duration,
    /// The most wake-ups noted for retries to come; beyond them the walk finds what is due.
    pub wakeups_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lanes: lanes::Settings::default(),
            refill_interval: Duration::from_secs(1),
            refill_endpoints: 1_000,
            trouble_pause: Duration::from_secs(5),
            wakeups_max: 100_000,
        }
    }
}

impl Settings {
    /// Says what cannot work, by setting.
    pub fn validate(&self) -> Result<(), &'static str> {
        if self.refill_interval.is_zero() || self.refill_endpoints == 0 {
            return Err("refill_interval and refill_endpoints must be more than zero");
        }
        self.lanes.validate()
    }
}

/// A worker at work. Clones are the same worker.
#[derive(Clone)]
pub struct Worker(Arc<Inner>);

/// One leased delivery on its way through a lane.
struct Work {
    lease: Lease,
    /// The event; none where it is read when its turn comes.
    body: Option<Arc<EventBody>>,
    /// The payload bytes that the lanes account for it.
    bytes: u64,
}

struct Inner {
    id: WorkerId,
    deps: Deps,
    settings: Settings,
    lanes: Mutex<Lanes<Work>>,
    prepared: PreparedEndpoints,
    bodies: Bodies,
    wakeups: Mutex<Wakeups>,
    /// Wakes the refill before its time.
    look: Notify,
    /// Woken whenever a delivery leaves the lanes.
    left: Notify,
    is_troubled: AtomicBool,
    stopping: CancellationToken,
    abandoning: CancellationToken,
    tasks: TaskTracker,
}

/// How long before the end of its grace a worker lets go of requests that are still in flight, so that
/// their leases are given back in time.
const LET_GO_BEFORE_END: Duration = Duration::from_secs(2);

impl Worker {
    /// Starts a worker. It runs until [`Worker::stop`].
    pub fn start(deps: Deps, settings: Settings) -> Self {
        let inner = Arc::new(Inner {
            id: WorkerId::new(deps.clock.now(), &*deps.rng),
            lanes: Mutex::new(Lanes::new(settings.lanes.clone())),
            prepared: PreparedEndpoints::default(),
            bodies: Bodies::default(),
            wakeups: Mutex::new(Wakeups::new(settings.wakeups_max)),
            look: Notify::new(),
            left: Notify::new(),
            is_troubled: AtomicBool::new(false),
            stopping: CancellationToken::new(),
            abandoning: CancellationToken::new(),
            tasks: TaskTracker::new(),
            deps,
            settings,
        });
        info!(worker_id = %inner.id, "worker {} starts", inner.id);
        inner.tasks.spawn(refill::run(Arc::clone(&inner)));
        Self(inner)
    }

    /// Names this incarnation.
    pub fn id(&self) -> WorkerId {
        self.0.id
    }

    /// What it holds now.
    pub fn held(&self) -> Held {
        self.0.lanes().held()
    }

    /// Looks once for everything that is due, as the worker does by itself now and then. Answers how many
    /// deliveries it took.
    pub async fn refill(&self) -> Result<usize, Fault> {
        refill::walk(&self.0).await
    }

    /// Returns once the worker holds nothing.
    pub async fn idle(&self) {
        loop {
            let left = self.0.left.notified();
            if self.held().items == 0 {
                return;
            }
            left.await;
        }
    }

    /// Stops: starts no more requests, gives back what was not sent, and waits for what was, until
    /// `grace` is nearly over; then lets go of the rest.
    pub async fn stop(&self, grace: Duration) {
        let inner = &self.0;
        inner.stopping.cancel();
        inner.give_back_waiting();
        inner.tasks.close();
        // Requests are on real sockets, so their end is awaited in real time.
        let patience = grace.saturating_sub(LET_GO_BEFORE_END);
        if tokio::time::timeout(patience, inner.tasks.wait()).await.is_err() {
            let in_flight = inner.lanes().held().in_flight;
            info!(worker_id = %inner.id, in_flight, "worker {} lets go of {in_flight} requests", inner.id);
            inner.abandoning.cancel();
            inner.tasks.wait().await;
        }
        info!(worker_id = %inner.id, "worker {} has stopped", inner.id);
    }
}

impl Inner {
    fn lanes(&self) -> MutexGuard<'_, Lanes<Work>> {
        self.lanes.lock().expect("no lane panics while it is held")
    }

    /// Starts whatever may start now.
    fn pump(self: &Arc<Self>) {
        loop {
            if self.stopping.is_cancelled() {
                self.give_back_waiting();
                return;
            }
            let next = self.lanes().next(self.deps.clock.now());
            match next {
                Next::Start(work) => {
                    self.tasks.spawn(attempt::run(Arc::clone(self), work));
                }
                Next::WaitUntil(instant) => {
                    if self.wakeups().note_token(instant) {
                        self.look.notify_one();
                    }
                    return;
                }
                Next::Idle => return,
            }
        }
    }

    fn wakeups(&self) -> MutexGuard<'_, Wakeups> {
        self.wakeups.lock().expect("no note panics while it is held")
    }

    /// Notes that the store may have something due for these lanes at `instant`.
    fn wake_at(&self, instant: Timestamp, key: EndpointKey) {
        if self.wakeups().note(instant, key) {
            self.look.notify_one();
        }
    }

    /// Puts work into the room that was reserved for it.
    fn fill(&self, works: Vec<Work>) {
        let now = self.deps.clock.now();
        let mut lanes = self.lanes();
        for work in works {
            let key = work.lease.delivery.key.clone();
            lanes.fill(&key, work, now);
        }
    }

    fn give_back_waiting(&self) {
        let drained = self.lanes().drain_all(self.deps.clock.now());
        self.give_back(drained);
    }

    /// Gives back what waits in a lane whose endpoint takes nothing now.
    fn drain(&self, key: &EndpointKey) {
        let drained = self.lanes().drain(key, self.deps.clock.now());
        self.give_back(drained);
    }

    fn give_back(&self, works: Vec<Work>) {
        for work in works {
            let Work { lease, bytes, .. } = work;
            let key = lease.delivery.key.clone();
            // The lease first: room that is free must not be filled with what is still leased.
            drop(lease);
            self.release(&key, bytes);
        }
    }

    fn has_trouble(&self) -> bool {
        self.is_troubled.load(Ordering::Relaxed)
    }
}

impl LaneRoom for Inner {
    fn release(&self, key: &EndpointKey, payload_bytes: u64) {
        let is_hungry = {
            let mut lanes = self.lanes();
            lanes.release(key, payload_bytes);
            lanes.has_hungry()
        };
        self.left.notify_waiters();
        if is_hungry {
            self.look.notify_one();
        }
    }
}

impl Handoff for Worker {
    fn reserve(&self, mut wanted: Vec<Option<LaneWanted>>, payload_bytes: u64) -> Reservation {
        let inner = &self.0;
        if inner.stopping.is_cancelled() || inner.has_trouble() {
            return Reservation::none();
        }
        let now = inner.deps.clock.now();
        let granted = {
            let mut lanes = inner.lanes();
            let mut grant = |wanted: &mut Option<LaneWanted>| {
                let LaneWanted { key, view } = wanted.take()?;
                lanes.reserve(&key, &view, payload_bytes, now).then_some(key)
            };
            wanted.iter_mut().map(&mut grant).collect()
        };
        Reservation::new(inner.id, granted, payload_bytes, Arc::clone(inner) as Arc<dyn LaneRoom>)
    }

    fn hand_over(&self, event: Arc<EventBody>, leases: Vec<Lease>, reservation: Reservation) {
        let bytes = u64::try_from(event.payload.len()).expect("a length fits 64 bits");
        self.0.bodies.keep(&event);
        let work = |lease| Work { lease, body: Some(Arc::clone(&event)), bytes };
        self.0.fill(leases.into_iter().map(work).collect());
        reservation.settle();
        self.0.pump();
    }

    fn announce(&self, keys: &[EndpointKey]) {
        let now = self.0.deps.clock.now();
        for key in keys {
            self.0.wake_at(now, key.clone());
        }
    }
}
