//! Random steps: the books agree after each, and nothing is stuck at the end.

use harbor_model::attempt::ErrorClass;
use harbor_model::decide::breaker::Seen;
use harbor_model::decide::classify::{Outcome, classify};
use harbor_model::policy::breaker::BreakerLayer;
use harbor_model::port::breakers::BreakerChange;

use super::*;

type Work = (EndpointKey, u64);

/// Lanes with a store beside them: what is where, and which breakers are open.
struct World {
    lanes: Lanes<Work>,
    rng: SeededRng,
    now: Timestamp,
    views: [Arc<EndpointView>; 3],
    reserved: Vec<Work>,
    waiting: usize,
    flying: Vec<(Work, bool, Timestamp)>,
    unrecorded: Vec<Work>,
    wishes: Vec<(EndpointKey, Wish)>,
    breakers: BTreeMap<EndpointKey, OpenBreaker>,
    fleet: u128,
}

impl World {
    fn new(seed: u64) -> Self {
        let limit = RateLimit { per_second: 50, burst: 3 };
        let breaker = BreakerLayer { consecutive_failures: Some(2), ..BreakerLayer::default() };
        let opening = PolicyLayer { breaker, ..in_flight(4) };
        Self {
            lanes: lanes(settings(6)),
            rng: SeededRng::new(seed),
            now: T0,
            views: [
                view(in_flight(2)),
                view(opening),
                view(PolicyLayer { rate_limit: Some(limit), ..in_flight(3) }),
            ],
            reserved: Vec::new(),
            waiting: 0,
            flying: Vec::new(),
            unrecorded: Vec::new(),
            wishes: Vec::new(),
            breakers: BTreeMap::new(),
            fleet: 1,
        }
    }

    fn draw(&self, below: u64) -> u64 {
        self.rng.next_u64() % below
    }

    fn step(&mut self) {
        let endpoint = self.draw(6);
        let target = key(["a", "b", "c"][usize::try_from(endpoint / 2).unwrap()], endpoint.into());
        let view = self.views[usize::try_from(endpoint % 3).unwrap()].clone();
        match self.draw(11) {
            0 | 1 => {
                if self.lanes.reserve(&target, &view, endpoint, self.now) {
                    self.reserved.push((target, endpoint));
                }
            }
            2 | 3 => {
                if let Some(work) = self.reserved.pop() {
                    self.fill(work);
                }
            }
            4 => {
                if let Next::Start { item, is_probe } = self.lanes.next(self.now) {
                    self.waiting -= 1;
                    self.flying.push((item, is_probe, self.now));
                }
            }
            5 => {
                if let Some(flight) = self.flying.pop() {
                    let is_good = self.draw(3) == 0;
                    self.land(flight, is_good);
                }
            }
            6 => {
                if let Some((key, bytes)) = self.unrecorded.pop().or_else(|| self.reserved.pop()) {
                    self.lanes.release(&key, bytes);
                }
                self.lanes.forget_idle(self.now);
            }
            7 => {
                if let Some((key, wish)) = self.wishes.pop() {
                    self.answer(&key, wish);
                }
            }
            8 => {
                self.lanes.note_due(&target, Some(&view), self.now);
                self.lanes.wish_again();
                self.adopt();
            }
            9 if self.draw(10) == 0 => {
                self.fleet = 1 + u128::from(self.draw(3));
                self.lanes.join(Fleet::new(worker(1), (1..=self.fleet).map(worker)), self.now);
            }
            _ => {
                self.now = self.now + Duration::from_millis(self.draw(40));
                if self.draw(10) == 0 {
                    for (key, bytes) in self.lanes.clear(&target, self.now) {
                        self.waiting -= 1;
                        self.lanes.release(&key, bytes);
                    }
                }
            }
        }
        self.carry_out();
    }

    fn fill(&mut self, work: Work) {
        match self.lanes.fill(&work.0.clone(), work, self.now) {
            None => self.waiting += 1,
            Some((key, bytes)) => self.lanes.release(&key, bytes),
        }
    }

    fn land(&mut self, flight: (Work, bool, Timestamp), is_good: bool) {
        let ((key, bytes), is_probe, started_at) = flight;
        let outcome = match is_good {
            true => Outcome::Answered { status: 200, retry_after: None },
            false => Outcome::Unreachable(ErrorClass::Timeout),
        };
        let seen = Seen { verdict: classify(outcome).0, started_at, latency: Duration::ZERO };
        self.lanes.saw(&key, 1, seen, self.now);
        self.lanes.request_ended(&key, is_probe, self.now);
        self.unrecorded.push((key, bytes));
    }

    fn carry_out(&mut self) {
        let effects = self.lanes.take_effects();
        for (key, bytes) in effects.returned {
            self.waiting -= 1;
            self.lanes.release(&key, bytes);
        }
        self.wishes.extend(effects.wishes);
    }

    /// Does what the store would; now and then it fails, before or after.
    fn answer(&mut self, key: &EndpointKey, wish: Wish) {
        let luck = self.draw(6);
        if luck == 0 {
            return self.lanes.not_granted(key);
        }
        let put =
            |change: BreakerChange, version| OpenBreaker { key: key.clone(), version, opened_at: T0, change };
        let found = self.breakers.get(key).map(|open| open.version);
        match wish {
            Wish::Open(change) if found.is_none() => drop(self.breakers.insert(key.clone(), put(change, 1))),
            Wish::Change { version, change: Some(change) } if found == Some(version) => {
                self.breakers.insert(key.clone(), put(change, version + 1));
            }
            Wish::Change { version, change: None } if found == Some(version) => {
                drop(self.breakers.remove(key))
            }
            Wish::Open(_) | Wish::Change { .. } => {}
        }
        if luck == 1 {
            return self.lanes.not_granted(key);
        }
        self.lanes.granted(key, self.breakers.get(key).cloned(), self.now);
    }

    fn adopt(&mut self) {
        let step = self.lanes.breaker_step();
        self.lanes.adopt(self.breakers.values().cloned().collect(), true, step, self.now);
    }

    fn check(&self) {
        let held = self.lanes.held();
        assert_eq!(held.in_flight, self.flying.len());
        let items = self.reserved.len() + self.waiting + self.flying.len() + self.unrecorded.len();
        assert_eq!(held.items, items);
        let works = self.reserved.iter().chain(self.unrecorded.iter());
        let flying = self.flying.iter().map(|(work, ..)| work);
        let known: u64 = works.chain(flying).map(|(_, bytes)| bytes).sum();
        assert!(held.bytes >= known && held.in_flight <= 6);
        for endpoint in 0..6_u128 {
            let tenant = ["a", "b", "c"][usize::try_from(endpoint / 2).unwrap()];
            let probes =
                self.flying.iter().filter(|(work, is_probe, _)| *is_probe && work.0 == key(tenant, endpoint));
            assert!(probes.count() <= 1, "one probe at a time");
        }
    }

    /// From now on everything succeeds and this worker is alone.
    fn finish(&mut self) {
        self.lanes.join(Fleet::new(worker(1), []), self.now);
        for round in 0..2_000 {
            self.carry_out();
            for (key, wish) in std::mem::take(&mut self.wishes) {
                self.answer(&key, wish);
            }
            for flight in std::mem::take(&mut self.flying) {
                self.land(flight, true);
            }
            self.carry_out();
            for (key, bytes) in self.unrecorded.drain(..).chain(self.reserved.drain(..)) {
                self.lanes.release(&key, bytes);
            }
            self.lanes.wish_again();
            self.adopt();
            self.carry_out();
            match self.lanes.next(self.now) {
                Next::Start { item, is_probe } => {
                    self.waiting -= 1;
                    self.flying.push((item, is_probe, self.now));
                }
                Next::WaitUntil(instant) => self.now = instant,
                Next::Idle if self.lanes.held().items == 0 && self.wishes.is_empty() => {
                    // The breakers that are still open close by a probe that succeeds, one after another.
                    let Some(open) = self.breakers.values().next().cloned() else { return };
                    self.now = self.now.max(open.change.probe_at);
                    let view =
                        self.views[usize::try_from(open.key.endpoint_id.number() % 3).unwrap()].clone();
                    self.lanes.note_due(&open.key, Some(&view), self.now);
                    for key in self.lanes.take_hungry() {
                        let view = self.views[usize::try_from(key.endpoint_id.number() % 3).unwrap()].clone();
                        if self.lanes.reserve_up_to(&key, &view, 1, self.now) > 0 {
                            self.fill((key, 0));
                        }
                    }
                }
                Next::Idle => {}
            }
            assert!(round < 1_999, "work is stuck: {:?}, {:?}", self.lanes.held(), self.breakers);
        }
    }
}

#[test]
fn the_books_agree_after_any_steps_and_nothing_is_stuck() {
    for seed in 0..300 {
        let mut world = World::new(seed);
        for step in 0..400 {
            world.step();
            let check = std::panic::AssertUnwindSafe(|| world.check());
            assert!(std::panic::catch_unwind(check).is_ok(), "seed {seed}, step {step}");
        }
        let finish = std::panic::AssertUnwindSafe(|| world.finish());
        assert!(std::panic::catch_unwind(finish).is_ok(), "seed {seed}");
    }
}
