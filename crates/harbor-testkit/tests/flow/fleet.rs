//! Several workers over one world, with lines that can be cut and receivers that can be made to wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use harbor_deliver::send::{Request, Sender, Sent};
use harbor_deliver::worker::{Deps, Settings, Worker};
use harbor_model::id::WorkerId;
use harbor_model::port::Fault;
use harbor_model::port::workers::{Leader, Roll, Workers};
use harbor_model::time::Timestamp;
use harbor_store::Store;
use harbor_testkit::world::World;
use tokio::sync::Semaphore;

/// A worker's line to those who know who is at work.
pub(crate) struct Line {
    store: Arc<dyn Store>,
    is_cut: AtomicBool,
    beats: AtomicUsize,
}

impl Line {
    /// Cuts the line, or mends it.
    pub(crate) fn cut(&self, is_cut: bool) {
        self.is_cut.store(is_cut, Ordering::Relaxed);
    }

    fn through(&self) -> Result<(), Fault> {
        if self.is_cut.load(Ordering::Relaxed) { Err(Fault::bare("the line is cut")) } else { Ok(()) }
    }
}

#[async_trait]
impl Workers for Line {
    async fn enlist(&self, worker: WorkerId, now: Timestamp) -> Result<(), Fault> {
        self.through()?;
        self.store.enlist(worker, now).await
    }

    async fn beat(&self, worker: WorkerId, now: Timestamp) -> Result<Roll, Fault> {
        let roll = match self.through() {
            Ok(()) => self.store.beat(worker, now).await,
            Err(fault) => Err(fault),
        };
        self.beats.fetch_add(1, Ordering::Relaxed);
        roll
    }

    async fn bury(&self, worker: WorkerId, count: u64, now: Timestamp) -> Result<Option<usize>, Fault> {
        self.through()?;
        self.store.bury(worker, count, now).await
    }

    async fn discharge(&self, worker: WorkerId) -> Result<(), Fault> {
        self.through()?;
        self.store.discharge(worker).await
    }

    async fn reconcile(&self, worker: WorkerId) -> Result<usize, Fault> {
        self.through()?;
        self.store.reconcile(worker).await
    }

    async fn lead(
        &self,
        task: &'static str,
        candidate: WorkerId,
        outlived: Option<Leader>,
    ) -> Result<Leader, Fault> {
        self.store.lead(task, candidate, outlived).await
    }
}

/// Receivers that answer only as often as they are let.
pub(crate) struct SlowReceivers {
    inner: Arc<dyn Sender>,
    pub(crate) answers: Semaphore,
    in_flight: AtomicUsize,
}

impl SlowReceivers {
    pub(crate) fn new(world: &World) -> Arc<Self> {
        let inner = world.receivers.clone();
        Arc::new(Self { inner, answers: Semaphore::new(0), in_flight: AtomicUsize::new(0) })
    }

    /// How many requests wait for their answer.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Sender for SlowReceivers {
    async fn send(&self, request: Request) -> Sent {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.answers.acquire().await.unwrap().forget();
        let sent = self.inner.send(request).await;
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        sent
    }
}

/// Starts a worker with a line of its own. The world's own is to be stopped first, or it counts as well.
pub(crate) async fn worker(world: &World, sender: Arc<dyn Sender>) -> (Worker, Arc<Line>) {
    let line = Arc::new(Line {
        store: world.store.clone(),
        is_cut: AtomicBool::new(false),
        beats: AtomicUsize::new(0),
    });
    let deps = Deps { workers: line.clone(), sender, ..world.worker_deps() };
    (Worker::start(deps, Settings::default()).await.unwrap(), line)
}

/// Lets one beat interval pass, and waits until each has beaten, or tried.
pub(crate) async fn beat(world: &World, lines: &[&Line]) {
    let before: Vec<_> = lines.iter().map(|line| line.beats.load(Ordering::Relaxed)).collect();
    world.clock.advance(Settings::default().beat_interval);
    for (line, before) in lines.iter().zip(before) {
        eventually("a beat", || line.beats.load(Ordering::Relaxed) > before).await;
    }
}

/// Waits until something is so.
pub(crate) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    let outcome = tokio::time::timeout(Duration::from_secs(20), wait).await;
    assert!(outcome.is_ok(), "waited in vain for {what}");
}
