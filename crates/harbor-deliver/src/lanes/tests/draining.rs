//! Lanes of endpoints that drain.

use harbor_model::endpoint::Drain;

use super::*;

fn drains(per_second: u32, policy: PolicyLayer) -> Arc<EndpointView> {
    let calm = view_of_version(2, policy);
    let drain = Some(Drain { per_second, since: T0 });
    let endpoint = Endpoint { drain, ..calm.endpoint.clone() };
    Arc::new(EndpointView { endpoint, policy: calm.policy.clone() })
}

/// A store with a backlog beside a worker: every look at it takes a few milliseconds, and everything that is
/// taken is delivered at once.
struct Store {
    lanes: Lanes<()>,
    now: Timestamp,
    backlog: usize,
    looks: usize,
}

impl Store {
    fn new(fleet: Fleet) -> Self {
        let settings = Settings { tenant_items_max: 1000, ..settings(1000) };
        Self { lanes: Lanes::new(settings, fleet), now: T0, backlog: usize::MAX, looks: 0 }
    }

    /// Goes on until `end` as a worker would; answers how many were taken.
    fn run(&mut self, view: &Arc<EndpointView>, end: Timestamp, look_takes: Duration) -> usize {
        let a = key("a", 1);
        let mut taken = 0;
        let mut walk_at = self.now;
        while self.now < end {
            if self.now >= walk_at && self.backlog > 0 {
                walk_at = self.now + Duration::from_secs(1);
                self.lanes.forget_idle(self.now);
                self.lanes.note_due(&a, Some(view), self.now);
            }
            for key in self.lanes.take_hungry() {
                let asked = self.lanes.reserve_up_to(&key, view, 1000, self.now);
                if asked == 0 {
                    continue;
                }
                self.looks += 1;
                self.now = self.now + look_takes;
                let found = asked.min(self.backlog);
                self.backlog -= found;
                if found == asked {
                    self.lanes.note_more(&key);
                }
                self.lanes.release_unused(&key, asked - found);
                (0..found).for_each(|_| self.lanes.release(&key, 0));
                taken += found;
            }
            let next = self.lanes.next(self.now);
            if self.lanes.has_hungry() {
                continue;
            }
            self.now = match next {
                Next::WaitUntil(instant) => instant.min(walk_at),
                Next::Idle => walk_at,
                Next::Start { .. } => unreachable!("nothing waits in the lanes"),
            };
        }
        taken
    }
}

fn alone() -> Fleet {
    Fleet::new(worker(1), [])
}

#[test]
fn a_backlog_drains_at_its_rate() {
    let check = |per_second: u32, look_ms, fleet: Fleet, expected: f64| {
        let mut store = Store::new(fleet);
        let view = drains(per_second, PolicyLayer::default());
        let taken = store.run(&view, T0 + Duration::from_secs(10), Duration::from_millis(look_ms));
        let expected = expected * 10.0;
        let taken_f = f64::from(u32::try_from(taken).unwrap());
        let context = format!("{per_second}/s, {look_ms} ms a look: {taken} of {expected}");
        assert!((taken_f - expected).abs() <= (expected * 0.02).max(1.0), "{context}");
        assert!(store.looks <= 1_010, "{context}, {} looks", store.looks);
    };
    for look_ms in [0, 1, 8] {
        for per_second in [1, 7, 100, 999, 5_000] {
            check(per_second, look_ms, alone(), per_second.into());
        }
    }
    check(100, 60, alone(), 100.0);
}

#[test]
fn workers_share_the_rate() {
    let all: Vec<_> = (1..=3).map(worker).collect();
    let share = |per_second, policy: &PolicyLayer| {
        let taken = |me: &WorkerId| {
            let mut store = Store::new(Fleet::new(*me, all.iter().copied()));
            let end = T0 + Duration::from_secs(10);
            store.run(&drains(per_second, policy.clone()), end, Duration::from_millis(1))
        };
        let mut taken: Vec<_> = all.iter().map(taken).collect();
        taken.sort_unstable();
        taken
    };
    let near = |taken: Vec<usize>, expected: [usize; 3]| {
        let is_near = taken.iter().zip(expected).all(|(taken, expected)| taken.abs_diff(expected) <= 4);
        assert!(is_near, "{taken:?}, not {expected:?}");
    };
    near(share(100, &PolicyLayer::default()), [330, 330, 340]);
    near(share(1, &PolicyLayer::default()), [0, 0, 10]);
    near(share(90, &in_flight(2)), [0, 450, 450]);
    let limit = RateLimit { per_second: 500, burst: 1 };
    near(share(90, &PolicyLayer { rate_limit: Some(limit), ..PolicyLayer::default() }), [0, 0, 900]);
}

#[test]
fn what_is_published_now_goes_past_it() {
    let mut lanes = lanes(settings(100));
    let (a, slow) = (key("a", 1), drains(1, PolicyLayer::default()));
    lanes.note_due(&a, Some(&slow), T0);
    assert_eq!(lanes.take_hungry(), std::slice::from_ref(&a));
    assert_eq!(lanes.reserve_up_to(&a, &slow, 10, T0), 0, "there is no token yet");
    put(&mut lanes, &a, &slow, 20);
    assert_eq!(start_all(&mut lanes), counts([("a", 20)]));
    for _ in 0..20 {
        lanes.request_ended(&a, false, T0);
        lanes.release(&a, 1);
    }
    assert!(!lanes.has_hungry(), "and brings no look about");
}

#[test]
fn it_waits_for_the_next_token_and_no_longer() {
    let mut lanes: Lanes<()> = lanes(settings(100));
    let (a, slow) = (key("a", 1), drains(4, PolicyLayer::default()));
    assert_eq!(lanes.reserve_up_to(&a, &slow, 10, T0), 0);
    let Next::WaitUntil(token_at) = lanes.next(T0) else { panic!("it waits for a token") };
    assert!((250..=251).contains(&token_at.since(T0).as_millis()), "{token_at}");
    assert!(lanes.note_due(&a, Some(&slow), T0));
    lanes.forget_idle(T0);
    assert!(!lanes.has_hungry(), "a walk finds nothing to do");

    assert_eq!(lanes.next(token_at), Next::Idle);
    assert_eq!(lanes.take_hungry(), std::slice::from_ref(&a));
    assert_eq!(lanes.reserve_up_to(&a, &slow, 10, token_at), 1);
    lanes.release_unused(&a, 1);
    assert!(!lanes.has_hungry(), "the store had nothing");
    assert_eq!(lanes.reserve_up_to(&a, &slow, 10, token_at), 1, "what was not there costs nothing");
}

#[test]
fn it_ends_with_the_drain() {
    let mut lanes: Lanes<()> = lanes(settings(100));
    let (a, slow) = (key("a", 1), drains(1, PolicyLayer::default()));
    assert_eq!(lanes.reserve_up_to(&a, &slow, 10, T0), 0);
    let ended = view_of_version(3, PolicyLayer::default());
    lanes.learn(&a, &ended, T0);
    assert_eq!(lanes.take_hungry(), std::slice::from_ref(&a), "what waits is asked for at once");
    assert_eq!(lanes.reserve_up_to(&a, &ended, 10, T0), 10);
    lanes.release_unused(&a, 10);
    lanes.next(T0 + Duration::from_secs(2));
    lanes.forget_idle(T0 + Duration::from_secs(2));
    assert!(lanes.tenants.is_empty() && lanes.dry.is_empty());
}

#[test]
fn a_lane_that_others_drain_is_forgotten_and_found_again() {
    let all = [worker(1), worker(2)];
    let slow = drains(1, PolicyLayer::default());
    let is_mine = |me: &WorkerId| {
        let mut store = Store::new(Fleet::new(*me, all));
        store.run(&slow, T0 + Duration::from_secs(5), Duration::ZERO) > 0
    };
    let other = *all.iter().find(|me| !is_mine(me)).unwrap();
    let mut store = Store::new(Fleet::new(other, all));
    assert_eq!(store.run(&slow, T0 + Duration::from_secs(5), Duration::ZERO), 0);
    store.lanes.forget_idle(store.now);
    assert!(store.lanes.tenants.is_empty());
    store.lanes.join(Fleet::new(other, []), store.now);
    assert!((4..=6).contains(&store.run(&slow, store.now + Duration::from_secs(5), Duration::ZERO)));
}
