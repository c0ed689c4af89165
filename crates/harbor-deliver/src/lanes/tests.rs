use std::collections::BTreeMap;
use std::time::Duration;

use harbor_model::address::AddressPolicy;
use harbor_model::chance::{Rng, SeededRng};
use harbor_model::endpoint::{Endpoint, EndpointUrl};
use harbor_model::policy::{Layers, Policy, PolicyLayer, RateLimit};

use super::*;

const T0: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);

fn key(tenant: &str, endpoint: u128) -> EndpointKey {
    EndpointKey { tenant_id: tenant.parse().unwrap(), endpoint_id: EndpointId::from_number(endpoint) }
}

fn view(policy: PolicyLayer) -> Arc<EndpointView> {
    view_of_version(1, policy)
}

fn view_of_version(version: u64, policy: PolicyLayer) -> Arc<EndpointView> {
    let none = PolicyLayer::default();
    let endpoint = Endpoint {
        id: EndpointId::from_number(1),
        tenant_id: "t".parse().unwrap(),
        name: None,
        description: None,
        url: EndpointUrl::parse("https://example.com/", &AddressPolicy::default()).unwrap(),
        secrets: Vec::new(),
        headers: Vec::new(),
        policy: policy.clone(),
        metadata: BTreeMap::new(),
        paused: false,
        disabled: None,
        version,
        url_version: version,
        created_at: T0,
        updated_at: T0,
    };
    let policy = Policy::resolve(Layers { instance: &none, tenant: &none, endpoint: &policy });
    Arc::new(EndpointView { endpoint, policy })
}

fn in_flight(max: u32) -> PolicyLayer {
    PolicyLayer { max_in_flight: Some(max), ..PolicyLayer::default() }
}

fn settings(slots_max: usize) -> Settings {
    Settings {
        slots_max,
        lane_items_max: 100,
        tenant_items_max: 150,
        items_max: 1000,
        bytes_max: 1000,
        tenant_bytes_max: 500,
    }
}

/// Reserves and fills `count` deliveries of one byte each, named by their lane and number.
fn put(lanes: &mut Lanes<(EndpointKey, usize)>, key: &EndpointKey, view: &Arc<EndpointView>, count: usize) {
    for number in 0..count {
        assert!(lanes.reserve(key, view, 1, T0), "{key:?} has no room for {number}");
        lanes.fill(key, (key.clone(), number), T0);
    }
}

fn start(lanes: &mut Lanes<(EndpointKey, usize)>) -> Option<String> {
    match lanes.next(T0) {
        Next::Start((key, _)) => Some(key.tenant_id.to_string()),
        Next::WaitUntil(_) | Next::Idle => None,
    }
}

fn start_all(lanes: &mut Lanes<(EndpointKey, usize)>) -> BTreeMap<String, usize> {
    let mut started = BTreeMap::new();
    while let Some(tenant) = start(lanes) {
        *started.entry(tenant).or_default() += 1;
    }
    started
}

fn counts<const N: usize>(pairs: [(&str, usize); N]) -> BTreeMap<String, usize> {
    pairs.map(|(tenant, count)| (tenant.to_owned(), count)).into()
}

#[test]
fn a_lane_sends_in_its_order_up_to_its_limit() {
    let mut lanes = Lanes::new(settings(10));
    let (a, two) = (key("a", 1), view(in_flight(2)));
    put(&mut lanes, &a, &two, 3);

    assert_eq!(lanes.next(T0), Next::Start((a.clone(), 0)));
    assert_eq!(lanes.next(T0), Next::Start((a.clone(), 1)));
    assert_eq!(lanes.next(T0), Next::Idle);
    lanes.request_ended(&a, T0);
    assert_eq!(lanes.next(T0), Next::Start((a.clone(), 2)));
}

#[test]
fn slots_are_shared_by_tenants_whatever_the_number_of_their_endpoints() {
    let mut lanes = Lanes::new(settings(12));
    let wide = view(in_flight(100));
    for endpoint in 0..20 {
        put(&mut lanes, &key("many", endpoint), &wide, 5);
    }
    put(&mut lanes, &key("one", 100), &wide, 50);
    put(&mut lanes, &key("few", 101), &wide, 2);

    assert_eq!(start_all(&mut lanes), counts([("few", 2), ("many", 5), ("one", 5)]));
}

#[test]
fn slots_of_a_tenant_are_shared_by_its_endpoints() {
    let mut lanes = Lanes::new(settings(4));
    let wide = view(in_flight(100));
    put(&mut lanes, &key("t", 1), &wide, 50);
    put(&mut lanes, &key("t", 2), &wide, 50);

    let mut started = BTreeMap::new();
    while let Next::Start((key, _)) = lanes.next(T0) {
        *started.entry(key.endpoint_id.number()).or_insert(0) += 1;
    }
    assert_eq!(started, BTreeMap::from([(1, 2), (2, 2)]));
}

#[test]
fn a_newcomer_gets_the_next_free_slot() {
    let mut lanes = Lanes::new(settings(4));
    let wide = view(in_flight(100));
    let (slow, fresh) = (key("slow", 1), key("fresh", 2));
    put(&mut lanes, &slow, &wide, 50);
    assert_eq!(start_all(&mut lanes), counts([("slow", 4)]), "alone, a tenant may have every slot");

    put(&mut lanes, &fresh, &wide, 3);
    let mut order = Vec::new();
    for _ in 0..3 {
        lanes.request_ended(&slow, T0);
        order.extend(start(&mut lanes));
    }
    assert_eq!(order, ["fresh", "fresh", "slow"], "until both have the same");
}

#[test]
fn a_rate_holds_a_lane_and_no_other() {
    let mut lanes = Lanes::new(settings(100));
    let limit = RateLimit { per_second: 10, burst: 2 };
    let slow = view(PolicyLayer { rate_limit: Some(limit), ..PolicyLayer::default() });
    put(&mut lanes, &key("a", 1), &slow, 4);
    put(&mut lanes, &key("b", 2), &view(PolicyLayer::default()), 3);

    assert_eq!(start_all(&mut lanes), counts([("a", 2), ("b", 3)]));
    let Next::WaitUntil(token_at) = lanes.next(T0) else { panic!("the lane waits for a token") };
    assert!((100..=102).contains(&token_at.since(T0).as_millis()), "{token_at}");
    assert_eq!(lanes.next(token_at), Next::Start((key("a", 1), 2)));
    assert!(matches!(lanes.next(token_at), Next::WaitUntil(later) if later > token_at));
}

#[test]
fn a_change_of_limits_is_obeyed_and_an_older_view_is_not() {
    let mut lanes = Lanes::new(settings(100));
    let a = key("a", 1);
    put(&mut lanes, &a, &view_of_version(2, in_flight(1)), 5);
    assert_eq!(start_all(&mut lanes).len(), 1);

    lanes.learn(&a, &view_of_version(1, in_flight(50)), T0);
    assert_eq!(lanes.next(T0), Next::Idle);
    lanes.learn(&a, &view_of_version(3, in_flight(3)), T0);
    assert_eq!(start_all(&mut lanes), counts([("a", 2)]));
}

#[test]
fn room_is_bounded_by_lane_tenant_and_worker() {
    let wide = view(PolicyLayer::default());
    let mut lanes: Lanes<()> = Lanes::new(settings(10));
    let fits = |lanes: &mut Lanes<()>, tenant: &str, endpoint, bytes| {
        (0..).take_while(|_| lanes.reserve(&key(tenant, endpoint), &wide, bytes, T0)).count()
    };

    assert_eq!(fits(&mut lanes, "a", 1, 0), 100, "the lane's items");
    assert_eq!(fits(&mut lanes, "a", 5, 0), 50, "the tenant's items");
    assert_eq!(fits(&mut lanes, "b", 2, 100), 5, "the tenant's bytes");
    assert_eq!(fits(&mut lanes, "c", 3, 90), 5, "the tenant's bytes again");
    assert_eq!(fits(&mut lanes, "d", 4, 60), 1, "the worker's bytes, but for one payload");
    assert_eq!(lanes.held().items, 161);
}

#[test]
fn a_payload_beyond_every_budget_goes_alone() {
    let mut lanes: Lanes<()> = Lanes::new(settings(10));
    let wide = view(PolicyLayer::default());
    assert!(lanes.reserve(&key("a", 1), &wide, 5_000, T0));
    assert!(!lanes.reserve(&key("a", 1), &wide, 1, T0));
}

#[test]
fn a_lane_that_ran_low_asks_for_more_once() {
    let mut lanes = Lanes::new(settings(1000));
    let (a, wide) = (key("a", 1), view(in_flight(1000)));
    put(&mut lanes, &a, &wide, 100);
    assert!(!lanes.reserve(&a, &wide, 1, T0), "what has no room waits in the store");
    start_all(&mut lanes);

    for left in (0..100).rev() {
        lanes.request_ended(&a, T0);
        lanes.release(&a, 1);
        assert_eq!(lanes.has_hungry(), left <= 50, "with {left} left");
    }
    assert_eq!(lanes.take_hungry(), std::slice::from_ref(&a));
    assert!(!lanes.has_hungry());
    assert_eq!(lanes.reserve_up_to(&a, &wide, 1000, T0), 50, "half of the room, the rest is for publishers");
    for _ in 0..50 {
        lanes.release(&a, 0);
    }
    lanes.forget_idle(T0);
    assert!(lanes.tenants.is_empty(), "nothing is left of an idle lane");
}

#[test]
fn what_found_no_room_while_the_store_was_asked_is_not_forgotten() {
    let mut lanes: Lanes<()> = Lanes::new(Settings { tenant_items_max: 1, ..settings(10) });
    let (a, wide) = (key("a", 1), view(PolicyLayer::default()));

    assert_eq!(lanes.reserve_up_to(&a, &wide, 1, T0), 1, "the store is asked");
    assert!(!lanes.reserve(&a, &wide, 1, T0), "meanwhile an event finds no room");
    lanes.release(&a, 0);

    assert_eq!(lanes.take_hungry(), [a], "the store had nothing, and has something now");
}

/// Random steps; after each, the books agree and no limit is broken.
#[test]
fn the_books_agree_after_any_steps() {
    for seed in 0..200 {
        let rng = SeededRng::new(seed);
        let draw = |below: u64| rng.next_u64() % below;
        let mut lanes = Lanes::new(settings(6));
        let limits = RateLimit { per_second: 50, burst: 3 };
        let views = [
            view(in_flight(2)),
            view(in_flight(100)),
            view(PolicyLayer { rate_limit: Some(limits), ..in_flight(3) }),
        ];
        let (mut reserved, mut waiting, mut flying, mut unrecorded) =
            (Vec::new(), 0_usize, Vec::new(), Vec::new());
        let mut now = T0;
        for _ in 0..300 {
            let endpoint = draw(6);
            let target = key(["a", "b", "c"][usize::try_from(endpoint / 2).unwrap()], endpoint.into());
            match draw(8) {
                0 | 1 => {
                    let view = &views[usize::try_from(endpoint % 3).unwrap()];
                    if lanes.reserve(&target, view, endpoint, now) {
                        reserved.push((target, endpoint));
                    }
                }
                2 | 3 => {
                    if let Some((key, bytes)) = reserved.pop() {
                        lanes.fill(&key, (key.clone(), bytes), now);
                        waiting += 1;
                    }
                }
                4 => {
                    if let Next::Start(work) = lanes.next(now) {
                        waiting -= 1;
                        flying.push(work);
                    }
                }
                5 => {
                    if let Some((key, bytes)) = flying.pop() {
                        lanes.request_ended(&key, now);
                        unrecorded.push((key, bytes));
                    }
                }
                6 => {
                    if let Some((key, bytes)) = unrecorded.pop().or_else(|| reserved.pop()) {
                        lanes.release(&key, bytes);
                    }
                    lanes.forget_idle(now);
                }
                _ => {
                    now = now + Duration::from_millis(draw(40));
                    if draw(10) == 0 {
                        for (key, bytes) in lanes.drain(&target, now) {
                            waiting -= 1;
                            lanes.release(&key, bytes);
                        }
                    }
                }
            }
            let held = lanes.held();
            assert_eq!(held.in_flight, flying.len(), "seed {seed}");
            assert_eq!(held.items, reserved.len() + waiting + flying.len() + unrecorded.len(), "seed {seed}");
            assert!(held.in_flight <= 6, "seed {seed}");
        }
        // Whatever happened, everything that waits goes out in the end.
        while lanes.held().items > 0 {
            for (key, bytes) in flying.drain(..) {
                lanes.request_ended(&key, now);
                unrecorded.push((key, bytes));
            }
            for (key, bytes) in unrecorded.drain(..).chain(reserved.drain(..)) {
                lanes.release(&key, bytes);
            }
            match lanes.next(now) {
                Next::Start(work) => flying.push(work),
                Next::WaitUntil(instant) => now = instant,
                Next::Idle => assert_eq!(lanes.held().items, 0, "seed {seed}: work is stuck"),
            }
        }
    }
}
