//! Carries jobs out: step by step, the jobs of all tenants in turn, by one process at a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use harbor_model::chance::Rng;
use harbor_model::id::JobId;
use harbor_model::job::Job;
use harbor_model::port::Fault;
use harbor_model::port::directory::Directory;
use harbor_model::port::handoff::Handoff;
use harbor_model::port::jobs::JobSteps;
use harbor_model::time::{Clock, Timestamp};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::jobs::carry::{Came, Hands};
use crate::jobs::step::Step;
use crate::jobs::turns::{COST_FACTOR, Followed, Turns};
use crate::leadership::Leadership;

/// What carrying out jobs needs.
pub struct Deps {
    /// Keeps jobs and makes their steps.
    pub jobs: Arc<dyn JobSteps>,
    /// Knows the endpoints that have something due by a step.
    pub directory: Arc<dyn Directory>,
    /// Wakes whoever delivers.
    pub handoff: Arc<dyn Handoff>,
    /// Tells the time and waits.
    pub clock: Arc<dyn Clock>,
    /// Draws ids.
    pub rng: Arc<dyn Rng>,
    /// Of several processes, one carries jobs out.
    pub leadership: Leadership,
}

/// How jobs are carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How often new jobs are looked for.
    pub interval: Duration,
    /// The most jobs that are read. Younger ones wait until older ones have ended.
    pub read_max: usize,
    /// The most jobs of which a step is made at the same moment.
    pub at_once_max: usize,
    /// The most deliveries, or rows, that one step changes; one step is one transaction.
    pub batch_rows_max: usize,
    /// The most deliveries that one step looks at to count them.
    pub count_rows_max: usize,
    /// The rest between two steps of a job, for what else the store has to do.
    pub pause: Duration,
    /// How soon it is looked again what became of a job's replays, while that changes.
    pub look_interval: Duration,
    /// How soon at the latest, while it does not change or costs much to find out.
    pub look_interval_max: Duration,
    /// A job whose steps have failed for so long without a break has failed.
    pub give_up_after: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            read_max: 1_000,
            at_once_max: 4,
            batch_rows_max: 200,
            count_rows_max: 2_000,
            pause: Duration::from_millis(10),
            look_interval: Duration::from_secs(1),
            look_interval_max: Duration::from_secs(60),
            give_up_after: Duration::from_secs(24 * 60 * 60),
        }
    }
}

impl Settings {
    /// Says what cannot work.
    ///
    /// # Errors
    /// Nothing would ever be done, or it would be looked less often than at the latest.
    pub fn validate(&self) -> Result<(), &'static str> {
        let sizes = [self.read_max, self.at_once_max, self.batch_rows_max, self.count_rows_max];
        if sizes.contains(&0) {
            return Err("read_max, at_once_max, batch_rows_max and count_rows_max must be at least 1");
        }
        if self.interval.is_zero() || self.look_interval.is_zero() {
            return Err("interval and look_interval must be more than zero");
        }
        if self.look_interval > self.look_interval_max {
            return Err("look_interval must be at most look_interval_max");
        }
        Ok(())
    }
}

/// How many jobs are open, as far as this process carries them out.
#[derive(Clone, Debug, Default)]
pub struct OpenJobs(Arc<AtomicUsize>);

impl OpenJobs {
    /// How many there are; zero where another process carries them out.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, count: usize) {
        self.0.store(count, Ordering::Relaxed);
    }
}

/// Carries jobs out.
pub struct Runner {
    hands: Hands,
    clock: Arc<dyn Clock>,
    leadership: Leadership,
    settings: Settings,
    turns: Turns,
    /// When open jobs are looked for again.
    read_at: Timestamp,
    /// Steps that are being made.
    steps: JoinSet<Made>,
    /// The jobs that they are of.
    making: HashMap<Id, JobId>,
    open: OpenJobs,
}

/// A step that was made.
struct Made {
    step: Step,
    came: Result<Came, Fault>,
    took: Duration,
}

/// Carries jobs out until `shutdown`, while it is this process's task; steps that have begun are finished.
pub async fn run(mut runner: Runner, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        let next_at = runner.work(&shutdown).await;
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = runner.clock.sleep_until(next_at) => {}
        }
    }
}

impl Runner {
    /// A runner that has looked at nothing yet.
    pub fn new(deps: Deps, settings: Settings) -> Self {
        let Deps { jobs, directory, handoff, clock, rng, leadership } = deps;
        Self {
            hands: Hands { jobs, directory, handoff, rng },
            clock,
            leadership,
            settings,
            turns: Turns::default(),
            read_at: Timestamp::from_unix_ms(0),
            steps: JoinSet::new(),
            making: HashMap::new(),
            open: OpenJobs::default(),
        }
    }

    /// How many jobs are open, for gauges.
    pub fn open(&self) -> OpenJobs {
        self.open.clone()
    }

    /// Makes all steps that are due until none is, or until `shutdown`. Answers when the next may be.
    pub async fn work(&mut self, shutdown: &CancellationToken) -> Timestamp {
        loop {
            if shutdown.is_cancelled() || !self.leadership.is_mine().await {
                self.rest().await;
                return self.clock.now() + self.settings.interval;
            }
            self.read().await;
            self.begin_steps();
            self.open.set(self.turns.len());
            let next_at = self.turns.next_due().map_or(self.read_at, |due_at| due_at.min(self.read_at));
            if self.steps.is_empty() {
                return next_at;
            }
            let is_full = self.steps.len() >= self.settings.at_once_max;
            tokio::select! {
                joined = self.steps.join_next_with_id() => self.settle(joined),
                () = self.clock.sleep_until(next_at), if !is_full => {}
            }
        }
    }

    /// Finishes the steps that have begun, and forgets everything: another process may go on.
    async fn rest(&mut self) {
        while let Some(joined) = self.steps.join_next_with_id().await {
            self.settle(Some(joined));
        }
        self.turns.clear();
        self.open.set(0);
        self.read_at = Timestamp::from_unix_ms(0);
    }

    /// Reads which jobs are open, where it is time to.
    async fn read(&mut self) {
        if self.clock.now() < self.read_at {
            return;
        }
        let began = self.clock.elapsed();
        let read = self.hands.jobs.open_jobs(self.settings.read_max).await;
        let now = self.clock.now();
        let took = self.clock.elapsed().saturating_sub(began);
        self.read_at = now + self.settings.interval.max(took * COST_FACTOR);
        match read {
            Ok(open) => self.turns.read(open, now),
            Err(fault) => {
                warn!(%fault, "the open jobs could not be read, the next round tries again: {fault}")
            }
        }
    }

    /// Begins steps of jobs that are due, as many as may be made at once.
    fn begin_steps(&mut self) {
        while self.steps.len() < self.settings.at_once_max {
            let now = self.clock.now();
            let Some(entry) = self.turns.pick(now) else { return };
            let Some(order) = entry.order(&self.settings, now) else { continue };
            let (id, step) = (order.job.id, order.step);
            let (hands, clock) = (self.hands.clone(), self.clock.clone());
            let task = self.steps.spawn(async move {
                let began = clock.elapsed();
                let came = hands.carry_out(order, now).await;
                Made { step, came, took: clock.elapsed().saturating_sub(began) }
            });
            self.making.insert(task.id(), id);
        }
    }

    /// Takes in what came of a step.
    fn settle(&mut self, joined: Option<Result<(Id, Made), JoinError>>) {
        let Some(joined) = joined else { return };
        let (task, made) = match joined {
            Ok((task, made)) => (task, made),
            Err(error) => {
                // A panic is a bug of one step; the other jobs go on, and this one is tried again.
                let came = Err(Fault::bare("a step panicked"));
                (error.id(), Made { step: Step::Nothing, came, took: Duration::ZERO })
            }
        };
        let id = self.making.remove(&task).expect("each step is noted with its job");
        let now = self.clock.now();
        let Some(entry) = self.turns.find(id) else { return };
        entry.is_busy = false;
        let Made { step, came, took } = made;
        match came {
            Ok(Came::On { job, walk }) => {
                entry.follow(Followed { step, job, walk, took }, &self.settings, now);
                if entry.job.status.is_final() {
                    tell_end(&entry.job);
                    self.turns.remove(id);
                }
            }
            // Somebody else changed it: what it is now is read in the next round.
            Ok(Came::Stale) => self.turns.remove(id),
            Err(fault) => {
                warn!(job_id = %id, ?step, %fault, "a step of {id} failed and is tried again: {fault}");
                entry.stumble(&self.settings, now);
            }
        }
    }
}

fn tell_end(job: &Job) {
    let (id, kind, status, counts) = (job.id, job.task.kind(), job.status, job.counts);
    info!(
        job_id = %id, tenant_id = %job.tenant_id, kind = %kind, status = %status, matched = counts.matched,
        queued = counts.queued, succeeded = counts.succeeded, failed = counts.failed,
        "the {kind} job {id} is {status}"
    );
}

#[cfg(test)]
mod tests;
