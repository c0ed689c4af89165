//! The one writer: gathers the changes that are under way into one transaction, and one sync.
//!
//! A caller hands in its work and waits. The writer takes what is first, begins a transaction, and does
//! what else has come meanwhile in the same one, up to its bounds. After the commit it answers all.
//! A lone change never waits for company, and tenants take turns ([`Turns`]).
//!
//! Where the transaction fails it is rolled back and halved until the guilty change stands alone, so
//! that one change never fails another.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use harbor_model::id::TenantId;
use harbor_model::port::Fault;
use harbor_model::port::observer::{CommitSeen, Observer};
use harbor_model::time::Clock;
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::sqlite::checkpoint::Checkpoints;
use crate::sqlite::transaction::{Memory, Tx};
use crate::sqlite::trouble::Trouble;
use crate::turns::{Room, Turns};

/// A change to the store.
pub(crate) trait Work: Send + 'static {
    /// What the caller learns.
    type Answer: Send + 'static;

    /// Makes the change. May run again after a rollback, so it takes nothing from itself; what it puts
    /// into memory that others see must go when its answer is dropped.
    fn apply(&mut self, tx: &mut Tx<'_>) -> Result<Self::Answer, Trouble>;

    /// Runs after the commit and before the caller gets its answer.
    fn committed(self, _answer: &Self::Answer)
    where
        Self: Sized,
    {
    }
}

/// What a change weighs in its transaction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weight {
    pub(crate) items: usize,
    pub(crate) bytes: usize,
}

impl Weight {
    /// A change of one or a few rows.
    pub(crate) const ONE: Self = Self { items: 1, bytes: 0 };

    pub(crate) fn plus(self, other: Self) -> Self {
        Self { items: self.items + other.items, bytes: self.bytes + other.bytes }
    }
}

/// How much one transaction holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) items_max: usize,
    pub(crate) bytes_max: usize,
    pub(crate) time_max: Duration,
}

impl Bounds {
    pub(crate) fn hold(&self, weight: Weight) -> bool {
        weight.items <= self.items_max && weight.bytes <= self.bytes_max
    }

    /// How many rows fill as much of a transaction as this does, by its items or by its bytes.
    fn rows(&self, weight: Weight) -> usize {
        let by_bytes = weight.bytes as u128 * self.items_max as u128 / self.bytes_max as u128;
        weight.items.max(usize::try_from(by_bytes).unwrap_or(usize::MAX)).max(1)
    }
}

/// A change in the queue, whatever its kind.
trait Job: Send {
    fn weight(&self) -> Weight;
    fn apply(&mut self, tx: &mut Tx<'_>) -> Result<(), Trouble>;
    fn answer(self: Box<Self>, result: Result<(), Fault>);
}

/// A change with its way back to the caller.
struct Envelope<W: Work> {
    work: W,
    weight: Weight,
    answer: Option<W::Answer>,
    reply: oneshot::Sender<Result<W::Answer, Fault>>,
}

impl<W: Work> Envelope<W> {
    /// The change on its way, and where its answer comes.
    fn new(work: W, weight: Weight) -> (Self, oneshot::Receiver<Result<W::Answer, Fault>>) {
        let (reply, answer) = oneshot::channel();
        (Self { work, weight, answer: None, reply }, answer)
    }
}

impl<W: Work> Job for Envelope<W> {
    fn weight(&self) -> Weight {
        self.weight
    }

    fn apply(&mut self, tx: &mut Tx<'_>) -> Result<(), Trouble> {
        self.answer = None;
        self.answer = Some(self.work.apply(tx)?);
        Ok(())
    }

    fn answer(self: Box<Self>, result: Result<(), Fault>) {
        let Self { work, answer, reply, weight: _ } = *self;
        let outcome = result.map(|()| {
            let answer = answer.expect("what was committed was applied");
            work.committed(&answer);
            answer
        });
        // A caller that has gone drops the answer, and with it the leases that it holds.
        let _ = reply.send(outcome);
    }
}

/// The connection that writes, with all that it needs.
pub(crate) struct Core {
    pub(crate) conn: Connection,
    pub(crate) bounds: Bounds,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) memory: Memory,
    /// Pages in the write-ahead log, as the last commit left it.
    pub(crate) wal_pages: Arc<AtomicU64>,
    pub(crate) checkpoints: Option<Checkpoints>,
}

impl Core {
    /// Does one change in a transaction of its own, in the caller's thread.
    pub(crate) fn run_inline<W: Work>(&mut self, work: W) -> Result<W::Answer, Fault> {
        let (envelope, mut answer) = Envelope::new(work, Weight::ONE);
        self.run(Box::new(envelope), |_| None);
        answer.try_recv().unwrap_or_else(|_| Err(Trouble::Closed.into_fault("write")))
    }

    /// Does `first`, and what `more` has to offer while there is room, in one transaction.
    fn run(&mut self, first: Box<dyn Job>, mut more: impl FnMut(Weight) -> Option<Box<dyn Job>>) {
        let began = self.clock.elapsed();
        let mut jobs: Vec<Box<dyn Job>> = Vec::new();
        let mut next = Some(first);
        let mut filled = Weight::default();
        let mut outcome = self.begin();
        while let Some(mut job) = next.take() {
            if outcome.is_ok() {
                outcome = self.apply(&mut *job, false);
            }
            filled = filled.plus(job.weight());
            jobs.push(job);
            let is_late = self.clock.elapsed().saturating_sub(began) >= self.bounds.time_max;
            if outcome.is_ok() && !is_late {
                next = more(filled);
            }
        }
        self.end(jobs, outcome, began);
    }

    /// Does these, which failed together, in a transaction of their own.
    fn run_again(&mut self, mut jobs: Vec<Box<dyn Job>>) {
        let began = self.clock.elapsed();
        let is_careful = jobs.len() == 1;
        let mut outcome = self.begin();
        for job in &mut jobs {
            if outcome.is_ok() {
                outcome = self.apply(&mut **job, is_careful);
            }
        }
        if is_careful {
            // It stands alone, and each of its items had its own savepoint: what fails now is its own fault.
            let outcome = outcome.and_then(|()| self.commit());
            return self.answer(jobs, outcome, began);
        }
        self.end(jobs, outcome, began);
    }

    /// Commits and answers, or rolls back and halves.
    fn end(&mut self, mut jobs: Vec<Box<dyn Job>>, outcome: Result<(), Trouble>, began: Duration) {
        if let Err(trouble) = outcome {
            tracing::warn!(operations = jobs.len(), %trouble, "a transaction is split: {trouble}");
            self.roll_back();
            self.saw_commit(jobs.len(), began, false);
            let second = jobs.split_off(jobs.len() / 2);
            for half in [jobs, second] {
                if !half.is_empty() {
                    self.run_again(half);
                }
            }
            return;
        }
        // A commit that fails says nothing of who is guilty: the disk is full, or broken.
        let outcome = self.commit();
        self.answer(jobs, outcome, began);
    }

    fn answer(&mut self, jobs: Vec<Box<dyn Job>>, outcome: Result<(), Trouble>, began: Duration) {
        let result = outcome.map_err(|trouble| {
            self.roll_back();
            trouble.into_fault("write")
        });
        self.saw_commit(jobs.len(), began, result.is_ok());
        for job in jobs {
            job.answer(result.clone());
        }
    }

    fn begin(&mut self) -> Result<(), Trouble> {
        let is_wiped = self.checkpoints.as_ref().is_some_and(Checkpoints::enter);
        if is_wiped {
            self.conn.execute_batch("PRAGMA shrink_memory")?;
        }
        Ok(self.conn.prepare_cached("BEGIN IMMEDIATE")?.raw_execute().map(drop)?)
    }

    fn apply(&mut self, job: &mut dyn Job, is_careful: bool) -> Result<(), Trouble> {
        let mut tx = Tx { conn: &self.conn, memory: &mut self.memory, is_careful };
        // A bug in one change must not end the thread that all changes need.
        catch_unwind(AssertUnwindSafe(|| job.apply(&mut tx))).unwrap_or(Err(Trouble::Panicked))
    }

    fn commit(&mut self) -> Result<(), Trouble> {
        self.conn.prepare_cached("COMMIT")?.raw_execute()?;
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.leave();
            checkpoints.saw(self.wal_pages.load(Ordering::Relaxed));
        }
        Ok(())
    }

    fn roll_back(&mut self) {
        self.memory.forget();
        // Some errors have already ended the transaction.
        if !self.conn.is_autocommit()
            && let Err(error) = self.conn.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a transaction cannot be rolled back: {error}");
        }
        if let Some(checkpoints) = &self.checkpoints {
            checkpoints.leave();
        }
    }

    fn saw_commit(&self, operations: usize, began: Duration, is_committed: bool) {
        let took = self.clock.elapsed().saturating_sub(began);
        self.observer.committed(CommitSeen { operations, took, is_committed });
    }
}

/// What waits for the writer.
struct Queue {
    state: Mutex<QueueState>,
    /// Told when there is something to do for the writer, which waits for it.
    arrived: Condvar,
    bounds: Bounds,
}

struct QueueState {
    turns: Turns<Box<dyn Job>>,
    is_writer_waiting: bool,
    is_closed: bool,
}

impl Queue {
    fn new(bounds: Bounds, room: Room) -> Self {
        let state =
            Mutex::new(QueueState { turns: Turns::new(room), is_writer_waiting: false, is_closed: false });
        Self { state, arrived: Condvar::new(), bounds }
    }

    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().expect("no holder of the writer's queue panics")
    }

    /// Adds a change, which is dropped, and its reply with it, where the queue is closed.
    fn push(&self, tenant: Option<TenantId>, job: Box<dyn Job>) {
        let rows = self.bounds.rows(job.weight());
        let mut state = self.state();
        if !state.is_closed {
            state.turns.push(tenant, rows, job);
            self.call(state);
        }
    }

    /// Adds changes of one tenant. False where it has too much waiting.
    fn offer(&self, tenant: &TenantId, jobs: Vec<Box<dyn Job>>) -> bool {
        let jobs = jobs.into_iter().map(|job| (self.bounds.rows(job.weight()), job)).collect();
        let mut state = self.state();
        if state.is_closed {
            return true;
        }
        let is_taken = state.turns.offer(tenant, jobs).is_ok();
        if is_taken {
            self.call(state);
        }
        is_taken
    }

    /// Wakes the writer if it waits; a call for one that does not would cost more than the lock.
    fn call(&self, mut state: MutexGuard<'_, QueueState>) {
        let is_waiting = std::mem::take(&mut state.is_writer_waiting);
        drop(state);
        if is_waiting {
            self.arrived.notify_one();
        }
    }

    fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        self.call(state);
    }

    /// Waits for the next change. None once the queue is closed and all is done.
    fn next(&self) -> Option<Box<dyn Job>> {
        let mut state = self.state();
        loop {
            if let Some(job) = state.turns.pop(|_| true) {
                return Some(job);
            }
            if state.is_closed {
                return None;
            }
            state.is_writer_waiting = true;
            state = self.arrived.wait(state).expect("no holder of the writer's queue panics");
        }
    }

    /// The next change, if it is there and there is room for it beside what fills the transaction.
    fn next_beside(&self, filled: Weight) -> Option<Box<dyn Job>> {
        self.state().turns.pop(|job| self.bounds.hold(filled.plus(job.weight())))
    }
}

/// The writer's thread, seen from its callers.
pub(crate) struct Writer {
    queue: Arc<Queue>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Refuses and drops what waits once the thread has ended, however it did.
struct Ending(Arc<Queue>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.close();
        while let Some(job) = self.0.next() {
            drop(job);
        }
    }
}

impl Writer {
    /// Starts the thread. It ends when it is closed.
    pub(crate) fn start(mut core: Core, room: Room) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::new(core.bounds, room));
        let ending = Ending(queue.clone());
        let thread = std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || {
            let Ending(queue) = &ending;
            while let Some(first) = queue.next() {
                core.run(first, |filled| queue.next_beside(filled));
            }
            close(core);
        })?;
        Ok(Self { queue, thread: Mutex::new(Some(thread)) })
    }

    /// Hands in a change, of a tenant or of none. The future that comes back waits for the commit; dropping
    /// it does not take the change back.
    pub(crate) fn hand_in<W: Work>(
        &self,
        tenant: Option<TenantId>,
        weight: Weight,
        work: W,
    ) -> impl Future<Output = Result<W::Answer, Fault>> + Send + use<W> {
        let (envelope, answer) = Envelope::new(work, weight);
        self.queue.push(tenant, Box::new(envelope));
        answered::<W>(answer)
    }

    /// Hands in changes of one tenant, all or none: none where it has too much waiting.
    pub(crate) fn offer<W: Work>(
        &self,
        tenant: &TenantId,
        works: Vec<(Weight, W)>,
    ) -> Option<Vec<impl Future<Output = Result<W::Answer, Fault>> + Send + use<W>>> {
        let mut answers = Vec::with_capacity(works.len());
        let jobs = works.into_iter().map(|(weight, work)| {
            let (envelope, answer) = Envelope::new(work, weight);
            answers.push(answered::<W>(answer));
            Box::new(envelope) as Box<dyn Job>
        });
        let jobs = jobs.collect();
        self.queue.offer(tenant, jobs).then_some(answers)
    }

    /// Works off what was handed in, then ends the thread.
    pub(crate) fn close(&self) {
        self.queue.close();
        let thread = self.thread.lock().expect("no holder panics").take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the writer's thread panicked");
        }
    }
}

/// Waits for an answer; what was dropped unanswered was not done.
async fn answered<W: Work>(answer: oneshot::Receiver<Result<W::Answer, Fault>>) -> Result<W::Answer, Fault> {
    answer.await.unwrap_or_else(|_| Err(Trouble::Closed.into_fault("write")))
}

/// Leaves one file behind: everything is copied out of the write-ahead log.
fn close(mut core: Core) {
    drop(core.checkpoints.take());
    if let Err(error) = core.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
        tracing::warn!(%error, "the last checkpoint failed: {error}; the next start makes it");
    }
}

#[cfg(test)]
mod tests;
