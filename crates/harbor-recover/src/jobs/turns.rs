//! Whose turn it is: the jobs that are open, and when each may make its next step.

use std::collections::HashMap;
use std::time::Duration;

use harbor_model::id::{JobId, TenantId};
use harbor_model::job::{Job, Task};
use harbor_model::time::Timestamp;

use crate::jobs::carry::{Order, Walk};
use crate::jobs::pace::Pace;
use crate::jobs::runner::Settings;
use crate::jobs::step::{Known, Step, next};

/// The jobs that are open, as far as they were read.
#[derive(Debug, Default)]
pub(super) struct Turns {
    entries: HashMap<JobId, Entry>,
    /// Counts turns.
    turn: u64,
}

/// An open job.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) job: Job,
    pub(super) known: Known,
    /// The rate that it keeps; none for one that has none.
    pub(super) pace: Option<Pace>,
    /// When its next step may be made.
    pub(super) due_at: Timestamp,
    /// Since when nothing but faults has come of its steps, and how many.
    pub(super) trouble: Option<(Timestamp, u32)>,
    /// How often what its replays came to was found unchanged.
    pub(super) idle_looks: u32,
    /// Whether a step of it is being made.
    pub(super) is_busy: bool,
    /// The turn of its last step.
    served: u64,
}

impl Entry {
    fn new(job: Job, now: Timestamp) -> Self {
        Self {
            known: Known::default(),
            pace: pace_of(&job, now),
            job,
            due_at: now,
            trouble: None,
            idle_looks: 0,
            is_busy: false,
            served: 0,
        }
    }

    /// The step that it makes at `now`; none where it has no room to go yet, and waits on.
    pub(super) fn order(&mut self, settings: &Settings, now: Timestamp) -> Option<Order> {
        let step = next(&self.job, self.known);
        let limit = match (step, &mut self.pace) {
            (Step::Count, _) => settings.count_rows_max,
            (Step::Replay, Some(pace)) => match pace.room(settings.batch_rows_max, now) {
                Ok(room) => room,
                Err(ready_at) => {
                    self.due_at = ready_at;
                    return None;
                }
            },
            (_, _) => settings.batch_rows_max,
        };
        self.is_busy = true;
        Some(Order { job: self.job.clone(), step, limit })
    }

    /// Goes on after a step.
    pub(super) fn follow(&mut self, made: Followed, settings: &Settings, now: Timestamp) {
        let Followed { step, job, walk, took } = made;
        self.trouble = None;
        let is_news = job.version != self.job.version;
        let queued = job.counts.queued.saturating_sub(self.job.counts.queued);
        self.job = job;
        let wait = match (step, &mut self.pace) {
            (Step::Look, _) => self.patience(is_news, took, settings),
            (Step::Replay, Some(pace)) => {
                pace.spend(queued);
                let is_behind = pace.room(settings.batch_rows_max, now) == Ok(settings.batch_rows_max);
                if is_behind { settings.pause } else { settings.pause.max(PACED_STEPS_APART) }
            }
            // It waits for something that was begun before the tenant was deleted.
            (Step::Purge, _) if walk.is_some_and(|walk| walk.count == 0) => settings.pause.max(TROUBLE_WAIT),
            (_, _) => settings.pause,
        };
        self.due_at = now + wait;
        match step {
            // Another walk begins, and with it the rate.
            Step::Begin => (self.known, self.pace) = (Known::default(), pace_of(&self.job, now)),
            _ => self.known.is_walked |= walk.is_some_and(|walk| walk.is_end),
        }
    }

    /// How long until it is looked again what became of the replays: the longer, the longer nothing has
    /// changed, and the more it costs.
    fn patience(&mut self, is_news: bool, took: Duration, settings: &Settings) -> Duration {
        self.idle_looks = if is_news { 0 } else { self.idle_looks.saturating_add(1) };
        let wait = settings.look_interval.saturating_mul(1 << self.idle_looks.min(16));
        wait.max(took * COST_FACTOR).min(settings.look_interval_max)
    }

    /// Waits after a step that failed, the longer the more of them failed. After too long it is hopeless,
    /// which is noted next; where that fails too, the store is to blame and the job goes on trying.
    pub(super) fn stumble(&mut self, settings: &Settings, now: Timestamp) {
        let (since, count) = self.trouble.unwrap_or((now, 0));
        self.trouble = Some((since, count.saturating_add(1)));
        let is_over = now.since(since) >= settings.give_up_after;
        self.known.is_hopeless = is_over && !self.known.is_hopeless;
        let wait = TROUBLE_WAIT.saturating_mul(1 << count.min(16)).min(TROUBLE_WAIT_MAX);
        self.due_at = if self.known.is_hopeless { now } else { now + wait };
    }
}

/// The rate that a job keeps from now on.
fn pace_of(job: &Job, now: Timestamp) -> Option<Pace> {
    match &job.task {
        Task::Replay(task) => task.rate_per_second.map(|rate| Pace::new(rate, now)),
        Task::Cancel(_) | Task::Purge => None,
    }
}

/// What came of a step that was made.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) step: Step,
    pub(super) job: Job,
    pub(super) walk: Option<Walk>,
    pub(super) took: Duration,
}

/// The steps of a job with a rate are at least so far apart: fewer steps with more in each cost less.
const PACED_STEPS_APART: Duration = Duration::from_millis(50);

/// The wait after the first step that failed; it doubles.
const TROUBLE_WAIT: Duration = Duration::from_secs(1);

/// The longest wait after a step that failed.
const TROUBLE_WAIT_MAX: Duration = Duration::from_secs(60);

/// What costs so long to find out is asked no more often than a twentieth of the time.
pub(super) const COST_FACTOR: u32 = 20;

impl Turns {
    /// Takes in what was read of the open jobs: new ones join, those that changed behind our back begin anew,
    /// those that are open no more leave.
    pub(super) fn read(&mut self, open: Vec<Job>, now: Timestamp) {
        let mut before = std::mem::take(&mut self.entries);
        for job in open {
            let id = job.id;
            let entry = match before.remove(&id) {
                // What was read may be older than what a step answered.
                Some(known) if known.is_busy || known.job.version >= job.version => known,
                Some(known) => Entry { pace: known.pace, served: known.served, ..Entry::new(job, now) },
                None => Entry::new(job, now),
            };
            self.entries.insert(id, entry);
        }
        self.entries.extend(before.into_iter().filter(|(_, entry)| entry.is_busy));
    }

    /// The job whose turn it is: of those that are due, of the tenant that was served least lately, the one
    /// that was served least lately.
    pub(super) fn pick(&mut self, now: Timestamp) -> Option<&mut Entry> {
        let mut served: HashMap<&TenantId, u64> = HashMap::new();
        for entry in self.entries.values() {
            let last = served.entry(&entry.job.tenant_id).or_default();
            *last = entry.served.max(*last);
        }
        let due = self.entries.values().filter(|entry| !entry.is_busy && entry.due_at <= now);
        let next = due.min_by_key(|entry| (served[&entry.job.tenant_id], entry.served, entry.job.id));
        let id = next?.job.id;
        self.turn += 1;
        let entry = self.entries.get_mut(&id)?;
        entry.served = self.turn;
        Some(entry)
    }

    /// When the next step is due of those that are not being made.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.entries.values().filter(|entry| !entry.is_busy).map(|entry| entry.due_at).min()
    }

    pub(super) fn find(&mut self, id: JobId) -> Option<&mut Entry> {
        self.entries.get_mut(&id)
    }

    pub(super) fn remove(&mut self, id: JobId) {
        self.entries.remove(&id);
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests;
