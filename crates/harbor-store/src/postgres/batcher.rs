//! Gathers what is under way into one statement for many, one round trip and one sync.
//!
//! Callers hand in jobs. A few tasks each take what waits, up to their bounds, run it as one statement and
//! answer each job. A lone job is taken at once. Company gathers while [`EAGER_TASKS`] are at work: the others
//! join in for a crowd, since few large statements cost less than many small ones, for a tenant that the eager
//! ones have nothing of, or when these take too long. Jobs of one tenant whose order matters are never at work
//! in two tasks at a time.
//!
//! A statement that fails for what it holds is halved until the guilty job stands alone, so that one never
//! fails another. One that others were in the way of is done again. Where the database is away, or did
//! not answer, every job gets a fault: what became of it is not known.

use std::collections::{HashMap, HashSet};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use harbor_model::id::TenantId;
use harbor_model::port::Fault;
use harbor_model::port::observer::{CommitSeen, Observer};
use harbor_model::time::{Clock, Timestamp};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::TaskTracker;

use crate::postgres::database::{Database, Link};
use crate::postgres::partitions;
use crate::postgres::trouble::Trouble;
use crate::turns::{Room, Turns};

/// How often a statement is done again that others were in the way of, or whose jobs had to wait for each
/// other.
const ROUNDS_MAX: u32 = 50;

/// How long closing waits for what was handed in.
const CLOSING_TIME_MAX: Duration = Duration::from_secs(15);

/// How many tasks take whatever waits.
const EAGER_TASKS: usize = 2;

/// How much must wait for another task to join in.
const CROWD_ITEMS: usize = 64;

/// After how long another joins in for less.
const PATIENCE: Duration = Duration::from_millis(5);

/// What a job weighs in its statement.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weight {
    pub(crate) items: usize,
    pub(crate) bytes: usize,
}

/// How much one statement holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) items_max: usize,
    pub(crate) bytes_max: usize,
}

/// What jobs of one kind come to.
pub(crate) trait Batch: Send + Sync + 'static {
    /// One thing to do, with its way back to the caller.
    type Job: Send + Sync + 'static;
    /// What comes of it.
    type Answer: Send;

    /// What a job weighs.
    fn weight(&self, job: &Self::Job) -> Weight;

    /// Whose a job is.
    fn tenant<'a>(&self, job: &'a Self::Job) -> &'a TenantId;

    /// An instant whose week the job may need partitions of.
    fn week(&self, job: &Self::Job) -> Timestamp;

    /// Whether nothing of the same tenant that came later may overtake the job: such jobs of one tenant are
    /// never in two statements at a time.
    fn is_ordered(&self, job: &Self::Job) -> bool;

    /// Does all of them, or none: one statement, or one transaction. A job without an answer was not done and
    /// takes part in the next round.
    fn run(
        &self,
        link: Link,
        jobs: &[Self::Job],
    ) -> impl Future<Output = Result<Vec<Option<Self::Answer>>, Trouble>> + Send;

    /// Tells the caller.
    fn answer(&self, job: Self::Job, outcome: Result<Self::Answer, Fault>);
}

/// What a batcher needs.
pub(crate) struct Start {
    pub(crate) doing: &'static str,
    pub(crate) tasks: usize,
    pub(crate) bounds: Bounds,
    pub(crate) room: Room,
    pub(crate) database: Database,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) observer: Arc<dyn Observer>,
}

/// The tasks, seen from the callers.
pub(crate) struct Batcher<B: Batch> {
    shared: Arc<Shared<B>>,
    tasks: TaskTracker,
}

struct Shared<B: Batch> {
    batch: B,
    queue: Mutex<Queue<B::Job>>,
    came: Notify,
    start: Start,
}

struct Queue<J> {
    waiting: Turns<J>,
    /// What all that waits weighs.
    items: usize,
    /// How many tasks are at work.
    busy: usize,
    /// In how many of their statements each tenant has a part.
    served: HashMap<TenantId, usize>,
    /// The tenants of which they have jobs that others must not overtake.
    ordering: HashSet<TenantId>,
    /// How many jobs wait of tenants that had none, neither waiting nor under way, when they came.
    newcomers: usize,
    is_closed: bool,
}

/// What a task finds to do.
enum Taken<J> {
    Jobs(Vec<J>, Parties),
    /// What waits is left to those that are at work.
    Left,
    /// What waits must not overtake what is at work.
    Behind,
    Nothing,
}

/// Who has a part in a statement.
#[derive(Default)]
struct Parties {
    tenants: HashSet<TenantId>,
    /// Of those, the ones with jobs that others must not overtake.
    ordered: HashSet<TenantId>,
}

impl<J> Queue<J> {
    /// Notes what was added. Answers whether a task must look at it: those at work may not be enough, and
    /// a quiet tenant does not wait for the end of what others keep them busy with.
    fn add(&mut self, tenant: &TenantId, weight: usize) -> bool {
        let was_empty = self.items == 0;
        self.items += weight;
        let is_newcomer = self.busy >= EAGER_TASKS && !self.served.contains_key(tenant);
        self.newcomers += usize::from(is_newcomer);
        was_empty || is_newcomer || self.busy < EAGER_TASKS || self.items >= CROWD_ITEMS
    }

    /// Whether what waits is left to the tasks at work.
    fn is_left(&self) -> bool {
        self.busy >= EAGER_TASKS && self.items < CROWD_ITEMS && self.newcomers == 0 && !self.is_closed
    }

    fn begin(&mut self, parties: &Parties) {
        self.busy += 1;
        for tenant in &parties.tenants {
            *self.served.entry(tenant.clone()).or_default() += 1;
        }
        self.ordering.extend(parties.ordered.iter().cloned());
    }

    /// Answers whether a task must look again at what waits.
    fn end(&mut self, parties: &Parties) -> bool {
        self.busy -= 1;
        for tenant in &parties.ordered {
            self.ordering.remove(tenant);
        }
        for tenant in &parties.tenants {
            if let Some(count) = self.served.get_mut(tenant) {
                *count -= 1;
                if *count == 0 {
                    self.served.remove(tenant);
                }
            }
        }
        !parties.ordered.is_empty() && !self.waiting.is_empty()
    }
}

impl<B: Batch> Batcher<B> {
    pub(crate) fn start(batch: B, start: Start) -> Self {
        let queue = Queue {
            waiting: Turns::new(start.room),
            items: 0,
            busy: 0,
            served: HashMap::new(),
            ordering: HashSet::new(),
            newcomers: 0,
            is_closed: false,
        };
        let count = start.tasks;
        let shared = Arc::new(Shared { batch, queue: Mutex::new(queue), came: Notify::new(), start });
        let tasks = TaskTracker::new();
        for _ in 0..count {
            let shared = shared.clone();
            tasks.spawn(async move { shared.work_off().await });
        }
        Self { shared, tasks }
    }

    /// Hands in jobs, however many wait.
    pub(crate) fn push(&self, tenant: &TenantId, job: B::Job) {
        let weight = self.shared.batch.weight(&job).items;
        let mut queue = self.shared.queue();
        if queue.is_closed {
            drop(queue);
            return self.shared.batch.answer(job, Err(Trouble::Closed.into_fault(self.shared.start.doing)));
        }
        queue.waiting.push(Some(tenant.clone()), weight, job);
        let is_call = queue.add(tenant, weight);
        drop(queue);
        if is_call {
            self.shared.came.notify_one();
        }
    }

    /// Hands in jobs of one tenant, all or none: gives them back where it has too much waiting.
    pub(crate) fn offer(&self, tenant: &TenantId, jobs: Vec<B::Job>) -> Result<(), Vec<B::Job>> {
        let weighed: Vec<_> =
            jobs.into_iter().map(|job| (self.shared.batch.weight(&job).items, job)).collect();
        let mut queue = self.shared.queue();
        if queue.is_closed {
            drop(queue);
            for (_, job) in weighed {
                self.shared.batch.answer(job, Err(Trouble::Closed.into_fault(self.shared.start.doing)));
            }
            return Ok(());
        }
        let weight = weighed.iter().map(|(weight, _)| weight).sum();
        let offered = queue.waiting.offer(tenant, weighed);
        let is_call = offered.is_ok() && queue.add(tenant, weight);
        drop(queue);
        if is_call {
            self.shared.came.notify_one();
        }
        offered.map_err(|jobs| jobs.into_iter().map(|(_, job)| job).collect())
    }

    /// Works off what was handed in and ends the tasks. What comes later is answered with a fault.
    pub(crate) async fn close(&self) {
        self.shared.queue().is_closed = true;
        self.shared.came.notify_waiters();
        // For the one task that was about to wait.
        self.shared.came.notify_one();
        self.tasks.close();
        if timeout(CLOSING_TIME_MAX, self.tasks.wait()).await.is_err() {
            let doing = self.shared.start.doing;
            tracing::warn!(doing, "{doing}: the database is in trouble; what was handed in is given up");
        }
    }
}

impl<B: Batch> Drop for Batcher<B> {
    fn drop(&mut self) {
        self.shared.queue().is_closed = true;
        self.shared.came.notify_waiters();
        self.shared.came.notify_one();
    }
}

impl<B: Batch> Shared<B> {
    fn queue(&self) -> MutexGuard<'_, Queue<B::Job>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what waits and does it, until the queue is closed and empty.
    async fn work_off(&self) {
        let mut left_since = None;
        loop {
            // Registered before looking, so that nothing that comes in between is missed.
            let mut came = pin!(self.came.notified());
            came.as_mut().enable();
            let is_patient = left_since.is_none_or(|since: Instant| since.elapsed() < PATIENCE);
            match self.take(is_patient) {
                Taken::Jobs(jobs, parties) => {
                    left_since = None;
                    self.run_guarded(jobs).await;
                    let is_call = self.queue().end(&parties);
                    if is_call {
                        self.came.notify_one();
                    }
                }
                Taken::Left => {
                    let until = *left_since.get_or_insert_with(Instant::now) + PATIENCE;
                    // Whichever comes first, it looks again.
                    let _ = timeout_at(until, came).await;
                }
                Taken::Behind => {
                    left_since = None;
                    came.await;
                }
                Taken::Nothing if self.queue().is_closed => {
                    self.came.notify_one();
                    return;
                }
                Taken::Nothing => {
                    left_since = None;
                    came.await;
                }
            }
        }
    }

    /// What fits into one statement.
    fn take(&self, is_patient: bool) -> Taken<B::Job> {
        let bounds = self.start.bounds;
        let mut queue = self.queue();
        if queue.waiting.is_empty() {
            return Taken::Nothing;
        }
        if is_patient && queue.is_left() {
            return Taken::Left;
        }
        // Beside others, what a quiet tenant waits for is kept short.
        let items_max = if queue.served.is_empty() || queue.newcomers == 0 {
            bounds.items_max
        } else {
            CROWD_ITEMS.min(bounds.items_max)
        };
        let mut jobs = Vec::new();
        let mut filled = Weight::default();
        let Queue { waiting, ordering, .. } = &mut *queue;
        let is_free = |job: &B::Job| {
            ordering.is_empty() || !self.batch.is_ordered(job) || !ordering.contains(self.batch.tenant(job))
        };
        while let Some(job) = waiting.pop_free(is_free, |job| {
            let weight = self.batch.weight(job);
            let fits =
                filled.items + weight.items <= items_max && filled.bytes + weight.bytes <= bounds.bytes_max;
            if fits || filled.items == 0 {
                filled = Weight { items: filled.items + weight.items, bytes: filled.bytes + weight.bytes };
                return true;
            }
            false
        }) {
            jobs.push(job);
        }
        if jobs.is_empty() {
            return Taken::Behind;
        }
        queue.items -= filled.items;
        // Each newcomer's first turn is within a few statements of this size.
        queue.newcomers = if queue.waiting.is_empty() { 0 } else { queue.newcomers.saturating_sub(1) };
        let mut parties = Parties::default();
        for job in &jobs {
            let tenant = self.batch.tenant(job);
            if self.batch.is_ordered(job) && !parties.ordered.contains(tenant) {
                parties.ordered.insert(tenant.clone());
            }
            if !parties.tenants.contains(tenant) {
                parties.tenants.insert(tenant.clone());
            }
        }
        queue.begin(&parties);
        let is_call = !queue.waiting.is_empty();
        drop(queue);
        if is_call {
            self.came.notify_one();
        }
        Taken::Jobs(jobs, parties)
    }

    /// Does a batch. A bug in one must not end the task that all need; its jobs are dropped, and their
    /// callers learn of a fault.
    async fn run_guarded(&self, jobs: Vec<B::Job>) {
        let mut doing = pin!(self.run_all(jobs));
        let guarded = poll_fn(|context| {
            catch_unwind(AssertUnwindSafe(|| doing.as_mut().poll(context))).unwrap_or(Poll::Ready(()))
        });
        guarded.await;
    }

    /// Does a batch, in halves where it fails for what it holds.
    async fn run_all(&self, jobs: Vec<B::Job>) {
        let mut parts = vec![jobs];
        while let Some(mut jobs) = parts.pop() {
            if let Err(trouble) = self.run_rounds(&mut jobs).await {
                if trouble.is_of_the_data() && jobs.len() > 1 {
                    tracing::warn!(jobs = jobs.len(), %trouble, "{}: a batch is split: {trouble}", self.start.doing);
                    let second = jobs.split_off(jobs.len() / 2);
                    parts.extend([second, jobs]);
                    continue;
                }
                let fault = trouble.into_fault(self.start.doing);
                for job in jobs {
                    self.batch.answer(job, Err(fault.clone()));
                }
            }
        }
    }

    /// Does a batch until each job has its answer; answers those that have one. Those that are left had
    /// none when the trouble came.
    async fn run_rounds(&self, jobs: &mut Vec<B::Job>) -> Result<(), Trouble> {
        let mut is_partitioned = false;
        for _ in 0..ROUNDS_MAX {
            let began = self.start.clock.elapsed();
            let outcome = match self.start.database.write().await {
                Ok(link) => self.batch.run(link, jobs).await,
                Err(trouble) => Err(trouble),
            };
            let took = self.start.clock.elapsed().saturating_sub(began);
            let seen = CommitSeen { operations: jobs.len(), took, is_committed: outcome.is_ok() };
            self.start.observer.committed(seen);
            match outcome {
                Ok(answers) => {
                    assert_eq!(answers.len(), jobs.len(), "each job has its answer");
                    for (job, answer) in std::mem::take(jobs).into_iter().zip(answers) {
                        match answer {
                            Some(answer) => self.batch.answer(job, Ok(answer)),
                            None => jobs.push(job),
                        }
                    }
                    if jobs.is_empty() {
                        return Ok(());
                    }
                }
                Err(trouble) if trouble.is_conflict() => {}
                Err(trouble) if trouble.is_missing_partition() && !is_partitioned => {
                    is_partitioned = true;
                    let weeks = jobs.iter().map(|job| self.batch.week(job));
                    partitions::make_for(&self.start.database, weeks).await?;
                }
                Err(trouble) => return Err(trouble),
            }
        }
        Err(Trouble::Contended)
    }
}
