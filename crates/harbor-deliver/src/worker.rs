//! The worker: takes leases, sends, judges, records.
//!
//! Deliveries come in two ways: handed over by a publish in the same process, or leased from the store by
//! the `refill`. Both fill lanes; a delivery whose turn it is becomes a task that makes one `attempt` and
//! records it.
//!
//! A worker is an incarnation that others know: it beats, watches the beats of the others, and begins nothing
//! while it cannot be sure that they still count on it.

mod handoff;
mod refill;

mod attempt;
mod health;
mod line;

mod beats;
mod bodies;
mod life;
mod prepared;
mod settings;
mod unwind;
mod wakeups;
mod watch;
mod wishes;

pub use settings::Settings;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use harbor_model::chance::Rng;
use harbor_model::decide::share::Fleet;
use harbor_model::event::EventBody;
use harbor_model::id::WorkerId;
use harbor_model::port::Fault;
use harbor_model::port::breakers::{BreakerState, Breakers};
use harbor_model::port::deliveries::{Deliveries, EndpointKey, Lease};
use harbor_model::port::directory::Directory;
use harbor_model::port::handoff::LaneRoom;
use harbor_model::port::observer::{BreakerSeen, Observer, ThrottleSeen};
use harbor_model::port::workers::Workers;
use harbor_model::time::{Clock, Timestamp};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::lanes::{BreakerNews, Effects, Held, Lanes, Next};
use crate::send::Sender;
use crate::worker::bodies::Bodies;
use crate::worker::health::HealthLog;
use crate::worker::life::{Instant, Life};
use crate::worker::prepared::PreparedEndpoints;
use crate::worker::wakeups::Wakeups;
use crate::worker::watch::Watch;

/// What a worker needs.
#[derive(Clone)]
pub struct Deps {
    /// Leases and records.
    pub deliveries: Arc<dyn Deliveries>,
    /// Knows who is at work.
    pub workers: Arc<dyn Workers>,
    /// Knows the circuit breakers that all share.
    pub breakers: Arc<dyn Breakers>,
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
    deps: Deps,
    settings: Settings,
    life: Life,
    /// Whoever beats holds it.
    watch: tokio::sync::Mutex<Watch>,
    lanes: Mutex<Lanes<Work>>,
    prepared: PreparedEndpoints,
    bodies: Bodies,
    health: HealthLog,
    wakeups: Mutex<Wakeups>,
    /// Where the last walk ended for want of places to note endpoints. Whoever takes from the store holds it.
    walked_to: tokio::sync::Mutex<Option<EndpointKey>>,
    /// Deliveries taken from the store that nobody has asked about yet.
    taken: AtomicUsize,
    /// Wakes the refill before its time.
    look: Notify,
    is_nudged: AtomicBool,
    /// Woken whenever a delivery leaves the lanes, or the store has answered for a breaker.
    left: Notify,
    is_troubled: AtomicBool,
    stopping: CancellationToken,
    abandoning: CancellationToken,
    tasks: TaskTracker,
    /// Ends the beats, last of all.
    ended: CancellationToken,
    beats: TaskTracker,
}

/// How long before the end of its grace a worker lets go of requests that are still in flight, so that
/// their leases are given back in time.
const LET_GO_BEFORE_END: Duration = Duration::from_secs(2);

/// How long a worker that has ended waits for the store to strike it off. Without that it is taken for dead
/// some time later, and has nothing that anybody could miss.
const DISCHARGE_TIMEOUT: Duration = Duration::from_secs(1);

impl Worker {
    /// Starts a worker: enlists it and learns who else is at work. It runs until [`Worker::stop`].
    pub async fn start(deps: Deps, settings: Settings) -> Result<Self, Fault> {
        let id = WorkerId::new(deps.clock.now(), &*deps.rng);
        let sent = Instant::now(&*deps.clock);
        deps.workers.enlist(id, deps.clock.now()).await?;
        let life = Life::new(id, settings.fence_after);
        life.confirm(id, sent);
        let inner = Arc::new(Inner {
            life,
            watch: tokio::sync::Mutex::new(Watch::new(settings.death_after, settings.fence_after)),
            lanes: Mutex::new(Lanes::new(settings.lanes.clone(), Fleet::new(id, []))),
            prepared: PreparedEndpoints::default(),
            bodies: Bodies::default(),
            health: HealthLog::new(settings.failing_disable_after, deps.clock.now()),
            wakeups: Mutex::new(Wakeups::new(settings.wakeups_max)),
            walked_to: tokio::sync::Mutex::new(None),
            taken: AtomicUsize::new(0),
            look: Notify::new(),
            is_nudged: AtomicBool::new(false),
            left: Notify::new(),
            is_troubled: AtomicBool::new(false),
            stopping: CancellationToken::new(),
            abandoning: CancellationToken::new(),
            tasks: TaskTracker::new(),
            ended: CancellationToken::new(),
            beats: TaskTracker::new(),
            deps,
            settings,
        });
        // The first beat tells which part of every limit is this worker's.
        beats::beat(&inner).await?;
        info!(worker_id = %id, "worker {id} starts");
        let beat_at = inner.deps.clock.now() + inner.settings.beat_interval;
        inner.beats.spawn(beats::run(Arc::clone(&inner), beat_at));
        inner.tasks.spawn(refill::run(Arc::clone(&inner)));
        Ok(Self(inner))
    }

    /// Names its present incarnation.
    pub fn id(&self) -> WorkerId {
        self.0.id()
    }

    /// What it holds now.
    pub fn held(&self) -> Held {
        self.0.lanes().held()
    }

    /// Looks for everything that is due, as the worker does by itself now and then, and first makes sure that
    /// it still may. Answers how many deliveries it has taken since it was last asked.
    pub async fn refill(&self) -> Result<usize, Fault> {
        let inner = &self.0;
        if inner.acting().is_none() {
            beats::beat(inner).await?;
        }
        refill::walk(inner).await?;
        loop {
            inner.granted().await;
            if !inner.lanes().has_hungry() {
                return Ok(inner.taken.swap(0, Ordering::Relaxed));
            }
            refill::look(inner).await?;
        }
    }

    /// Says that the store may have new work: it is looked for soon, and not for each hint anew.
    pub fn nudge(&self) {
        self.0.nudge();
    }

    /// Returns once the worker holds nothing, and waits for nothing of the store's.
    pub async fn idle(&self) {
        loop {
            let left = self.0.left.notified();
            let is_idle = {
                let lanes = self.0.lanes();
                lanes.held().items == 0 && !lanes.has_wishes()
            };
            if is_idle {
                return;
            }
            left.await;
        }
    }

    /// Stops: starts no more requests, gives back what was not sent, and waits for what was, until
    /// `grace` is nearly over; then lets go of the rest. The others know of it at once.
    pub async fn stop(&self, grace: Duration) {
        let inner = &self.0;
        inner.stopping.cancel();
        inner.give_back_waiting();
        inner.tasks.close();
        // Requests are on real sockets, so their end is awaited in real time.
        let patience = grace.saturating_sub(LET_GO_BEFORE_END);
        if tokio::time::timeout(patience, inner.tasks.wait()).await.is_err() {
            let in_flight = inner.lanes().held().in_flight;
            info!(worker_id = %self.id(), in_flight, "worker {} lets go of {in_flight} requests", self.id());
            inner.abandoning.cancel();
            inner.tasks.wait().await;
        }
        inner.ended.cancel();
        inner.beats.close();
        inner.beats.wait().await;
        let id = self.id();
        match tokio::time::timeout(DISCHARGE_TIMEOUT, inner.deps.workers.discharge(id)).await {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => warn!(worker_id = %id, %fault, "cannot strike off worker {id}: {fault}"),
            Err(_) => warn!(worker_id = %id, "the store does not answer to strike off worker {id}"),
        }
        info!(worker_id = %id, "worker {id} has stopped");
    }
}

impl Inner {
    fn lanes(&self) -> MutexGuard<'_, Lanes<Work>> {
        self.lanes.lock().expect("no lane panics while it is held")
    }

    fn id(&self) -> WorkerId {
        self.life.id()
    }

    /// The incarnation, if it may begin something now.
    fn acting(&self) -> Option<WorkerId> {
        self.life.acting(Instant::now(&*self.deps.clock))
    }

    /// Starts whatever may start now, and does what else the lanes want done.
    fn pump(self: &Arc<Self>) {
        loop {
            if self.stopping.is_cancelled() {
                self.give_up_effects();
                self.give_back_waiting();
                return;
            }
            let may_start = self.acting().is_some();
            let (next, effects) = {
                let mut lanes = self.lanes();
                let next = if may_start { lanes.next(self.deps.clock.now()) } else { Next::Idle };
                (next, lanes.take_effects())
            };
            self.carry_out(effects);
            match next {
                Next::Start { item, is_probe } => {
                    self.tasks.spawn(attempt::run(Arc::clone(self), item, is_probe));
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

    /// Gives back what the lanes want given back; nothing else is done any more.
    fn give_up_effects(&self) {
        let returned = {
            let mut lanes = self.lanes();
            let effects = lanes.take_effects();
            effects.wishes.iter().for_each(|(key, _)| lanes.not_granted(key));
            effects.returned
        };
        self.give_back(returned);
    }

    fn carry_out(self: &Arc<Self>, effects: Effects<Work>) {
        let Effects { returned, wishes, wakeups, breakers, holds, is_hungry } = effects;
        self.give_back(returned);
        for (key, wish) in wishes {
            self.tasks.spawn(wishes::make_true(Arc::clone(self), key, wish));
        }
        for (instant, key) in wakeups {
            self.wake_at(instant, key);
        }
        for BreakerNews { key, state, open_breakers } in breakers {
            let EndpointKey { tenant_id, endpoint_id } = &key;
            match state {
                BreakerState::Open => {
                    info!(%tenant_id, %endpoint_id, "the circuit breaker of {endpoint_id} is open");
                }
                BreakerState::HalfOpen => {}
                BreakerState::Closed => {
                    info!(%tenant_id, %endpoint_id, "the circuit breaker of {endpoint_id} is closed");
                }
            }
            let seen = BreakerSeen { tenant_id, endpoint_id: *endpoint_id, state, open_breakers };
            self.deps.observer.breaker_changed(seen);
        }
        if holds > 0 {
            self.deps.observer.throttled(ThrottleSeen { holds });
        }
        if is_hungry {
            self.look.notify_one();
        }
    }

    /// Asks for an early walk.
    fn nudge(&self) {
        self.is_nudged.store(true, Ordering::Relaxed);
        self.look.notify_one();
    }

    fn is_nudged(&self) -> bool {
        self.is_nudged.load(Ordering::Relaxed)
    }

    fn hear_nudge(&self) {
        self.is_nudged.store(false, Ordering::Relaxed);
    }

    /// Returns once the store has answered for every breaker that it was asked about.
    async fn granted(&self) {
        loop {
            let left = self.left.notified();
            if !self.lanes().has_wishes() {
                return;
            }
            left.await;
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

    /// Has these endpoints looked at now: the store may have something due for them. They join the lanes that
    /// want more, so that however many of them say so meanwhile, they are asked for at once.
    fn look_at(&self, keys: &[EndpointKey]) {
        let now = self.deps.clock.now();
        let is_hungry = {
            let mut lanes = self.lanes();
            for key in keys {
                // Without a place for it, the walk finds it.
                lanes.note_due(key, None, now);
            }
            lanes.has_hungry()
        };
        if is_hungry {
            self.look.notify_one();
        }
    }

    /// Puts work into the room that was reserved for it, as far as it is still this incarnation's and its
    /// lane still takes it.
    fn fill(&self, works: Vec<Work>) {
        let (now, me) = (self.deps.clock.now(), self.id());
        let mut refused = Vec::new();
        {
            let mut lanes = self.lanes();
            for work in works {
                let key = work.lease.delivery.key.clone();
                if work.lease.key().worker == me {
                    refused.extend(lanes.fill(&key, work, now));
                } else {
                    refused.push(work);
                }
            }
        }
        self.give_back(refused);
    }

    fn give_back_waiting(&self) {
        let cleared = self.lanes().clear_all(self.deps.clock.now());
        self.give_back(cleared);
    }

    /// Gives back what waits in a lane whose endpoint takes nothing now.
    fn clear(&self, key: &EndpointKey) {
        let cleared = self.lanes().clear(key, self.deps.clock.now());
        self.give_back(cleared);
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

#[cfg(test)]
mod tests;
