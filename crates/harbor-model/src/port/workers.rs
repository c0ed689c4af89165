//! Who is at work: incarnations of workers, their beats, and what becomes of the work of the dead.
//!
//! A worker raises a counter at each beat. Whoever sees a counter unchanged for long enough by its own
//! clock declares that worker dead and buries it: its leases are free at once, and nothing that it records
//! later counts. No two machines' clocks are ever compared.

use async_trait::async_trait;

use crate::id::WorkerId;
use crate::port::Fault;
use crate::time::Timestamp;

/// Keeps who is at work.
#[async_trait]
pub trait Workers: Send + Sync {
    /// Registers a new incarnation. Nothing is lent to one that is not registered.
    async fn enlist(&self, worker: WorkerId, now: Timestamp) -> Result<(), Fault>;

    /// Raises the worker's counter. Answers all counters.
    async fn beat(&self, worker: WorkerId, now: Timestamp) -> Result<Roll, Fault>;

    /// Declares a worker dead whose counter still stands at `count`: frees what it holds, and counts an
    /// interruption for each delivery that may have been in flight. Answers how many were freed; none where
    /// the counter has moved or another was first.
    async fn bury(&self, worker: WorkerId, count: u64, now: Timestamp) -> Result<Option<usize>, Fault>;

    /// Strikes a worker off that has stopped, and frees what it may still hold.
    async fn discharge(&self, worker: WorkerId) -> Result<(), Fault>;

    /// Frees what the store believes the worker to hold and it does not: leases whose commit was never
    /// answered. What may still be on its way is left to the next time. Answers how many were freed.
    async fn reconcile(&self, worker: WorkerId) -> Result<usize, Fault>;

    /// Takes or keeps a task that one process does at a time, and answers who has it. Its holder calls this
    /// as often as it beats. `outlived` is what the candidate has seen unchanged for so long that it may
    /// take over; it does so only where that still stands.
    async fn lead(
        &self,
        task: &'static str,
        candidate: WorkerId,
        outlived: Option<Leader>,
    ) -> Result<Leader, Fault>;
}

/// Everybody who is at work, as of one beat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roll {
    /// Whether the one who beats is still among them. If not it was buried: it holds nothing any more.
    pub is_enlisted: bool,
    /// Each worker with its counter, by id.
    pub counts: Vec<(WorkerId, u64)>,
}

/// Who does a task that one process does at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leader {
    /// Who.
    pub worker: WorkerId,
    /// Raised each time that the holder confirms it.
    pub count: u64,
}
