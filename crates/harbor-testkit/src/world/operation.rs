//! What operators and upkeep do in a world: intervene, replay, start jobs, clear up.

use std::sync::Arc;
use std::time::Duration;

use harbor_deliver::worker::Worker;
use harbor_ingest::publish::Publisher;
use harbor_model::chance::Rng;
use harbor_model::delivery::Delivery;
use harbor_model::id::{DeliveryId, TenantId, WorkerId};
use harbor_model::job::Job;
use harbor_model::lane::OrderedLane;
use harbor_model::time::{Clock, Timestamp};
use harbor_recover::dead_letters::{self, DeadLetters, ReplayRefusal, ReplayRequest};
use harbor_recover::interventions::{self, Interventions};
use harbor_recover::jobs::runner::{self, Runner};
use harbor_recover::jobs::{self, Jobs};
use harbor_recover::leadership::{self, Leadership};
use harbor_recover::tenants::TenantRemoval;
use harbor_recover::upkeep;
use harbor_store::Store;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::clock::ManualClock;
use crate::world::{ALL, Shop, World};

/// A job of a test ends within so many steps, or never.
const JOB_STEPS_MAX: usize = 10_000;

/// What does the work behind the scenes of a world.
pub(super) struct Operation {
    node: WorkerId,
    upkeep: Mutex<upkeep::Deps>,
    runner: Mutex<Runner>,
}

impl Operation {
    pub(super) fn new(
        store: &Arc<dyn Store>,
        worker: &Worker,
        publisher: &Publisher,
        clock: &Arc<ManualClock>,
        rng: &Arc<dyn Rng>,
    ) -> Self {
        let node = WorkerId::new(clock.now(), &**rng);
        let upkeep = upkeep::Deps {
            upkeep: store.clone(),
            jobs: store.clone(),
            notices: store.clone(),
            announcer: Arc::new(publisher.clone()),
            clock: clock.clone(),
            leadership: leadership(store, clock, node, "upkeep"),
        };
        let runner = runner_of(store, worker, clock, rng, node);
        Self { node, upkeep: Mutex::new(upkeep), runner: Mutex::new(runner) }
    }
}

impl World {
    /// What people do about single deliveries, events and lanes.
    pub fn interventions(&self) -> Interventions {
        Interventions::new(interventions::Deps {
            interventions: self.store.clone(),
            lanes: self.store.clone(),
            handoff: Arc::new(self.worker.clone()),
            clock: self.clock.clone(),
            rng: self.rng.clone(),
        })
    }

    /// Replays a delivery.
    pub async fn replay(&self, of: DeliveryId) -> Result<Delivery, ReplayRefusal> {
        let deps = dead_letters::Deps {
            replays: self.store.clone(),
            handoff: Arc::new(self.worker.clone()),
            clock: self.clock.clone(),
            rng: self.rng.clone(),
        };
        let dead_letters = DeadLetters::new(deps, dead_letters::Settings::default());
        dead_letters.replay(&self.tenant, of, ReplayRequest::default()).await
    }

    /// The ordered lanes of an endpoint, the oldest first.
    pub async fn lanes(&self, shop: &Shop) -> Vec<OrderedLane> {
        let page = self.store.lanes(&self.tenant, shop.id, ALL).await.expect("the store answers");
        page.items.into_iter().rev().collect()
    }

    /// Starts, shows and stops jobs.
    pub fn jobs(&self) -> Jobs {
        let (jobs, clock, rng) = (self.store.clone(), self.clock.clone(), self.rng.clone());
        Jobs::new(jobs::Deps { jobs, clock, rng }, jobs::Settings::default())
    }

    /// A job as it is now; of whatever tenant.
    pub async fn job(&self, job: &Job) -> Job {
        self.store.find_job(None, job.id).await.expect("the store answers").expect("the job exists")
    }

    /// Makes all steps of jobs that are due now. Answers when the next may be.
    pub async fn step_jobs(&self) -> Timestamp {
        self.operation.runner.lock().await.work(&CancellationToken::new()).await
    }

    /// Moves the clock on, carrying out jobs and letting everything happen that becomes due on the way.
    pub async fn work_jobs(&self, time: Duration) {
        let end = self.now() + time;
        while self.now() < end {
            let next_at = self.step_jobs().await;
            self.settle().await;
            self.clock.advance_to(next_at.min(end));
        }
        self.step_jobs().await;
        self.settle().await;
    }

    /// Moves the clock on until a job has ended, letting everything happen that becomes due on the way.
    pub async fn end_job(&self, job: &Job) -> Job {
        for _ in 0..JOB_STEPS_MAX {
            let next_at = self.step_jobs().await;
            self.settle().await;
            let job = self.job(job).await;
            if job.status.is_final() {
                return job;
            }
            let backlog = self.store.backlog(self.now()).await.expect("the store answers");
            self.clock.advance_to(backlog.next_due_at.map_or(next_at, |due_at| due_at.min(next_at)));
        }
        panic!("the job does not end: {:?}", self.job(job).await)
    }

    /// One more that carries out jobs, and knows nothing of them yet. It believes that it is its task, as the
    /// world's own does.
    pub fn another_runner(&self) -> Runner {
        runner_of(&self.store, &self.worker, &self.clock, &self.rng, self.operation.node)
    }

    /// Forgets what is known of jobs, as if the process had been restarted.
    pub async fn restart_jobs(&self) {
        *self.operation.runner.lock().await = self.another_runner();
    }

    /// Does a round of everything that is done behind events, notices among it, and lets happen what follows.
    pub async fn upkeep(&self) {
        // Without rests: nobody moves the clock meanwhile.
        let settings = upkeep::Settings { sweep_pause: Duration::ZERO, ..upkeep::Settings::default() };
        upkeep::round(&mut *self.operation.upkeep.lock().await, &settings, &CancellationToken::new()).await;
        self.settle().await;
    }

    /// Lets days pass, with upkeep on each.
    pub async fn days(&self, count: u32) {
        for _ in 0..count {
            self.advance(Duration::from_secs(24 * 60 * 60)).await;
            self.upkeep().await;
        }
    }

    /// Removes the tenant. Answers the job that purges it.
    pub async fn delete_tenant(&self, tenant: &TenantId) -> Job {
        let (tenants, clock, rng) = (self.store.clone(), self.clock.clone(), self.rng.clone());
        let removal = TenantRemoval { tenants, clock, rng };
        removal.delete(tenant).await.expect("the tenant exists")
    }
}

fn runner_of(
    store: &Arc<dyn Store>,
    worker: &Worker,
    clock: &Arc<ManualClock>,
    rng: &Arc<dyn Rng>,
    node: WorkerId,
) -> Runner {
    let deps = runner::Deps {
        jobs: store.clone(),
        directory: store.clone(),
        handoff: Arc::new(worker.clone()),
        clock: clock.clone(),
        rng: rng.clone(),
        leadership: leadership(store, clock, node, "jobs"),
    };
    Runner::new(deps, runner::Settings::default())
}

fn leadership(
    store: &Arc<dyn Store>,
    clock: &Arc<ManualClock>,
    node: WorkerId,
    task: &'static str,
) -> Leadership {
    Leadership::new(store.clone(), clock.clone(), node, task, leadership::Settings::default())
}
