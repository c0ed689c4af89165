mod breakers;
mod draining;
mod memory;
mod steps;

use std::collections::BTreeMap;
use std::time::Duration;

use harbor_model::address::AddressPolicy;
use harbor_model::chance::{Rng, SeededRng};
use harbor_model::endpoint::{Endpoint, EndpointUrl};
use harbor_model::id::WorkerId;
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
        drain: None,
        disabled: None,
        enabled_at: None,
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
        endpoints_max: 10_000,
    }
}

fn worker(number: u128) -> WorkerId {
    WorkerId::from_number(number)
}

fn lanes<T>(settings: Settings) -> Lanes<T> {
    Lanes::new(settings, Fleet::new(worker(1), []))
}

fn started(key: EndpointKey, number: usize) -> Next<(EndpointKey, usize)> {
    Next::Start { item: (key, number), is_probe: false }
}

/// Reserves and fills `count` deliveries of one byte each, named by their lane and number.
fn put(lanes: &mut Lanes<(EndpointKey, usize)>, key: &EndpointKey, view: &Arc<EndpointView>, count: usize) {
    for number in 0..count {
        assert!(lanes.reserve(key, view, 1, T0), "{key:?} has no room for {number}");
        assert_eq!(lanes.fill(key, (key.clone(), number), T0), None);
    }
}

fn start(lanes: &mut Lanes<(EndpointKey, usize)>) -> Option<String> {
    match lanes.next(T0) {
        Next::Start { item: (key, _), .. } => Some(key.tenant_id.to_string()),
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
    let mut lanes = lanes(settings(10));
    let (a, two) = (key("a", 1), view(in_flight(2)));
    put(&mut lanes, &a, &two, 3);

    assert_eq!(lanes.next(T0), started(a.clone(), 0));
    assert_eq!(lanes.next(T0), started(a.clone(), 1));
    assert_eq!(lanes.next(T0), Next::Idle);
    lanes.request_ended(&a, false, T0);
    assert_eq!(lanes.next(T0), started(a.clone(), 2));
}

#[test]
fn slots_are_shared_by_tenants_whatever_the_number_of_their_endpoints() {
    let mut lanes = lanes(settings(12));
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
    let mut lanes = lanes(settings(4));
    let wide = view(in_flight(100));
    put(&mut lanes, &key("t", 1), &wide, 50);
    put(&mut lanes, &key("t", 2), &wide, 50);

    let mut started = BTreeMap::new();
    while let Next::Start { item: (key, _), .. } = lanes.next(T0) {
        *started.entry(key.endpoint_id.number()).or_insert(0) += 1;
    }
    assert_eq!(started, BTreeMap::from([(1, 2), (2, 2)]));
}

#[test]
fn a_newcomer_gets_the_next_free_slot() {
    let mut lanes = lanes(settings(4));
    let wide = view(in_flight(100));
    let (slow, fresh) = (key("slow", 1), key("fresh", 2));
    put(&mut lanes, &slow, &wide, 50);
    assert_eq!(start_all(&mut lanes), counts([("slow", 4)]), "alone, a tenant may have every slot");

    put(&mut lanes, &fresh, &wide, 3);
    let mut order = Vec::new();
    for _ in 0..3 {
        lanes.request_ended(&slow, false, T0);
        order.extend(start(&mut lanes));
    }
    assert_eq!(order, ["fresh", "fresh", "slow"], "until both have the same");
}

#[test]
fn a_rate_holds_a_lane_and_no_other() {
    let mut lanes = lanes(settings(100));
    let limit = RateLimit { per_second: 10, burst: 2 };
    let slow = view(PolicyLayer { rate_limit: Some(limit), ..PolicyLayer::default() });
    put(&mut lanes, &key("a", 1), &slow, 4);
    put(&mut lanes, &key("b", 2), &view(PolicyLayer::default()), 3);

    assert_eq!(start_all(&mut lanes), counts([("a", 2), ("b", 3)]));
    let Next::WaitUntil(token_at) = lanes.next(T0) else { panic!("the lane waits for a token") };
    assert!((100..=102).contains(&token_at.since(T0).as_millis()), "{token_at}");
    assert_eq!(lanes.next(token_at), started(key("a", 1), 2));
    assert!(matches!(lanes.next(token_at), Next::WaitUntil(later) if later > token_at));
}

#[test]
fn a_change_of_limits_is_obeyed_and_an_older_view_is_not() {
    let mut lanes = lanes(settings(100));
    let a = key("a", 1);
    put(&mut lanes, &a, &view_of_version(2, in_flight(1)), 5);
    assert_eq!(start_all(&mut lanes).len(), 1);

    lanes.learn(&a, &view_of_version(1, in_flight(50)), T0);
    assert_eq!(lanes.next(T0), Next::Idle);
    lanes.learn(&a, &view_of_version(3, in_flight(3)), T0);
    assert_eq!(start_all(&mut lanes), counts([("a", 2)]));
}

#[test]
fn a_lane_that_ran_low_asks_for_more_once() {
    let mut lanes = lanes(Settings { tenant_items_max: 500, ..settings(1000) });
    let (a, wide) = (key("a", 1), view(in_flight(1000)));
    put(&mut lanes, &a, &wide, 100);
    assert!(!lanes.reserve(&a, &wide, 1, T0), "what has no room waits in the store");
    start_all(&mut lanes);

    for left in (0..100).rev() {
        lanes.request_ended(&a, false, T0);
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
    let mut lanes: Lanes<()> = lanes(Settings { tenant_items_max: 1, ..settings(10) });
    let (a, wide) = (key("a", 1), view(PolicyLayer::default()));

    assert_eq!(lanes.reserve_up_to(&a, &wide, 1, T0), 1, "the store is asked");
    assert!(!lanes.reserve(&a, &wide, 1, T0), "meanwhile an event finds no room");
    lanes.release(&a, 0);

    assert!(lanes.has_hungry());
    assert_eq!(lanes.take_hungry(), [a], "the store had nothing, and has something now");
}

#[test]
fn a_tenant_with_a_thousand_slow_endpoints_leaves_another_start_at_once() {
    let mut lanes = lanes(Settings { slots_max: 1024, ..Settings::default() });
    let wide = view(PolicyLayer::default());
    for endpoint in 0..1_000 {
        put(&mut lanes, &key("slow", endpoint), &wide, 4);
    }
    assert_eq!(start_all(&mut lanes), counts([("slow", 512)]), "alone, it has as much as it leaves");

    let fresh = key("fresh", 5_000);
    for _ in 0..600 {
        put(&mut lanes, &fresh, &wide, 1);
        assert_eq!(start(&mut lanes).as_deref(), Some("fresh"), "though nothing of the slow one ends");
        lanes.request_ended(&fresh, false, T0);
        lanes.release(&fresh, 1);
        assert_eq!(start(&mut lanes), None, "the slow one gets no more");
    }

    for endpoint in 0..1_000 {
        put(&mut lanes, &key("slower", endpoint), &wide, 4);
    }
    assert_eq!(start_all(&mut lanes), counts([("slower", 256)]), "the next one leaves something as well");
    put(&mut lanes, &fresh, &wide, 1);
    assert_eq!(start(&mut lanes).as_deref(), Some("fresh"));
}

#[test]
fn a_lane_with_a_rate_limit_holds_what_it_can_send_soon() {
    let check = |per_second, burst, expected| {
        let mut lanes: Lanes<()> = lanes(Settings { lane_items_max: 1000, ..settings(10) });
        let limit = RateLimit { per_second, burst };
        let view = view(PolicyLayer { rate_limit: Some(limit), ..in_flight(25) });
        let held = (0..).take_while(|_| lanes.reserve(&key("a", 1), &view, 0, T0)).count();
        assert_eq!(held, expected, "{limit:?}");
    };
    check(1, 1, 3);
    check(10, 5, 25);
    check(1_000, 1, 75);
}

#[test]
fn each_worker_has_its_part_of_every_limit() {
    let mut lanes = lanes(settings(100));
    let limit = RateLimit { per_second: 10, burst: 10 };
    let limited = view(PolicyLayer { rate_limit: Some(limit), ..PolicyLayer::default() });
    put(&mut lanes, &key("a", 1), &view(in_flight(8)), 20);
    put(&mut lanes, &key("b", 1), &limited, 20);

    assert!(lanes.join(Fleet::new(worker(1), [worker(2)]), T0));
    assert!(!lanes.join(Fleet::new(worker(1), [worker(2), worker(1)]), T0), "nobody has come or gone");
    assert_eq!(start_all(&mut lanes), counts([("a", 4), ("b", 5)]), "half of each");

    assert!(lanes.join(Fleet::new(worker(1), []), T0));
    assert_eq!(start_all(&mut lanes), counts([("a", 4)]), "tokens come with time");
}

#[test]
fn a_worker_without_a_part_holds_nothing() {
    let one = view(in_flight(1));
    let fleet = |me| Fleet::new(worker(me), [worker(1), worker(2)]);
    let sends = |me| fleet(me).part(one.endpoint.id, 1, None).is_some();
    let (sender, other) = if sends(1) { (1, 2) } else { (2, 1) };
    assert!(!sends(other));

    let mut lanes = Lanes::new(settings(10), Fleet::new(worker(other), []));
    let a = key("a", 1);
    put(&mut lanes, &a, &one, 3);
    assert!(lanes.reserve(&a, &one, 1, T0), "on its way when the other one comes");
    lanes.join(fleet(other), T0);
    assert_eq!(lanes.next(T0), Next::Idle);
    let returned = lanes.take_effects().returned;
    assert_eq!(returned.len(), 3);
    returned.iter().for_each(|_| lanes.release(&a, 1));
    assert_eq!(lanes.fill(&a, (a.clone(), 9), T0), Some((a.clone(), 9)), "it comes back");
    lanes.release(&a, 1);
    assert!(!lanes.reserve(&a, &one, 1, T0));
    assert!(lanes.note_due(&a, Some(&one), T0));
    assert_eq!(lanes.reserve_up_to(&a, &one, 5, T0), 0);
    assert!(!lanes.has_hungry(), "and asks for nothing");
    lanes.forget_idle(T0);
    assert!(lanes.tenants.is_empty());

    let mut lanes: Lanes<()> = Lanes::new(settings(10), fleet(sender));
    assert!(lanes.reserve(&a, &one, 1, T0), "the other one does");
}
