//! The ports as a node reaches them: over a line that stalls and breaks, and past the ledger.
//!
//! A call may wait before it arrives, fail before anything has happened, or happen and lose its answer.
//! Leases pass through here too, so that a node that dies gives none back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use harbor_model::directory::TenantSnapshot;
use harbor_model::event::EventBody;
use harbor_model::id::{DeliveryId, EndpointId, EventId, TenantId, WorkerId};
use harbor_model::port::Fault;
use harbor_model::port::breakers::{BreakerChange, Breakers, OpenBreaker};
use harbor_model::port::deliveries::{
    AttemptResult, Backlog, Deliveries, DueEndpoint, EndpointKey, Finish, Lease, LeaseAsk, LeaseKeeper,
    LeaseKey,
};
use harbor_model::port::directory::Directory;
use harbor_model::port::intake::{Intake, NewEvent, Published};
use harbor_model::port::workers::{Leader, Roll, Workers};
use harbor_model::time::Timestamp;
use tokio::sync::Notify;

use crate::sim::dice::Dice;
use crate::sim::ledger::{Books, NodeId, Told};

/// How a line behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Every call comes through.
    Fair,
    /// One call in so many fails.
    Failing { one_in: usize },
    /// No call comes through until the weather changes.
    Stalled,
}

/// More calls than this without coming to rest mean that the engine turns in circles.
const CALLS_MAX: usize = 20_000;

/// The line of one node to the store.
pub(crate) struct Line {
    node: NodeId,
    books: Books,
    dice: Dice,
    weather: Mutex<Weather>,
    clears: Notify,
    waiting: AtomicUsize,
    calls: AtomicUsize,
    /// The store's own leases, while the node holds ours in their place.
    lent: Mutex<BTreeMap<(DeliveryId, u64), Lease>>,
}

impl Line {
    pub(crate) fn new(node: NodeId, books: Books, dice: Dice) -> Arc<Self> {
        Arc::new(Self {
            node,
            books,
            dice,
            weather: Mutex::new(Weather::Fair),
            clears: Notify::new(),
            waiting: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
            lent: Mutex::default(),
        })
    }

    pub(crate) fn weather(&self) -> Weather {
        *self.lock()
    }

    pub(crate) fn set_weather(&self, weather: Weather) {
        *self.lock() = weather;
        self.clears.notify_waiters();
    }

    /// Whether calls wait on the way.
    pub(crate) fn is_waited_on(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Begins to count calls anew.
    pub(crate) fn rests(&self) {
        self.calls.store(0, Ordering::Relaxed);
    }

    /// Cuts the line for good: what the node held stays held, as far as the store knows.
    pub(crate) fn cut(&self) {
        let lent = std::mem::take(&mut *self.lent.lock().expect("no lender panics"));
        lent.into_values().for_each(Lease::settle);
    }

    fn lock(&self) -> MutexGuard<'_, Weather> {
        self.weather.lock().expect("no look at the weather panics")
    }

    /// The way there: nothing has happened yet.
    async fn there(&self, what: &'static str) -> Result<(), Fault> {
        let calls = self.calls.fetch_add(1, Ordering::Relaxed);
        if calls == CALLS_MAX {
            self.books.open().violated(format!("{} asks without end, now for {what}", self.node));
        }
        if calls >= CALLS_MAX {
            std::future::pending::<()>().await;
        }
        self.pass().await;
        if self.fails() {
            self.books.open().note(format_args!("{}: {what} fails", self.node));
            return Err(Fault::bare("the line is broken"));
        }
        Ok(())
    }

    /// The way back: it has happened. False where the answer is lost.
    async fn back(&self, what: &'static str) -> bool {
        self.pass().await;
        let is_lost = self.fails();
        if is_lost {
            self.books.open().note(format_args!("{}: the answer to {what} is lost", self.node));
        }
        !is_lost
    }

    async fn pass(&self) {
        // Whoever waits lets others by: an answer that comes at once would hide every race.
        if self.dice.one_in(2) {
            tokio::task::yield_now().await;
        }
        loop {
            let clears = self.clears.notified();
            if self.weather() != Weather::Stalled {
                return;
            }
            let _waiting = Waiting::new(self);
            clears.await;
        }
    }

    fn fails(&self) -> bool {
        let Weather::Failing { one_in } = self.weather() else { return false };
        let fails = self.dice.one_in(one_in);
        if fails {
            self.books.open().disturb();
        }
        fails
    }

    async fn ask<T>(
        &self,
        what: &'static str,
        answer: impl Future<Output = Result<T, Fault>> + Send,
    ) -> Result<T, Fault> {
        self.there(what).await?;
        let answer = answer.await;
        if self.back(what).await { answer } else { Err(lost()) }
    }

    /// Puts a lease of ours in place of the store's.
    fn lend(self: &Arc<Self>, lease: Lease) -> Lease {
        let key = lease.key().clone();
        self.books.open().lent(&key);
        let ours = Lease::new(lease.delivery.clone(), key.worker, key.number, Arc::clone(self) as _);
        self.lent().insert((key.delivery_id, key.number), lease);
        ours
    }

    /// Puts the store's lease back in place of ours.
    fn redeem(&self, lease: Lease) -> Lease {
        let key = lease.key();
        let theirs = self.lent().remove(&(key.delivery_id, key.number));
        let Some(theirs) = theirs else { return lease };
        lease.settle();
        theirs
    }

    fn lent(&self) -> MutexGuard<'_, BTreeMap<(DeliveryId, u64), Lease>> {
        self.lent.lock().expect("no lender panics")
    }
}

fn lost() -> Fault {
    Fault::bare("the answer was lost")
}

struct Waiting<'a>(&'a Line);

impl<'a> Waiting<'a> {
    fn new(line: &'a Line) -> Self {
        line.waiting.fetch_add(1, Ordering::Relaxed);
        Self(line)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl LeaseKeeper for Line {
    fn give_back(&self, key: LeaseKey) {
        let theirs = self.lent().remove(&(key.delivery_id, key.number));
        // One that is not there was cut off, or is in the store's hands.
        if let Some(theirs) = theirs {
            self.books.open().returned(&key);
            drop(theirs);
        }
    }
}

/// A port at the end of a line.
pub(crate) struct Wire<P: ?Sized> {
    line: Arc<Line>,
    port: Arc<P>,
}

impl<P: ?Sized> Wire<P> {
    pub(crate) fn new(line: &Arc<Line>, port: Arc<P>) -> Arc<Self> {
        Arc::new(Self { line: Arc::clone(line), port })
    }
}

#[async_trait]
impl Intake for Wire<dyn Intake> {
    async fn publish(&self, events: Vec<NewEvent>) -> Vec<Result<Published, Fault>> {
        let count = events.len();
        let fault = |fault: Fault| (0..count).map(|_| Err(fault.clone())).collect();
        if let Err(broken) = self.line.there("publish").await {
            return fault(broken);
        }
        let known: Vec<_> = events.iter().map(copy).collect();
        let answers = self.port.publish(events).await;
        let take_in = |(answer, event): (Result<Published, Fault>, NewEvent)| {
            let Ok(Published::Stored { leases }) = answer else { return answer };
            self.line.books.open().committed(&event);
            let leases = leases.into_iter().map(|lease| self.line.lend(lease)).collect();
            Ok(Published::Stored { leases })
        };
        let answers: Vec<_> = answers.into_iter().zip(known).map(take_in).collect();
        if self.line.back("publish").await { answers } else { fault(lost()) }
    }
}

/// What the ledger needs of an event, which has no `Clone` of its own.
fn copy(event: &NewEvent) -> NewEvent {
    NewEvent {
        body: Arc::clone(&event.body),
        occurred_at: event.occurred_at,
        deliver_at: event.deliver_at,
        ordering_key: event.ordering_key.clone(),
        idempotency: event.idempotency.clone(),
        metadata: event.metadata.clone(),
        fan_out: event.fan_out.clone(),
        deliveries: event.deliveries.clone(),
        directory_version: event.directory_version,
    }
}

#[async_trait]
impl Deliveries for Wire<dyn Deliveries> {
    async fn due_endpoints(
        &self,
        now: Timestamp,
        after: Option<EndpointKey>,
        limit: usize,
    ) -> Result<Vec<DueEndpoint>, Fault> {
        self.line.ask("due_endpoints", self.port.due_endpoints(now, after, limit)).await
    }

    async fn lease(
        &self,
        worker: WorkerId,
        now: Timestamp,
        asks: Vec<LeaseAsk>,
    ) -> Result<Vec<Lease>, Fault> {
        self.line.there("lease").await?;
        let leases = self.port.lease(worker, now, asks).await?;
        let leases = leases.into_iter().map(|lease| self.line.lend(lease)).collect();
        if self.line.back("lease").await { Ok(leases) } else { Err(lost()) }
    }

    async fn load_events(
        &self,
        asks: Vec<(TenantId, EventId)>,
    ) -> Result<Vec<Option<Arc<EventBody>>>, Fault> {
        self.line.ask("load_events", self.port.load_events(asks)).await
    }

    async fn finish(&self, results: Vec<AttemptResult>) -> Vec<Result<Finish, Fault>> {
        let told: Vec<_> = results.iter().map(Told::of).collect();
        let fault = |fault: Fault| -> Vec<_> { told.iter().map(|_| Err(fault.clone())).collect() };
        if let Err(broken) = self.line.there("finish").await {
            let answers = fault(broken);
            // Their leases go back with the results.
            drop(results);
            self.line.tell(&told, &answers);
            return answers;
        }
        let redeem = |result: AttemptResult| {
            let lease = self.line.redeem(result.lease);
            AttemptResult { lease, ..result }
        };
        let answers = self.port.finish(results.into_iter().map(redeem).collect()).await;
        self.line.tell(&told, &answers);
        if self.line.back("finish").await {
            return answers;
        }
        told.iter().for_each(|told| self.line.books.open().finish_unheard(told));
        fault(lost())
    }

    async fn note_start(&self, lease: &LeaseKey) -> Result<bool, Fault> {
        self.line.ask("note_start", self.port.note_start(lease)).await
    }

    async fn is_held(&self, lease: &LeaseKey) -> Result<bool, Fault> {
        self.line.ask("is_held", self.port.is_held(lease)).await
    }

    async fn leases_of(&self, worker: WorkerId) -> Result<Vec<LeaseKey>, Fault> {
        self.line.ask("leases_of", self.port.leases_of(worker)).await
    }

    async fn backlog(&self, now: Timestamp) -> Result<Backlog, Fault> {
        self.line.ask("backlog", self.port.backlog(now)).await
    }
}

impl Line {
    fn tell(&self, told: &[Told], answers: &[Result<Finish, Fault>]) {
        let mut ledger = self.books.open();
        for (told, answer) in told.iter().zip(answers) {
            ledger.finished(told, answer);
        }
    }
}

#[async_trait]
impl Directory for Wire<dyn Directory> {
    async fn tenant(&self, id: &TenantId) -> Result<Option<Arc<TenantSnapshot>>, Fault> {
        self.line.ask("tenant", self.port.tenant(id)).await
    }

    fn observe(&self, id: &TenantId, version: u64) {
        self.port.observe(id, version);
    }
}

#[async_trait]
impl Workers for Wire<dyn Workers> {
    async fn enlist(&self, worker: WorkerId, now: Timestamp) -> Result<(), Fault> {
        self.line.there("enlist").await?;
        self.port.enlist(worker, now).await?;
        self.line.books.open().enlisted(self.line.node, worker);
        if self.line.back("enlist").await { Ok(()) } else { Err(lost()) }
    }

    async fn beat(&self, worker: WorkerId, now: Timestamp) -> Result<Roll, Fault> {
        self.line.ask("beat", self.port.beat(worker, now)).await
    }

    async fn bury(&self, worker: WorkerId, count: u64, now: Timestamp) -> Result<Option<usize>, Fault> {
        self.line.there("bury").await?;
        let buried = self.port.bury(worker, count, now).await?;
        if buried.is_some() {
            self.line.books.open().bereaved(worker);
        }
        if self.line.back("bury").await { Ok(buried) } else { Err(lost()) }
    }

    async fn discharge(&self, worker: WorkerId) -> Result<(), Fault> {
        self.line.there("discharge").await?;
        self.port.discharge(worker).await?;
        self.line.books.open().bereaved(worker);
        if self.line.back("discharge").await { Ok(()) } else { Err(lost()) }
    }

    async fn reconcile(&self, worker: WorkerId) -> Result<usize, Fault> {
        self.line.there("reconcile").await?;
        let freed = self.port.reconcile(worker).await?;
        if self.line.back("reconcile").await { Ok(freed) } else { Err(lost()) }
    }

    async fn lead(
        &self,
        task: &'static str,
        candidate: WorkerId,
        outlived: Option<Leader>,
    ) -> Result<Leader, Fault> {
        self.line.ask("lead", self.port.lead(task, candidate, outlived)).await
    }
}

#[async_trait]
impl Breakers for Wire<dyn Breakers> {
    async fn open_breaker(
        &self,
        key: &EndpointKey,
        opening: BreakerChange,
    ) -> Result<Option<OpenBreaker>, Fault> {
        self.line.ask("open_breaker", self.port.open_breaker(key, opening)).await
    }

    async fn change_breaker(
        &self,
        key: &EndpointKey,
        version: u64,
        change: Option<BreakerChange>,
    ) -> Result<Option<OpenBreaker>, Fault> {
        self.line.ask("change_breaker", self.port.change_breaker(key, version, change)).await
    }

    async fn open_breakers(&self) -> Result<Vec<OpenBreaker>, Fault> {
        self.line.ask("open_breakers", self.port.open_breakers()).await
    }

    async fn find_breaker(
        &self,
        tenant: &TenantId,
        endpoint: EndpointId,
    ) -> Result<Option<OpenBreaker>, Fault> {
        self.line.ask("find_breaker", self.port.find_breaker(tenant, endpoint)).await
    }
}
