//! One process of the engine, or as much of it as shares a fate: a publisher, a worker and the thread that
//! they run on, which moves only when it is told to.

use std::sync::Arc;

use harbor_deliver::worker::{self, Worker};
use harbor_ingest::publish::{self, Publisher};
use harbor_ingest::request::PublishRequest;
use harbor_model::chance::{Rng, SeededRng};
use harbor_model::id::TenantId;
use harbor_model::port::breakers::Breakers;
use harbor_model::port::deliveries::{Deliveries, EndpointKey};
use harbor_model::port::directory::Directory;
use harbor_model::port::handoff::Handoff;
use harbor_model::port::observer::NoObserver;
use harbor_model::port::workers::Workers;
use harbor_store::Store;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

use crate::clock::ManualClock;
use crate::sim::dice::Dice;
use crate::sim::ledger::{Books, NodeId};
use crate::sim::plant::Plant;
use crate::sim::receivers::{Receivers, Switchboard};
use crate::sim::wire::{Line, Wire};

/// What all nodes share.
pub(crate) struct Surroundings<'a> {
    pub(crate) seed: u64,
    pub(crate) store: &'a Arc<dyn Store>,
    /// Where all workers lease and record: the store, or what is planted before it.
    pub(crate) deliveries: &'a Arc<dyn Deliveries>,
    pub(crate) clock: &'a Arc<ManualClock>,
    pub(crate) books: &'a Books,
    pub(crate) switchboard: &'a Arc<Switchboard>,
    pub(crate) plant: &'a dyn Plant,
    pub(crate) settings: &'a worker::Settings,
}

/// A node at work.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) line: Arc<Line>,
    pub(crate) is_frozen: bool,
    worker: Worker,
    publisher: Publisher,
    books: Books,
    rests: Arc<Notify>,
    runtime: Runtime,
}

impl Node {
    pub(crate) fn start(id: NodeId, around: &Surroundings<'_>) -> Self {
        let (runtime, rests) = runtime();
        let purpose = u64::try_from(1 + id.life * 8 + id.place).expect("a run has few nodes");
        let rng: Arc<dyn Rng> = Arc::new(SeededRng::new(around.seed.wrapping_add(purpose << 32)));
        let line = Line::new(id, around.books.clone(), Dice::new(around.seed, 1_000 + purpose));
        let clock = around.plant.clock(around.clock.clone());
        let directory: Arc<dyn Directory> = Wire::new(&line, around.store.clone() as Arc<dyn Directory>);
        let receivers = Receivers {
            node: id,
            books: around.books.clone(),
            clock: around.clock.clone(),
            switchboard: around.switchboard.clone(),
        };
        let deps = worker::Deps {
            deliveries: Wire::new(&line, around.deliveries.clone()),
            workers: Wire::new(&line, around.store.clone() as Arc<dyn Workers>),
            breakers: Wire::new(&line, around.store.clone() as Arc<dyn Breakers>),
            directory: directory.clone(),
            sender: Arc::new(receivers),
            clock,
            rng: rng.clone(),
            observer: Arc::new(NoObserver),
        };
        around.books.open().node_starts(id);
        let worker = runtime.block_on(Worker::start(deps, around.settings.clone()));
        let worker = worker.expect("the line is good at first");

        let handoff: Arc<dyn Handoff> = Arc::new(worker.clone());
        let intake = around.plant.intake(around.store.clone(), handoff.clone(), around.store.clone());
        let deps = publish::Deps {
            intake: Wire::new(&line, intake),
            directory,
            handoff,
            clock: around.clock.clone(),
            rng,
            observer: Arc::new(NoObserver),
        };
        let publisher = Publisher::new(deps, harbor_ingest::request::Settings::default());
        Self { id, line, is_frozen: false, worker, publisher, books: around.books.clone(), rests, runtime }
    }

    pub(crate) fn worker(&self) -> &Worker {
        &self.worker
    }

    /// Begins to publish; the answers go to the ledger.
    pub(crate) fn publish(&self, tenant: TenantId, numbered: Vec<(usize, PublishRequest)>) {
        let (publisher, books) = (self.publisher.clone(), self.books.clone());
        let (numbers, requests): (Vec<_>, Vec<_>) = numbered.into_iter().unzip();
        self.runtime.spawn(async move {
            let answers = publisher.publish_batch(&tenant, requests).await;
            let mut ledger = books.open();
            for (number, answer) in numbers.into_iter().zip(answers) {
                ledger.publish_answered(number, answer);
            }
        });
        self.books.open().node_stirs(self.id);
    }

    /// Says that there may be something due at these endpoints.
    pub(crate) fn announce(&self, keys: &[EndpointKey]) {
        let _inside = self.runtime.enter();
        self.worker.announce(keys);
        self.books.open().node_stirs(self.id);
    }

    /// Lets the node do so many turns of its tasks, wherever that leaves it.
    pub(crate) fn step(&self, turns: usize) {
        self.books.open().node_stirs(self.id);
        self.runtime.block_on(async {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
        });
    }

    /// Lets the node do everything that it can do now. Answers whether it came to rest with nothing on the
    /// line.
    pub(crate) fn settle(&self) -> bool {
        self.line.rests();
        // The runtime says so when it has no task left to run.
        self.runtime.block_on(self.rests.notified());
        let is_settled = !self.line.is_waited_on();
        if is_settled {
            self.books.open().node_rests(self.id);
        }
        is_settled
    }

    /// Ends the node as a power cut would: nothing is given back and nobody is told.
    pub(crate) fn kill(self) {
        let Self { id, line, worker, publisher, books, runtime, .. } = self;
        line.cut();
        drop(runtime);
        drop((publisher, worker));
        books.open().node_dies(id);
    }
}

/// A runtime that does one task at a time, and the word that it has none left.
fn runtime() -> (Runtime, Arc<Notify>) {
    let rests = Arc::new(Notify::new());
    let word = Arc::clone(&rests);
    let runtime = Builder::new_current_thread()
        .event_interval(1)
        .on_thread_park(move || word.notify_waiters())
        .build()
        .expect("a runtime without drivers needs nothing");
    (runtime, rests)
}
