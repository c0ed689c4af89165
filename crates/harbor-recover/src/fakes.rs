//! What the tests of this crate stand on: a clock that skips waits, and ports that note what is asked.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use harbor_model::directory::TenantSnapshot;
use harbor_model::event::EventBody;
use harbor_model::id::{DeliveryId, JobId, TenantId};
use harbor_model::job::{Job, JobCounts, JobKind, JobStatus};
use harbor_model::port::Fault;
use harbor_model::port::deliveries::{EndpointKey, Lease};
use harbor_model::port::directory::Directory;
use harbor_model::port::handoff::{Handoff, LaneWanted, Reservation};
use harbor_model::port::jobs::{
    JobCancelled, JobCreated, JobNote, JobSteps, Jobs, NewJob, Outcomes, Stepped,
};
use harbor_model::port::page::{Page, PageAsk};
use harbor_model::time::{Clock, Timestamp};

pub(crate) const T0: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);

/// A clock on which waits are over at once, and have taken their time.
#[derive(Default)]
pub(crate) struct SkippingClock(Mutex<Duration>);

#[async_trait]
impl Clock for SkippingClock {
    fn now(&self) -> Timestamp {
        T0 + self.elapsed()
    }

    fn elapsed(&self) -> Duration {
        *self.0.lock().unwrap()
    }

    async fn sleep_until(&self, instant: Timestamp) {
        // Others go first, as they do while somebody sleeps.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        let mut elapsed = self.0.lock().unwrap();
        *elapsed = instant.since(T0).max(*elapsed);
    }
}

/// Notes what is announced.
#[derive(Default)]
pub(crate) struct Announced(Mutex<Vec<EndpointKey>>);

impl Announced {
    pub(crate) fn take(&self) -> Vec<EndpointKey> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Handoff for Announced {
    fn reserve(&self, _: Vec<Option<LaneWanted>>, _: u64) -> Reservation {
        unreachable!("nothing is published here")
    }

    fn hand_over(&self, _: Arc<EventBody>, _: Vec<Lease>, _: Reservation) {
        unreachable!("nothing is published here")
    }

    fn announce(&self, keys: &[EndpointKey]) {
        self.0.lock().unwrap().extend_from_slice(keys);
    }
}

/// A directory without tenants.
pub(crate) struct NoDirectory;

#[async_trait]
impl Directory for NoDirectory {
    async fn tenant(&self, _: &TenantId) -> Result<Option<Arc<TenantSnapshot>>, Fault> {
        Ok(None)
    }

    fn observe(&self, _: &TenantId, _: u64) {}
}

/// A step that was made: of which job, when, and how much it dealt with.
pub(crate) type Step = (&'static str, JobId, Timestamp, usize);

/// Jobs in memory. What matches is so many deliveries, of which each tenth cannot be replayed.
#[derive(Default)]
pub(crate) struct JobShelf {
    state: Mutex<Shelf>,
}

#[derive(Default)]
struct Shelf {
    jobs: BTreeMap<JobId, Job>,
    matches: HashMap<JobId, u64>,
    steps: Vec<Step>,
    /// What the next creation answers.
    creation: Option<JobCreated>,
    created: Vec<NewJob>,
    outcomes: HashMap<JobId, Vec<Outcomes>>,
    is_away: bool,
    forgotten_before: Option<Timestamp>,
}

impl JobShelf {
    /// Adds a job with so many matches.
    pub(crate) fn add(&self, job: Job, matches: u64) {
        let mut shelf = self.state.lock().unwrap();
        shelf.matches.insert(job.id, matches);
        shelf.jobs.insert(job.id, job);
    }

    /// What has become of the replays of a job, look by look; the last one stays.
    pub(crate) fn come_to(&self, id: JobId, outcomes: impl IntoIterator<Item = Outcomes>) {
        self.state.lock().unwrap().outcomes.insert(id, outcomes.into_iter().collect());
    }

    pub(crate) fn job(&self, id: JobId) -> Job {
        self.state.lock().unwrap().jobs[&id].clone()
    }

    pub(crate) fn change(&self, id: JobId, change: impl FnOnce(&mut Job)) {
        let mut shelf = self.state.lock().unwrap();
        let job = shelf.jobs.get_mut(&id).unwrap();
        change(job);
        job.version += 1;
    }

    pub(crate) fn take_steps(&self) -> Vec<Step> {
        std::mem::take(&mut self.state.lock().unwrap().steps)
    }

    pub(crate) fn set_away(&self, is_away: bool) {
        self.state.lock().unwrap().is_away = is_away;
    }

    pub(crate) fn answer_creation(&self, creation: JobCreated) {
        self.state.lock().unwrap().creation = Some(creation);
    }

    pub(crate) fn take_created(&self) -> Vec<NewJob> {
        std::mem::take(&mut self.state.lock().unwrap().created)
    }

    pub(crate) fn forgotten_before(&self) -> Option<Timestamp> {
        self.state.lock().unwrap().forgotten_before
    }

    /// Makes a step of at most `limit` from the job's place on, if the job is still as it was read.
    fn step(
        &self,
        name: &'static str,
        read: &Job,
        limit: usize,
        now: Timestamp,
        change: impl Fn(&mut JobCounts, u64),
    ) -> Result<Stepped, Fault> {
        let mut shelf = self.state.lock().unwrap();
        if shelf.is_away {
            return Err(Fault::bare("away"));
        }
        let matches = shelf.matches[&read.id];
        let Some(job) = shelf.jobs.get_mut(&read.id) else { return Ok(Stepped::Stale) };
        if job.version != read.version || job.status.is_final() {
            return Ok(Stepped::Stale);
        }
        let place = <[u8; 8]>::try_from(job.place.as_slice()).map_or(0, u64::from_be_bytes);
        let end = matches.min(place + limit as u64);
        for position in place..end {
            change(&mut job.counts, position);
        }
        job.place = end.to_be_bytes().to_vec();
        job.version += 1;
        job.updated_at = now;
        let (job, count) = (job.clone(), usize::try_from(end - place).unwrap());
        shelf.steps.push((name, read.id, now, count));
        Ok(Stepped::Made { job, count, is_end: end == matches })
    }
}

#[async_trait]
impl Jobs for JobShelf {
    async fn create_job(&self, job: NewJob, _: usize) -> Result<JobCreated, Fault> {
        let mut shelf = self.state.lock().unwrap();
        let answer = shelf.creation.take().unwrap_or_else(|| JobCreated::Done(job.job.clone()));
        shelf.created.push(job);
        Ok(answer)
    }

    async fn find_job(&self, tenant: Option<&TenantId>, id: JobId) -> Result<Option<Job>, Fault> {
        let shelf = self.state.lock().unwrap();
        let found = shelf.jobs.get(&id).filter(|job| tenant.is_none_or(|tenant| *tenant == job.tenant_id));
        Ok(found.cloned())
    }

    async fn jobs(&self, _: Option<&TenantId>, _: &[JobKind], _: PageAsk) -> Result<Page<Job>, Fault> {
        unreachable!("lists are the store's")
    }

    async fn cancel_job(&self, _: &TenantId, id: JobId, _: Timestamp) -> Result<JobCancelled, Fault> {
        let status = self.job(id).status;
        if status.is_final() {
            return Ok(JobCancelled::Final(status));
        }
        self.change(id, |job| job.status = JobStatus::Cancelled);
        Ok(JobCancelled::Done(self.job(id)))
    }
}

#[async_trait]
impl JobSteps for JobShelf {
    async fn open_jobs(&self, limit: usize) -> Result<Vec<Job>, Fault> {
        let shelf = self.state.lock().unwrap();
        if shelf.is_away {
            return Err(Fault::bare("away"));
        }
        Ok(shelf.jobs.values().filter(|job| !job.status.is_final()).take(limit).cloned().collect())
    }

    async fn count_matches(&self, job: &Job, limit: usize, now: Timestamp) -> Result<Stepped, Fault> {
        let mut stepped = self.step("count", job, limit, now, |counts, _| counts.matched += 1)?;
        if let Stepped::Made { job, is_end: true, .. } = &mut stepped {
            job.place.clear();
            self.state.lock().unwrap().jobs.insert(job.id, job.clone());
        }
        Ok(stepped)
    }

    async fn replay_batch(&self, job: &Job, ids: Vec<DeliveryId>, now: Timestamp) -> Result<Stepped, Fault> {
        assert!(!ids.is_empty(), "a step makes something");
        self.step("replay", job, ids.len(), now, |counts, position| {
            *(if position % 10 == 9 { &mut counts.failed } else { &mut counts.queued }) += 1;
        })
    }

    async fn cancel_batch(&self, job: &Job, limit: usize, now: Timestamp) -> Result<Stepped, Fault> {
        self.step("cancel", job, limit, now, |counts, _| {
            counts.matched += 1;
            counts.succeeded += 1;
        })
    }

    async fn purge_batch(&self, job: &Job, limit: usize, now: Timestamp) -> Result<Stepped, Fault> {
        let mut stepped = self.step("purge", job, limit, now, |_, _| {})?;
        if let Stepped::Made { job, is_end: true, .. } = &mut stepped {
            job.status = JobStatus::Done;
            self.state.lock().unwrap().jobs.insert(job.id, job.clone());
        }
        Ok(stepped)
    }

    async fn outcomes(&self, job: &Job) -> Result<Outcomes, Fault> {
        let mut shelf = self.state.lock().unwrap();
        if shelf.is_away {
            return Err(Fault::bare("away"));
        }
        let queued = job.counts.queued;
        let script = shelf.outcomes.entry(job.id).or_default();
        Ok(match script.len() {
            0 => Outcomes { delivered: queued, ..Outcomes::default() },
            1 => script[0],
            _ => script.remove(0),
        })
    }

    async fn note_job(&self, job: &Job, note: JobNote, now: Timestamp) -> Result<Option<Job>, Fault> {
        let mut shelf = self.state.lock().unwrap();
        if shelf.is_away {
            return Err(Fault::bare("away"));
        }
        let kept = shelf.jobs.get_mut(&job.id).filter(|kept| kept.version == job.version);
        let Some(kept) = kept else { return Ok(None) };
        let JobNote { status, counts, error } = note;
        let version = kept.version + 1;
        *kept = Job { status, counts, error, version, updated_at: now, ..kept.clone() };
        Ok(Some(kept.clone()))
    }

    async fn forget_jobs(&self, before: Timestamp, _: usize) -> Result<usize, Fault> {
        self.state.lock().unwrap().forgotten_before = Some(before);
        Ok(0)
    }
}
