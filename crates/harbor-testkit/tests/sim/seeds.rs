//! Seeds in which everything has to hold.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use harbor_testkit::sim::{self, Settings, Told, Violation};

/// The seeds of an ordinary test run.
const FEW: std::ops::Range<u64> = 0..100;

/// Where the many begin: what they find is not what the few would have found.
const MANY_BEGIN: u64 = 1_000_000;

/// Runs seeds on all processors; answers the first violation in the order of seeds.
fn run_all(seeds: std::ops::Range<u64>) -> Result<Vec<Told>, Box<Violation>> {
    let next = AtomicU64::new(seeds.start);
    let outcomes = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcome = sim::run(seed, Settings { ..Settings::default() });
                    let is_wrong = outcome.is_err();
                    outcomes.lock().unwrap().push((seed, outcome));
                    if is_wrong {
                        next.store(seeds.end, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap();
    outcomes.sort_unstable_by_key(|(seed, _)| *seed);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

#[test]
fn everything_holds_in_a_few_runs() {
    let told = run_all(FEW).unwrap_or_else(|violation| panic!("{violation}"));
    // A run in which nothing happens proves nothing.
    let (deliveries, requests): (Vec<_>, Vec<_>) =
        told.iter().map(|told| (told.deliveries, told.requests)).unzip();
    let (deliveries, requests) = (deliveries.iter().sum::<usize>(), requests.iter().sum::<usize>());
    assert!(deliveries > told.len() * 20, "{deliveries} deliveries in {} runs", told.len());
    assert!(requests > deliveries / 2, "{requests} requests for {deliveries} deliveries");
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let settings = Settings { keeps_trace: true, ..Settings::default() };
    for seed in 0..10 {
        let (first, second) = (sim::run(seed, settings), sim::run(seed, settings));
        let trace = |outcome: Result<Told, Box<Violation>>| match outcome {
            Ok(told) => (told.hash, told.trace),
            Err(violation) => (0, violation.trace),
        };
        let (first, second) = (trace(first), trace(second));
        let differing = first.1.lines().zip(second.1.lines()).find(|(one, other)| one != other);
        assert_eq!(differing, None, "seed {seed}");
        assert_eq!(first.0, second.0, "seed {seed}");
    }
}

/// `make sim`: as many seeds as `SEEDS` says, or the one that `SEED` names, with its whole trace.
#[test]
#[ignore = "takes minutes: make sim"]
fn everything_holds_in_many_runs() {
    #[expect(clippy::disallowed_methods, reason = "how long a test runs is not a setting of the program")]
    let number = |name| {
        std::env::var(name).ok().filter(|text| !text.is_empty()).map(|text| text.parse::<u64>().unwrap())
    };
    if let Some(seed) = number("SEED") {
        let settings = Settings { keeps_trace: true, ..Settings::default() };
        let told = sim::run(seed, settings).unwrap_or_else(|violation| panic!("{violation}"));
        return println!("{}", told.trace);
    }
    let begin = number("FROM").unwrap_or(MANY_BEGIN);
    let seeds = begin..begin + number("SEEDS").unwrap_or(10_000);
    let told = run_all(seeds.clone()).unwrap_or_else(|violation| panic!("{violation}"));
    let deliveries: usize = told.iter().map(|told| told.deliveries).sum();
    let requests: usize = told.iter().map(|told| told.requests).sum();
    println!("seeds {seeds:?}: {deliveries} deliveries, {requests} requests, everything holds");
}
