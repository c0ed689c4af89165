//! The simulator: random steps over the real engine, the same for the same seed.
//!
//! [`run`] draws a scene and some hundred steps from a seed: publishes, answers of receivers, time, stores
//! that fail or stall, crashes, workers that freeze and wake, changes of endpoints. Publisher, worker and
//! store are the real ones; the clock, the receivers and the threads move when a step says so. Beside them
//! the ledger (`ledger.rs`) knows what was promised, and whatever contradicts it ends the run.
//!
//! Read on in `steps.rs` (what happens), `ledger.rs` (what must hold), `timely.rs` (what must happen) and
//! `wire.rs` (how the store is made to fail).

mod dice;
mod ground;
mod plant;
mod trace;

mod ledger;
mod node;
mod panics;
mod receivers;
mod scene;
mod wire;

mod audit;
mod steps;
mod timely;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use harbor_deliver::worker;
use harbor_model::chance::{Rng, SeededRng};
use harbor_model::endpoint::Endpoint;
use harbor_model::id::TenantId;
use harbor_model::id::WorkerId;
use harbor_model::lane::{OrderedLane, Release};
use harbor_model::port::deliveries::Deliveries;
use harbor_model::port::deliveries::EndpointKey;
use harbor_model::port::handoff::NoWorker;
use harbor_model::port::page::PageAsk;
use harbor_model::time::Clock;
use harbor_recover::jobs::runner::{self, Runner};
use harbor_recover::leadership::{self, Leadership};
use harbor_store::Store;
use tokio::runtime::Runtime;

use crate::clock::ManualClock;
use crate::receivers::Answer;
use crate::sim::dice::Dice;
use crate::sim::ledger::{Books, NodeId};
use crate::sim::node::{Node, Surroundings};
use crate::sim::panics::Listening;
use crate::sim::receivers::Switchboard;
use crate::sim::steps::HOP;
use crate::sim::wire::Weather;
use crate::world::WORLD_BEGINS;

pub use crate::sim::ground::{Ground, SqliteGround};
pub use crate::sim::plant::{NoPlant, Plant};

/// How long a run is, and what it shows.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How many steps are drawn before everything is brought to its end.
    pub steps: usize,
    /// Whether the whole trace is kept, or only its end.
    pub keeps_trace: bool,
    /// How many nodes share the store; none leaves it to the seed.
    pub nodes: Option<usize>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { steps: 200, keeps_trace: false, nodes: None }
    }
}

/// What came of a run in which everything held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// A number that is the same for the same trace.
    pub hash: u64,
    /// The lines of the trace that were kept.
    pub trace: String,
    /// How many deliveries were made.
    pub deliveries: usize,
    /// How many requests were sent.
    pub requests: usize,
}

/// Something that must never be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The seed that leads to it.
    pub seed: u64,
    /// At which step.
    pub step: usize,
    /// What is wrong.
    pub what: String,
    /// The lines of the trace that were kept.
    pub trace: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, step, what, trace } = self;
        write!(f, "{trace}\nseed {seed}, step {step}: {what}")
    }
}

/// Runs a seed over SQLite.
pub fn run(seed: u64, settings: Settings) -> Result<Told, Box<Violation>> {
    run_on(&mut SqliteGround::new(), &NoPlant, seed, settings)
}

/// Runs a seed over a store, with or without something planted.
pub fn run_on(
    ground: &mut dyn Ground,
    plant: &dyn Plant,
    seed: u64,
    settings: Settings,
) -> Result<Told, Box<Violation>> {
    let listening = Listening::begin();
    let clock = Arc::new(ManualClock::new(WORLD_BEGINS));
    let books = Books::new(clock.clone(), settings.keeps_trace);
    let told = catch_unwind(AssertUnwindSafe(|| {
        let mut simulation = Simulation::new(ground, plant, seed, settings, clock, books.clone(), &listening);
        simulation.play(settings.steps);
        // What is torn down now has nothing to say any more.
        simulation.nodes.drain(..).for_each(Node::kill);
    }));
    let heard = listening.heard().filter(|_| told.is_err());
    let ledger = books.open();
    let what = ledger.violation().map(str::to_owned).or(heard);
    let (step, trace) = (ledger.trace.step(), ledger.trace.text());
    match what {
        Some(what) => Err(Box::new(Violation { seed, step, what, trace })),
        None => Ok(Told {
            hash: ledger.trace.hash(),
            trace,
            deliveries: ledger.deliveries.len(),
            requests: ledger.requests.len(),
        }),
    }
}

/// A run under way.
struct Simulation<'a> {
    seed: u64,
    dice: Dice,
    ground: &'a mut dyn Ground,
    plant: &'a dyn Plant,
    clock: Arc<ManualClock>,
    books: Books,
    listening: &'a Listening,
    switchboard: Arc<Switchboard>,
    /// Ids of what the steps make themselves.
    rng: Arc<dyn Rng>,
    /// Runs what people ask of the store.
    admin: Runtime,
    stores: Option<Stores>,
    tenants: Vec<TenantId>,
    worker_settings: worker::Settings,
    /// How many nodes share the store.
    places: usize,
    nodes: Vec<Node>,
    lives: usize,
}

/// The store as the simulation and its nodes reach it.
struct Stores {
    store: Arc<dyn Store>,
    /// Where all workers lease and record: the store, or what is planted before it.
    deliveries: Arc<dyn Deliveries>,
    /// Carries out jobs.
    runner: Runner,
}

/// How often time moves on at most before everything must have come to its end.
const ROUNDS_MAX: usize = 1_500;

/// How many of those rounds go by between two of upkeep.
const UPKEEP_EVERY: usize = 8;

impl<'a> Simulation<'a> {
    fn new(
        ground: &'a mut dyn Ground,
        plant: &'a dyn Plant,
        seed: u64,
        settings: Settings,
        clock: Arc<ManualClock>,
        books: Books,
        listening: &'a Listening,
    ) -> Self {
        let dice = Dice::new(seed, 0);
        let rng: Arc<dyn Rng> = Arc::new(SeededRng::new(seed));
        let store = ground.open(clock.clone(), rng.clone());
        let admin = tokio::runtime::Builder::new_current_thread().build().expect("it needs nothing");
        let drawn = dice.between(1, 2);
        let places = settings.nodes.unwrap_or(drawn);
        let worker_settings = scene::worker_settings(&dice);
        let (tenants, endpoints) = admin.block_on(scene::set(&store, &dice, &*rng, clock.now()));
        {
            let mut ledger = books.open();
            ledger.note(format_args!("seed {seed}: {places} nodes, {:?}", worker_settings.lanes));
            for facts in endpoints {
                ledger.note(format_args!(
                    "{} wants {:?}: {} in flight, {:?}, {} attempts",
                    facts.label, facts.patterns, facts.max_in_flight, facts.rate, facts.max_attempts
                ));
                ledger.endpoints.insert(facts.key.endpoint_id, facts);
            }
        }
        let deliveries = plant.deliveries(store.clone());
        let runner = start_runner(&store, &clock, &rng);
        let stores = Some(Stores { store, deliveries, runner });
        let mut simulation = Self {
            seed,
            dice,
            ground,
            plant,
            clock,
            books,
            listening,
            switchboard: Arc::default(),
            rng,
            admin,
            stores,
            tenants,
            worker_settings,
            places,
            nodes: Vec::new(),
            lives: 0,
        };
        (0..places).for_each(|place| simulation.start_node(place));
        simulation
    }

    /// Plays the steps and then the end, or as far as everything holds.
    fn play(&mut self, steps: usize) {
        for _ in 0..steps {
            self.step();
            if self.is_over() {
                return;
            }
        }
        self.finish();
    }

    /// Whether something was wrong.
    fn is_over(&self) -> bool {
        let mut ledger = self.books.open();
        if let Some(heard) = self.listening.heard() {
            ledger.violated(format!("the engine panicked: {heard}"));
        }
        ledger.violation().is_some()
    }

    fn start_node(&mut self, place: usize) {
        let id = NodeId { place, life: self.lives };
        self.lives += 1;
        let Stores { store, deliveries, .. } = self.stores.as_ref().expect("it is open");
        let around = Surroundings {
            seed: self.seed,
            store,
            deliveries,
            clock: &self.clock,
            books: &self.books,
            switchboard: &self.switchboard,
            plant: self.plant,
            settings: &self.worker_settings,
        };
        let node = Node::start(id, &around);
        self.nodes.push(node);
    }

    fn store(&self) -> &Arc<dyn Store> {
        &self.stores.as_ref().expect("it is open between two crashes").store
    }

    /// Opens the store anew, as after the end of the process.
    fn reopen(&mut self) {
        // Whoever still held the old one would keep its file locked.
        let closed = self.stores.take().map(|stores| Arc::downgrade(&stores.store));
        assert!(closed.is_none_or(|store| store.upgrade().is_none()), "nobody holds what crashed");
        let store = self.ground.open(self.clock.clone(), self.rng.clone());
        let deliveries = self.plant.deliveries(store.clone());
        let runner = start_runner(&store, &self.clock, &self.rng);
        self.stores = Some(Stores { store, deliveries, runner });
        if self.ground.forgets_leases() {
            self.books.open().all_leases_end();
        }
    }

    /// Lets all nodes do what they can do now, and looks whether they did what they should.
    fn settle(&mut self) {
        // What one does may let another go on.
        for _ in 0..self.places {
            for node in self.nodes.iter().filter(|node| !node.is_frozen) {
                node.settle();
            }
        }
        self.look_at_breakers();
        self.look_at_lanes();
        timely::check(&mut self.books.open(), &self.nodes, &self.worker_settings);
    }

    fn look_at_breakers(&mut self) {
        let breakers = self.admin.block_on(self.store().open_breakers()).expect("the store answers");
        let mut ledger = self.books.open();
        let now = ledger.now();
        for breaker in breakers {
            if let Some(facts) = ledger.endpoints.get_mut(&breaker.key.endpoint_id) {
                facts.breaker_seen_at = Some(now);
            }
        }
    }

    fn look_at_lanes(&mut self) {
        let ordered: Vec<_> = {
            let mut ledger = self.books.open();
            ledger.heads.clear();
            let kept = ledger.endpoints.values().filter(|facts| !facts.is_deleted && !facts.is_disabled);
            kept.map(|facts| facts.key.clone()).collect()
        };
        for key in ordered {
            let lanes = self.lanes_of(&key);
            self.books.open().see_lanes(key.endpoint_id, &lanes);
        }
    }

    fn lanes_of(&self, key: &EndpointKey) -> Vec<OrderedLane> {
        let all = PageAsk { limit: 500, after: None };
        let lanes = self.store().lanes(&key.tenant_id, key.endpoint_id, all);
        self.admin.block_on(lanes).expect("the store answers").items
    }

    /// Passes over every dead head that holds its lane.
    fn release_held_lanes(&mut self) {
        let keys: Vec<_> = self.books.open().endpoints.values().map(|facts| facts.key.clone()).collect();
        for key in keys {
            for lane in self.lanes_of(&key).into_iter().filter(|lane| lane.held_at.is_some()) {
                self.release_lane(&key, &lane, Release::Skip);
            }
        }
    }

    /// Makes everything well again and lets time pass until nothing is left to do.
    fn finish(&mut self) {
        self.books.open().note(format_args!("everything is well from now on"));
        self.wake();
        (0..self.nodes.len()).for_each(|place| self.set_weather(place, Weather::Fair));
        self.settle();
        self.open_endpoints();
        for round in 0..ROUNDS_MAX {
            self.settle();
            if round % UPKEEP_EVERY == 0 {
                self.upkeep();
                self.work_jobs();
                self.release_held_lanes();
            }
            self.answer_all(|_| Answer::Status(200));
            self.settle();
            if self.is_over() {
                return;
            }
            if self.is_done() && self.has_no_open_job() {
                return self.check_end();
            }
            self.wait_until(self.clock.now() + self.next_hop());
        }
        let mut ledger = self.books.open();
        let open = ledger.deliveries.values().filter(|delivery| !delivery.is_final());
        let open: Vec<_> = open.map(|delivery| delivery.label.clone()).collect();
        ledger.violated(format!("these never come to their end: {open:?}"));
    }

    fn is_done(&self) -> bool {
        let ledger = self.books.open();
        let is_unanswered = |publish: &ledger::PublishFacts| publish.answer.is_none();
        ledger.deliveries.values().all(ledger::DeliveryFacts::is_final)
            && ledger.in_flight().is_empty()
            && (ledger.deaths > 0 || !ledger.publishes.iter().any(is_unanswered))
    }

    fn has_no_open_job(&self) -> bool {
        self.admin.block_on(self.store().open_jobs(10)).expect("the store answers").is_empty()
    }

    fn next_hop(&self) -> Duration {
        let ledger = self.books.open();
        let now = ledger.now();
        let next = ledger.deliveries.values().filter_map(|delivery| delivery.due_at).min();
        let wait = next.map_or(Duration::ZERO, |due_at| due_at.since(now));
        wait.clamp(Duration::from_secs(1), HOP)
    }

    /// Enables and resumes every endpoint.
    fn open_endpoints(&mut self) {
        let keys: Vec<_> = {
            let ledger = self.books.open();
            let kept = ledger.endpoints.values().filter(|facts| !facts.is_deleted);
            kept.map(|facts| facts.key.clone()).collect()
        };
        for key in keys {
            let find = self.store().find_endpoint(&key.tenant_id, key.endpoint_id);
            let endpoint = self.admin.block_on(find).expect("the store answers").expect("it was not deleted");
            let open = Endpoint { paused: false, disabled: None, updated_at: self.clock.now(), ..endpoint };
            let update = self.store().update_endpoint(open);
            scene::done(self.admin.block_on(update).expect("the store answers"));
            self.books.open().endpoint_changes(key.endpoint_id, |facts| {
                (facts.is_paused, facts.is_disabled) = (false, false);
            });
        }
    }

    /// Everything has come to its end, and nobody holds anything.
    fn check_end(&mut self) {
        self.audit();
        for node in &self.nodes {
            let held = node.worker().held();
            let is_empty = held.items == 0 && held.bytes == 0;
            self.books.open().hold(is_empty, || format!("{} still has {held:?}", node.id));
        }
        let workers: Vec<_> = self.books.open().workers.keys().copied().collect();
        for worker in workers {
            let leases = self.admin.block_on(self.store().leases_of(worker)).expect("the store answers");
            let mut ledger = self.books.open();
            let name = ledger.name_of(worker);
            ledger.hold(leases.is_empty(), || format!("{name} still holds {leases:?}"));
        }
        let mut ledger = self.books.open();
        let leases = ledger.leases.len();
        ledger.hold(leases == 0, || format!("{leases} leases are still held"));
        ledger.note(format_args!("the end"));
    }
}

/// Who carries out jobs. Nobody is told what became due by them: the walk finds it.
fn start_runner(store: &Arc<dyn Store>, clock: &Arc<ManualClock>, rng: &Arc<dyn Rng>) -> Runner {
    let candidate = WorkerId::new(clock.now(), &**rng);
    let deps = runner::Deps {
        jobs: store.clone(),
        directory: store.clone(),
        handoff: Arc::new(NoWorker),
        clock: clock.clone(),
        rng: rng.clone(),
        leadership: Leadership::new(
            store.clone(),
            clock.clone(),
            candidate,
            "jobs",
            leadership::Settings::default(),
        ),
    };
    Runner::new(deps, runner::Settings::default())
}
