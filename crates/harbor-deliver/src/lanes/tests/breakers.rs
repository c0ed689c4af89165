//! Lanes with circuit breakers.

use harbor_model::decide::breaker::Seen;
use harbor_model::decide::classify::Verdict;
use harbor_model::policy::breaker::BreakerLayer;
use harbor_model::port::breakers::{BreakerChange, BreakerState};

use super::*;

const FAILED: Verdict = Verdict::Failed { wait_asked: None };
const COOLDOWN: Duration = Duration::from_secs(30);

fn opens_after(failures: u32) -> PolicyLayer {
    let breaker = BreakerLayer { consecutive_failures: Some(failures), ..BreakerLayer::default() };
    PolicyLayer { breaker, ..PolicyLayer::default() }
}

fn disabled() -> PolicyLayer {
    let breaker = BreakerLayer { is_enabled: Some(false), ..BreakerLayer::default() };
    PolicyLayer { breaker, ..PolicyLayer::default() }
}

fn in_force(key: &EndpointKey, version: u64, change: BreakerChange) -> OpenBreaker {
    OpenBreaker { key: key.clone(), version, opened_at: T0, change }
}

fn open_until(probe_at: Timestamp) -> BreakerChange {
    BreakerChange { decided_at: T0, probe_at, cooldown: COOLDOWN, prober: None }
}

fn saw(lanes: &mut Lanes<(EndpointKey, usize)>, key: &EndpointKey, verdict: Verdict, now: Timestamp) {
    let seen = Seen { verdict, started_at: now, latency: Duration::ZERO };
    lanes.saw(key, 1, seen, now);
}

fn opening(effects: &Effects<(EndpointKey, usize)>) -> BreakerChange {
    let [(_, Wish::Open(change))] = effects.wishes[..] else { panic!("it is to be opened: {effects:?}") };
    change
}

fn change(effects: &Effects<(EndpointKey, usize)>) -> (u64, Option<BreakerChange>) {
    let [(_, Wish::Change { version, change })] = effects.wishes[..] else {
        panic!("it is to be changed: {effects:?}")
    };
    (version, change)
}

/// A lane with five deliveries of which two are in flight, whose breaker has just opened, as the store knows.
fn opened() -> (Lanes<(EndpointKey, usize)>, EndpointKey, BreakerChange) {
    let (mut lanes, a) = (lanes(settings(2)), key("a", 1));
    put(&mut lanes, &a, &view(opens_after(2)), 5);
    assert_eq!(start_all(&mut lanes), counts([("a", 2)]));
    saw(&mut lanes, &a, FAILED, T0);
    assert_eq!(lanes.take_effects().returned, []);
    saw(&mut lanes, &a, FAILED, T0);
    let effects = lanes.take_effects();
    let returned: Vec<_> = effects.returned.iter().map(|(_, number)| *number).collect();
    assert_eq!(returned, [2, 3, 4], "what waits goes back");
    assert_eq!(effects.wakeups, [(T0 + COOLDOWN, a.clone())]);
    for _ in returned {
        lanes.release(&a, 1);
    }
    let change = opening(&effects);
    lanes.granted(&a, Some(in_force(&a, 1, change)), T0);
    let effects = lanes.take_effects();
    let news = BreakerNews { key: a.clone(), state: BreakerState::Open, open_breakers: 1 };
    assert_eq!((effects.breakers, effects.wishes.len()), (vec![news], 0));
    (lanes, a, change)
}

#[test]
fn an_open_lane_holds_nothing_and_asks_for_nothing() {
    let (mut lanes, a, _) = opened();
    let wide = view(opens_after(2));
    assert_eq!(lanes.held().open_breakers, 1);
    assert_eq!(lanes.next(T0), Next::Idle);
    assert!(!lanes.reserve(&a, &wide, 1, T0));
    assert_eq!(lanes.reserve_up_to(&a, &wide, 10, T0), 0);
    lanes.note_more(&a);
    assert!(lanes.note_due(&a, Some(&wide), T0), "there is nothing more to note");
    assert!(!lanes.has_hungry());
    assert!(lanes.take_effects().wishes.is_empty(), "it cools down");
}

#[test]
fn room_that_was_reserved_before_it_opened_is_not_filled() {
    let (mut lanes, a) = (lanes(settings(2)), key("a", 1));
    let wide = view(opens_after(1));
    assert!(lanes.reserve(&a, &wide, 1, T0));
    saw(&mut lanes, &a, FAILED, T0);
    assert_eq!(lanes.fill(&a, (a.clone(), 0), T0), Some((a.clone(), 0)));
}

#[test]
fn when_it_has_cooled_down_one_probe_goes_and_its_success_opens_the_lane() {
    let (mut lanes, a, _) = opened();
    let wide = view(opens_after(2));
    let now = T0 + COOLDOWN;
    assert!(lanes.note_due(&a, None, now));
    let (version, probe) = change(&lanes.take_effects());
    assert_eq!(version, 1);
    assert!(lanes.note_due(&a, None, now));
    assert!(lanes.take_effects().wishes.is_empty(), "it has asked already");
    assert!(!lanes.reserve(&a, &wide, 1, now), "the store has not said yes");
    lanes.granted(&a, Some(in_force(&a, 2, probe.unwrap())), now);

    assert!(lanes.has_hungry());
    assert_eq!(lanes.take_hungry(), std::slice::from_ref(&a));
    assert_eq!(lanes.reserve_up_to(&a, &wide, 10, now), 1, "one at a time");
    assert!(!lanes.reserve(&a, &wide, 1, now));
    assert_eq!(lanes.fill(&a, (a.clone(), 7), now), None);
    assert_eq!(lanes.next(now), Next::Idle, "both slots are still taken");
    lanes.request_ended(&a, false, now);
    assert_eq!(lanes.next(now), Next::Start { item: (a.clone(), 7), is_probe: true });
    assert!(!lanes.reserve(&a, &wide, 1, now));
    saw(&mut lanes, &a, Verdict::Accepted, now);
    lanes.request_ended(&a, true, now);

    let effects = lanes.take_effects();
    assert_eq!(change(&effects), (2, None));
    assert!(lanes.reserve(&a, &wide, 1, now), "it is open at once");
    lanes.granted(&a, None, now);
    assert_eq!(lanes.held().open_breakers, 0);
}

#[test]
fn a_request_that_is_older_than_the_probe_is_none() {
    let (mut lanes, a, _) = opened();
    lanes.note_due(&a, None, T0 + COOLDOWN);
    let (_, probe) = change(&lanes.take_effects());
    lanes.granted(&a, Some(in_force(&a, 2, probe.unwrap())), T0 + COOLDOWN);
    drop(lanes.take_effects());

    saw(&mut lanes, &a, FAILED, T0);
    lanes.request_ended(&a, false, T0 + COOLDOWN);
    assert!(lanes.take_effects().wishes.is_empty());
}

#[test]
fn a_probe_that_fails_holds_the_lane_for_longer() {
    let (mut lanes, a, _) = opened();
    let now = T0 + COOLDOWN;
    lanes.note_due(&a, None, now);
    let (_, probe) = change(&lanes.take_effects());
    lanes.granted(&a, Some(in_force(&a, 2, probe.unwrap())), now);
    drop(lanes.take_effects());

    saw(&mut lanes, &a, FAILED, now);
    let effects = lanes.take_effects();
    assert_eq!(effects.wakeups, [(now + COOLDOWN * 2, a.clone())]);
    assert_eq!(change(&effects).1.map(|change| change.cooldown), Some(COOLDOWN * 2));
}

#[test]
fn a_wish_that_fails_is_wished_again() {
    let (mut lanes, a) = (lanes(settings(2)), key("a", 1));
    put(&mut lanes, &a, &view(opens_after(1)), 1);
    saw(&mut lanes, &a, FAILED, T0);
    let first = opening(&lanes.take_effects());
    lanes.not_granted(&a);
    assert!(lanes.take_effects().wishes.is_empty(), "not at once");
    assert!(!lanes.has_wishes());
    lanes.adopt(Vec::new(), true, lanes.breaker_step(), T0);
    assert_eq!(lanes.next(T0), Next::Idle, "a list that does not show it says nothing");
    lanes.wish_again();
    assert_eq!(opening(&lanes.take_effects()), first);
}

#[test]
fn what_others_did_is_adopted_by_lanes_that_are_there_and_those_to_come() {
    let mut lanes = lanes(settings(10));
    let (a, b, wide) = (key("a", 1), key("b", 2), view(PolicyLayer::default()));
    put(&mut lanes, &a, &wide, 3);
    let listed = |keys: &[&EndpointKey]| -> Vec<_> {
        keys.iter().map(|key| in_force(key, 4, open_until(T0 + COOLDOWN))).collect()
    };

    lanes.adopt(listed(&[&a, &b]), true, lanes.breaker_step(), T0);
    let effects = lanes.take_effects();
    assert_eq!((effects.returned.len(), effects.breakers.len()), (3, 2));
    effects.returned.iter().for_each(|_| lanes.release(&a, 1));
    assert!(!lanes.reserve(&b, &wide, 1, T0), "a lane that comes later knows it");
    assert_eq!(lanes.held().open_breakers, 2);

    lanes.adopt(listed(&[&b]), false, lanes.breaker_step(), T0);
    assert!(!lanes.reserve(&a, &wide, 1, T0), "a list that is cut off closes nothing");
    lanes.adopt(listed(&[&b]), true, lanes.breaker_step(), T0);
    assert!(lanes.reserve(&a, &wide, 1, T0));
    assert!(!lanes.reserve(&b, &wide, 1, T0));
    lanes.forget_idle(T0);
    assert!(!lanes.reserve(&b, &wide, 1, T0), "and still after its lane was forgotten");
}

#[test]
fn a_list_that_is_older_than_a_change_does_not_undo_it() {
    let (mut lanes, a, change) = opened();
    let step = lanes.breaker_step();
    let now = T0 + COOLDOWN;
    lanes.note_due(&a, None, now);
    drop(lanes.take_effects());
    lanes.adopt(vec![in_force(&a, 1, change)], true, step, now);
    lanes.adopt(Vec::new(), true, step, now);
    assert_eq!(lanes.reserve_up_to(&a, &view(opens_after(2)), 9, now), 0, "its wish is on its way");
    lanes.granted(&a, None, now);
    lanes.adopt(vec![in_force(&a, 1, change)], true, step, now);
    assert!(lanes.reserve(&a, &view(opens_after(2)), 1, now), "it was closed since");
}

#[test]
fn another_url_begins_anew() {
    let (mut lanes, a, _) = opened();
    lanes.learn(&a, &view_of_version(2, opens_after(2)), T0);
    assert!(lanes.reserve(&a, &view_of_version(2, opens_after(2)), 1, T0));
    assert!(lanes.take_effects().wishes.is_empty(), "the store has forgotten it with the URL");
    for _ in 0..5 {
        saw(&mut lanes, &a, FAILED, T0);
    }
    assert!(
        lanes.take_effects().wishes.is_empty(),
        "what the old URL still fails says nothing of the new one"
    );
}

#[test]
fn a_wish_for_another_url_is_taken_back() {
    let (mut lanes, a) = (lanes(settings(2)), key("a", 1));
    put(&mut lanes, &a, &view(opens_after(1)), 1);
    saw(&mut lanes, &a, FAILED, T0);
    let opening = opening(&lanes.take_effects());
    lanes.learn(&a, &view_of_version(2, opens_after(1)), T0);
    lanes.granted(&a, Some(in_force(&a, 1, opening)), T0);
    assert_eq!(change(&lanes.take_effects()), (1, None));
    assert!(lanes.reserve(&a, &view_of_version(2, opens_after(1)), 1, T0));
}

#[test]
fn one_that_is_switched_off_is_closed_for_everyone() {
    let off = view_of_version(1, disabled());
    let (mut lanes, a, _) = opened();
    lanes.note_due(&a, Some(&off), T0);
    assert_eq!(change(&lanes.take_effects()), (1, None));
    assert!(lanes.reserve(&a, &off, 1, T0));
    for _ in 0..50 {
        saw(&mut lanes, &a, FAILED, T0);
    }
    lanes.granted(&a, None, T0);
    assert!(lanes.take_effects().wishes.is_empty());

    let b = key("b", 2);
    lanes.adopt(vec![in_force(&b, 9, open_until(T0 + COOLDOWN))], true, lanes.breaker_step(), T0);
    lanes.take_hungry();
    lanes.note_due(&b, Some(&off), T0);
    assert_eq!(lanes.take_hungry(), std::slice::from_ref(&b));
    assert_eq!(lanes.reserve_up_to(&b, &off, 4, T0), 4);
    assert_eq!(change(&lanes.take_effects()), (9, None), "also where there was no lane");
}

#[test]
fn the_breakers_of_others_that_are_cooling_cost_no_look() {
    let mut lanes: Lanes<()> = lanes(settings(10));
    let (a, wide) = (key("a", 1), view(PolicyLayer::default()));
    lanes.adopt(vec![in_force(&a, 1, open_until(T0 + COOLDOWN))], true, 0, T0);
    lanes.note_due(&a, Some(&wide), T0);
    assert!(!lanes.has_hungry());
    lanes.note_due(&a, Some(&wide), T0 + COOLDOWN);
    assert_eq!(lanes.take_hungry(), std::slice::from_ref(&a));
    assert_eq!(lanes.reserve_up_to(&a, &wide, 5, T0 + COOLDOWN), 0);
    let wishes = lanes.take_effects().wishes;
    assert!(matches!(wishes[..], [(_, Wish::Change { version: 1, change: Some(_) })]), "{wishes:?}");
}

#[test]
fn a_probe_finds_room_though_much_is_in_flight_from_before() {
    // The tenant has little room left: as much as a lane may always have.
    let narrow = Settings { tenant_items_max: 9, items_max: 100, ..settings(10) };
    let (mut lanes, a) = (lanes(narrow), key("a", 1));
    let wide = view(opens_after(1));
    put(&mut lanes, &a, &wide, 4);
    put(&mut lanes, &key("a", 2), &wide, 2);
    assert_eq!(start_all(&mut lanes), counts([("a", 6)]));
    saw(&mut lanes, &a, FAILED, T0);
    let change_made = opening(&lanes.take_effects());
    lanes.granted(&a, Some(in_force(&a, 1, change_made)), T0);
    let now = T0 + COOLDOWN;
    assert!(lanes.note_due(&a, None, now));
    let (_, probe) = change(&lanes.take_effects());
    lanes.granted(&a, Some(in_force(&a, 2, probe.unwrap())), now);

    assert_eq!(lanes.take_hungry(), std::slice::from_ref(&a));
    assert_eq!(lanes.reserve_up_to(&a, &wide, 10, now), 1);
    assert!(!lanes.has_hungry(), "it is not asked for again and again");
}
