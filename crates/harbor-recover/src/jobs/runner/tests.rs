use std::collections::HashMap;

use harbor_model::chance::SeededRng;
use harbor_model::id::{EndpointId, TenantId, WorkerId};
use harbor_model::job::{JobStatus, ReplayTask, Selection, Task};
use harbor_model::port::deliveries::EndpointKey;
use harbor_model::port::history::DeliveryFilter;
use harbor_model::port::jobs::Outcomes;

use super::*;
use crate::fakes::{Announced, JobShelf, NoDirectory, SkippingClock, T0};
use crate::leadership;
use crate::leadership::tests::Register;
use crate::tenants::pending;

struct Stage {
    shelf: Arc<JobShelf>,
    clock: Arc<SkippingClock>,
    handoff: Arc<Announced>,
    register: Arc<Register>,
    settings: Settings,
    runner: Runner,
}

impl Stage {
    fn new() -> Self {
        Self::with(Settings { pause: Duration::ZERO, ..Settings::default() })
    }

    fn with(settings: Settings) -> Self {
        let (shelf, clock) = (Arc::new(JobShelf::default()), Arc::new(SkippingClock::default()));
        let (handoff, register) = (Arc::new(Announced::default()), Arc::new(Register::default()));
        let runner = runner(&shelf, &clock, &handoff, &register, &settings);
        Self { shelf, clock, handoff, register, settings, runner }
    }

    /// Ends the process and starts another one, which takes over.
    fn restart(&mut self) {
        self.runner = runner(&self.shelf, &self.clock, &self.handoff, &self.register, &self.settings);
    }

    /// Runs for so long.
    async fn run(&mut self, time: Duration) {
        let end = self.clock.now() + time;
        let shutdown = CancellationToken::new();
        while self.clock.now() < end {
            let next_at = self.runner.work(&shutdown).await;
            self.clock.sleep_until(next_at.min(end)).await;
        }
    }
}

fn runner(
    shelf: &Arc<JobShelf>,
    clock: &Arc<SkippingClock>,
    handoff: &Arc<Announced>,
    register: &Arc<Register>,
    settings: &Settings,
) -> Runner {
    let worker = WorkerId::from_number(1);
    let deps = Deps {
        jobs: shelf.clone(),
        directory: Arc::new(NoDirectory),
        handoff: handoff.clone(),
        clock: clock.clone(),
        rng: Arc::new(SeededRng::new(9)),
        leadership: Leadership::new(
            register.clone(),
            clock.clone(),
            worker,
            "jobs",
            leadership::Settings::default(),
        ),
    };
    Runner::new(deps, settings.clone())
}

fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

fn job(number: u64, tenant_name: &str, task: Task) -> Job {
    pending(JobId::new(T0, &SeededRng::new(number)), tenant(tenant_name), task, T0)
}

fn replay() -> ReplayTask {
    let endpoint_id = Some(EndpointId::from_number(7));
    ReplayTask {
        selection: Selection::DeadLetters { from: T0, to: T0 + Duration::from_secs(1), endpoint_id },
        rate_per_second: None,
        is_dry_run: false,
        new_webhook_id: false,
        reason: None,
    }
}

fn open(open: u64, delivered: u64, failed: u64) -> Outcomes {
    Outcomes { open, delivered, failed }
}

/// Matched, queued, succeeded, failed.
fn counts(job: &Job) -> [u64; 4] {
    let counts = job.counts;
    [counts.matched, counts.queued, counts.succeeded, counts.failed]
}

#[tokio::test]
async fn a_replay_is_done_when_all_that_it_made_has_ended() {
    let mut stage = Stage::new();
    let job = job(1, "a", Task::Replay(replay()));
    stage.shelf.add(job.clone(), 1_000);
    stage.shelf.come_to(job.id, [open(900, 0, 0), open(100, 795, 5), open(0, 890, 10)]);

    stage.run(Duration::from_millis(900)).await;
    let seen = stage.shelf.job(job.id);
    assert_eq!((seen.status, counts(&seen)), (JobStatus::Running, [1_000, 900, 0, 100]));
    let steps: Vec<_> =
        stage.shelf.take_steps().into_iter().map(|(name, _, _, count)| (name, count)).collect();
    assert_eq!(steps[..2], [("count", 1_000), ("replay", 200)]);
    let key = EndpointKey { tenant_id: tenant("a"), endpoint_id: EndpointId::from_number(7) };
    assert!(stage.handoff.take().contains(&key));
    assert_eq!(stage.runner.open().count(), 1);

    stage.run(Duration::from_secs(60)).await;
    let done = stage.shelf.job(job.id);
    assert_eq!((done.status, counts(&done)), (JobStatus::Done, [1_000, 900, 890, 110]));
    assert_eq!(stage.runner.open().count(), 0);
}

#[tokio::test]
async fn a_dry_run_counts_and_makes_nothing() {
    let mut stage = Stage::new();
    let job = job(1, "a", Task::Replay(ReplayTask { is_dry_run: true, ..replay() }));
    stage.shelf.add(job.clone(), 5_000);
    stage.run(Duration::from_secs(5)).await;
    let done = stage.shelf.job(job.id);
    assert_eq!((done.status, counts(&done)), (JobStatus::Done, [5_000, 0, 0, 0]));
    assert!(stage.shelf.take_steps().iter().all(|(name, ..)| *name == "count"));
}

#[tokio::test]
async fn a_rate_is_kept_within_a_few_percent() {
    let mut stage = Stage::with(Settings::default());
    let task = |rate| Task::Replay(ReplayTask { rate_per_second: Some(rate), ..replay() });
    for (number, rate) in [(1, 500), (2, 20)] {
        stage.shelf.add(job(number, "a", task(rate)), 1_000_000);
    }
    stage.run(Duration::from_secs(30)).await;
    let steps = stage.shelf.take_steps();
    let mut by_job: HashMap<JobId, Vec<(Timestamp, usize)>> = HashMap::new();
    for (name, id, at, count) in steps {
        if name == "replay" {
            by_job.entry(id).or_default().push((at, count));
        }
    }
    let mut rates: Vec<f64> = by_job
        .values()
        .map(|steps| {
            let (first, last) = (steps[0].0, steps[steps.len() - 1].0);
            // Each tenth is refused, which costs no token.
            let made: usize = steps[1..].iter().map(|(_, count)| count).sum();
            made as f64 * 0.9 / last.since(first).as_secs_f64()
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    assert!((rates[0] - 20.0).abs() < 1.0 && (rates[1] - 500.0).abs() < 10.0, "{rates:?}");
}

#[tokio::test]
async fn another_process_goes_on_where_the_first_one_ended() {
    let mut stage = Stage::new();
    let job = job(1, "a", Task::Replay(ReplayTask { rate_per_second: Some(100), ..replay() }));
    stage.shelf.add(job.clone(), 1_000);
    stage.shelf.come_to(job.id, [open(900, 0, 0), open(450, 449, 1), open(0, 899, 1)]);
    // Before, between and after all that it can be interrupted in.
    for _ in 0..60 {
        stage.run(Duration::from_millis(700)).await;
        stage.restart();
    }
    let done = stage.shelf.job(job.id);
    assert_eq!((done.status, counts(&done)), (JobStatus::Done, [1_000, 900, 899, 101]));
    let steps = stage.shelf.take_steps();
    let dealt: usize = steps.iter().filter(|(name, ..)| *name == "replay").map(|(.., count)| count).sum();
    assert_eq!(dealt, 1_000, "each once");
}

#[tokio::test]
async fn other_kinds_are_walked_to_their_end() {
    let mut stage = Stage::new();
    let cancel = job(1, "a", Task::Cancel(DeliveryFilter::default()));
    let purge = job(2, "b", Task::Purge);
    stage.shelf.add(cancel.clone(), 450);
    stage.shelf.add(purge.clone(), 450);
    stage.run(Duration::from_secs(5)).await;
    assert_eq!(stage.shelf.job(purge.id).status, JobStatus::Done);
    let done = stage.shelf.job(cancel.id);
    assert_eq!((done.status, counts(&done)), (JobStatus::Done, [450, 0, 450, 0]));
    let names: Vec<_> = stage.shelf.take_steps().into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names.iter().filter(|name| **name == "cancel").count(), 3);
    assert_eq!(names.iter().filter(|name| **name == "purge").count(), 3);
}

#[tokio::test]
async fn what_was_stopped_gets_no_more_steps() {
    let mut stage = Stage::new();
    let job = job(1, "a", Task::Replay(ReplayTask { rate_per_second: Some(100), ..replay() }));
    stage.shelf.add(job.clone(), 1_000);
    stage.run(Duration::from_secs(3)).await;
    assert!(stage.shelf.job(job.id).counts.queued > 0);
    stage.shelf.change(job.id, |job| job.status = JobStatus::Cancelled);
    stage.shelf.take_steps();
    stage.run(Duration::from_secs(3)).await;
    assert_eq!(stage.shelf.take_steps(), []);
    assert_eq!(stage.runner.open().count(), 0);
}

#[tokio::test]
async fn a_store_that_is_away_delays_a_job_and_does_not_fail_it() {
    let give_up_after = Duration::from_secs(60 * 60);
    let mut stage = Stage::with(Settings { give_up_after, ..Settings::default() });
    let job = job(1, "a", Task::Cancel(DeliveryFilter::default()));
    stage.shelf.add(job.clone(), 10_000_000);
    stage.run(Duration::from_millis(50)).await;
    stage.shelf.set_away(true);
    // Longer than a job may fail, since nothing can be noted either.
    stage.run(stage.settings.give_up_after * 2).await;
    stage.shelf.set_away(false);
    stage.shelf.take_steps();
    stage.run(Duration::from_secs(61)).await;
    assert!(!stage.shelf.take_steps().is_empty(), "it goes on");
    assert_eq!(stage.shelf.job(job.id).status, JobStatus::Running);
}

#[tokio::test]
async fn who_is_not_the_leader_makes_no_steps() {
    let mut stage = Stage::new();
    stage.shelf.add(job(1, "a", Task::Purge), 10);
    let mut other = Leadership::new(
        stage.register.clone(),
        stage.clock.clone(),
        WorkerId::from_number(2),
        "jobs",
        leadership::Settings::default(),
    );
    assert!(other.is_mine().await);
    stage.run(Duration::from_secs(4)).await;
    assert_eq!(stage.shelf.take_steps(), []);
}
