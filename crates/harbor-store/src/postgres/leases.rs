//! The guards that this process holds, and the way back of those that are dropped.
//!
//! Who holds what is told by the rows of `leases` alone. Here stands which of them this process knows it
//! has: what it does not know it has is freed by [`reconcile`](PostgresStore::reconcile_leases), since nobody
//! will ever finish it.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use harbor_model::id::{DeliveryId, WorkerId};
use harbor_model::port::Fault;
use harbor_model::port::deliveries::{LEASE_TRUSTED, Lease, LeaseKeeper, LeaseKey, LeasedDelivery};
use harbor_model::time::Clock;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};

use crate::postgres::PostgresStore;
use crate::postgres::database::{Database, retried};
use crate::postgres::hints::Hints;
use crate::postgres::rows::{bigint, whole};
use crate::postgres::trouble::Trouble;
use crate::postgres::uuid::Uuid;

/// The most leases that one statement frees.
const FREED_AT_ONCE_MAX: usize = 1_000;

/// How long freeing rests after it failed; it is tried until it is done.
const BETWEEN_TRIES: Duration = Duration::from_millis(500);

/// How long anybody waits for what was given back before.
const SETTLING_TIME_MAX: Duration = Duration::from_secs(2);

/// A lease that is to be freed.
pub(crate) struct Freed {
    worker: WorkerId,
    number: u64,
}

/// The guards of this process.
pub(crate) struct LeaseBook {
    last_number: AtomicU64,
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
    given_back: UnboundedSender<Freed>,
    /// How many were given back since the start.
    given_back_count: AtomicU64,
    /// How many of those are free.
    freed_count: watch::Sender<u64>,
}

/// A lease that is out.
struct Out {
    worker: WorkerId,
    delivery_id: DeliveryId,
    /// When it was lent, by the clock's measure of time.
    lent_at: Duration,
}

#[derive(Default)]
struct State {
    /// By number, which no two leases of a process share.
    out: HashMap<u64, Out>,
    /// What the store believed each worker to hold at the last reconciliation, and it did not.
    suspects: HashMap<WorkerId, HashSet<u64>>,
}

impl State {
    fn find(&self, key: &LeaseKey) -> Option<&Out> {
        let is_of = |out: &&Out| out.worker == key.worker && out.delivery_id == key.delivery_id;
        self.out.get(&key.number).filter(is_of)
    }
}

impl LeaseBook {
    pub(crate) fn new(given_back: UnboundedSender<Freed>, clock: Arc<dyn Clock>) -> Self {
        Self {
            last_number: AtomicU64::new(0),
            state: Mutex::default(),
            clock,
            given_back,
            given_back_count: AtomicU64::new(0),
            freed_count: watch::Sender::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the lease book panics")
    }

    /// Sets aside numbers for leases to come; answers the first. A worker is an incarnation, so no number
    /// of it comes again.
    pub(crate) fn numbers(&self, count: usize) -> u64 {
        self.last_number.fetch_add(count as u64, Ordering::Relaxed) + 1
    }

    /// Makes the guard of a lease whose row is committed.
    pub(crate) fn lend(self: &Arc<Self>, delivery: LeasedDelivery, worker: WorkerId, number: u64) -> Lease {
        let out = Out { worker, delivery_id: delivery.delivery_id, lent_at: self.clock.elapsed() };
        self.state().out.insert(number, out);
        Lease::new(delivery, worker, number, self.clone())
    }

    /// Whether this lease was neither given back nor ended.
    pub(crate) fn is_out(&self, key: &LeaseKey) -> bool {
        self.state().find(key).is_some()
    }

    /// Whether this lease stands, as far as this process can tell; none where the store must be asked.
    fn is_held(&self, key: &LeaseKey) -> Option<bool> {
        let now = self.clock.elapsed();
        let state = self.state();
        let Some(out) = state.find(key) else { return Some(false) };
        (now.saturating_sub(out.lent_at) < LEASE_TRUSTED).then_some(true)
    }

    /// Ends the guard of a lease whose row is gone.
    pub(crate) fn end(&self, lease: Lease) {
        self.state().out.remove(&lease.key().number);
        lease.settle();
    }

    /// Frees a lease for which there was never a guard: what became of its row is not known.
    pub(crate) fn free(&self, worker: WorkerId, number: u64) {
        self.given_back_count.fetch_add(1, Ordering::Release);
        // Where the task has ended the store is closed, and its worker's leases go with the worker.
        let _ = self.given_back.send(Freed { worker, number });
    }

    /// Waits until what was given back before is free, so that nobody finds it held who comes after. Not
    /// for long: a database that is away is somebody else's news.
    pub(crate) async fn settled(&self) {
        let target = self.given_back_count.load(Ordering::Acquire);
        if *self.freed_count.borrow() >= target {
            return;
        }
        let mut freed = self.freed_count.subscribe();
        let settled = timeout(SETTLING_TIME_MAX, freed.wait_for(|count| *count >= target)).await;
        if settled.is_err() {
            tracing::debug!("what was given back is not free yet");
        }
    }

    /// Of these, which the store believes the worker to hold, those that it neither holds now nor held at the last
    /// time that this was asked.
    fn leaked(&self, worker: WorkerId, stored: &[u64]) -> Vec<i64> {
        let mut state = self.state();
        let unknown: HashSet<u64> =
            stored.iter().copied().filter(|number| !state.out.contains_key(number)).collect();
        let before = state.suspects.remove(&worker).unwrap_or_default();
        let (leaked, suspects): (HashSet<_>, HashSet<_>) =
            unknown.into_iter().partition(|number| before.contains(number));
        if !suspects.is_empty() {
            state.suspects.insert(worker, suspects);
        }
        leaked.into_iter().map(bigint).collect()
    }
}

impl LeaseKeeper for LeaseBook {
    fn give_back(&self, key: LeaseKey) {
        let mut state = self.state();
        if state.find(&key).is_some() {
            state.out.remove(&key.number);
            drop(state);
            self.free(key.worker, key.number);
        }
    }
}

impl LeaseKeeper for PostgresStore {
    fn give_back(&self, key: LeaseKey) {
        self.leases.give_back(key);
    }
}

pub(crate) const FREE: &str = "DELETE FROM leases WHERE ctid = ANY(ARRAY(
    SELECT l.ctid FROM unnest($2::bigint[]) AS given (number),
    LATERAL (SELECT ctid FROM leases WHERE worker = $1 AND leases.number = given.number OFFSET 0) AS l))";

/// Frees what is given back, for as long as the store is open.
pub(crate) async fn free_all(
    database: Database,
    book: Arc<LeaseBook>,
    hints: Arc<Hints>,
    mut given_back: UnboundedReceiver<Freed>,
) {
    let mut freed = Vec::new();
    while given_back.recv_many(&mut freed, FREED_AT_ONCE_MAX).await > 0 {
        let count = freed.len() as u64;
        let mut by_worker: HashMap<WorkerId, Vec<i64>> = HashMap::new();
        for Freed { worker, number } in freed.drain(..) {
            by_worker.entry(worker).or_default().push(bigint(number));
        }
        for (worker, numbers) in by_worker {
            while let Err(trouble) = free(&database, worker, &numbers).await {
                tracing::warn!(%trouble, "leases cannot be freed: {trouble}; they are tried again");
                sleep(BETWEEN_TRIES).await;
            }
        }
        book.freed_count.send_modify(|freed| *freed += count);
        hints.signal();
    }
}

async fn free(database: &Database, worker: WorkerId, numbers: &[i64]) -> Result<u64, Trouble> {
    database.read().await?.execute(FREE, &[&Uuid(worker.number()), &numbers]).await
}

pub(crate) const NUMBERS_OF_WORKER: &str = "SELECT number FROM leases WHERE worker = $1";

pub(crate) const HELD: &str = "SELECT asked.place
    FROM unnest($1::uuid[], $2::bigint[]) WITH ORDINALITY AS asked (worker, number, place),
    LATERAL (SELECT 1 FROM leases AS l WHERE l.worker = asked.worker AND l.number = asked.number OFFSET 0) AS l";

/// Asks whether leases still stand, for all who ask while an answer is on its way by one statement.
#[derive(Default)]
pub(crate) struct Questions {
    waiting: Mutex<Vec<Question>>,
    asking: tokio::sync::Mutex<()>,
}

struct Question {
    worker: WorkerId,
    number: u64,
    reply: oneshot::Sender<Result<bool, Fault>>,
}

impl Questions {
    fn waiting(&self) -> MutexGuard<'_, Vec<Question>> {
        self.waiting.lock().expect("no holder of the questions panics")
    }

    /// Asks this, with whatever else waits.
    async fn is_held(&self, database: &Database, key: &LeaseKey) -> Result<bool, Fault> {
        loop {
            let (reply, mut answer) = oneshot::channel();
            self.waiting().push(Question { worker: key.worker, number: key.number, reply });
            let _turn = self.asking.lock().await;
            match answer.try_recv() {
                Ok(is_held) => return is_held,
                // Whoever asked for it gave up on the way.
                Err(oneshot::error::TryRecvError::Closed) => continue,
                Err(oneshot::error::TryRecvError::Empty) => {}
            }
            let asked = std::mem::take(&mut *self.waiting());
            let workers: Vec<Uuid> = asked.iter().map(|question| Uuid(question.worker.number())).collect();
            let numbers: Vec<i64> = asked.iter().map(|question| bigint(question.number)).collect();
            let held = retried("ask for leases", async || -> Result<HashSet<usize>, Trouble> {
                let rows = database.read().await?.query(HELD, &[&workers, &numbers]).await?;
                rows.iter().map(|row| whole(row, 0, "place")).collect()
            })
            .await;
            for (question, place) in asked.into_iter().zip(1..) {
                let is_held = held.as_ref().map(|held| held.contains(&place)).map_err(Fault::clone);
                // Who has gone needs no answer.
                let _ = question.reply.send(is_held);
            }
            return answer.try_recv().expect("its own question was among them");
        }
    }
}

impl PostgresStore {
    /// Whether a lease still stands. One that was lent a moment ago is trusted.
    pub(crate) async fn is_lease_held(&self, key: &LeaseKey) -> Result<bool, Fault> {
        match self.leases.is_held(key) {
            Some(is_held) => Ok(is_held),
            None => self.questions.is_held(&self.database, key).await,
        }
    }

    /// Frees the leases of a worker that no guard of this process stands for, and stood for last time. What
    /// is younger may be on its way.
    pub(crate) async fn reconcile_leases(&self, worker: WorkerId) -> Result<usize, Fault> {
        let find = async || -> Result<Vec<u64>, Trouble> {
            let rows =
                self.database.read().await?.query(NUMBERS_OF_WORKER, &[&Uuid(worker.number())]).await?;
            rows.iter().map(|row| whole(row, 0, "number of a lease")).collect()
        };
        let leaked = self.leases.leaked(worker, &retried("reconcile", find).await?);
        if leaked.is_empty() {
            return Ok(0);
        }
        let freed = retried("reconcile", async || free(&self.database, worker, &leaked).await).await?;
        self.hints.signal();
        Ok(usize::try_from(freed).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests;
