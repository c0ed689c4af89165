//! Who may hold how much, and who gets what is freed.

use super::*;

fn fits(lanes: &mut Lanes<()>, tenant: &str, endpoint: u128, bytes: u64) -> usize {
    let wide = view(PolicyLayer::default());
    (0..).take_while(|_| lanes.reserve(&key(tenant, endpoint), &wide, bytes, T0)).count()
}

#[test]
fn room_is_bounded_by_lane_tenant_and_worker() {
    let mut lanes = lanes(settings(10));
    let mut check = |tenant: &str, endpoint, bytes, expected, why: &str| {
        assert_eq!(fits(&mut lanes, tenant, endpoint, bytes), expected, "{why}");
    };
    check("a", 1, 0, 75, "a lane may have half of its tenant's");
    check("a", 2, 0, 38, "then half of what is left");
    check("b", 3, 100, 3, "bytes are shared by lanes as well");
    check("b", 4, 100, 1, "a second lane of the same tenant");
    check("c", 5, 100, 2, "and by tenants");
    check("d", 6, 5_000, 1, "one payload beyond every budget goes alone");
    check("e", 7, 1, 0, "and while it is there nothing else fits");
    assert_eq!(lanes.held().items, 120);
}

#[test]
fn two_tenants_with_thousands_of_slow_endpoints_leave_room_for_a_third() {
    let settings = Settings { bytes_max: 1_000_000, tenant_bytes_max: 400_000, ..Settings::default() };
    let mut lanes = super::lanes(settings.clone());
    for endpoint in 0..4_000 {
        fits(&mut lanes, "a", endpoint, 1_000);
        fits(&mut lanes, "b", endpoint, 1_000);
    }
    let held = lanes.held();
    assert!(held.bytes <= settings.bytes_max * 2 / 3 + 10_000, "{held:?}");
    assert!(fits(&mut lanes, "c", 1, 1_000) >= 50);

    let mut lanes = super::lanes(settings.clone());
    for endpoint in 0..4_000 {
        fits(&mut lanes, "a", endpoint, 0);
        fits(&mut lanes, "b", endpoint, 0);
    }
    let held = lanes.held();
    assert!(held.items <= settings.items_max * 2 / 3 + 10, "{held:?}");
    assert!(fits(&mut lanes, "c", 1, 0) >= 64);
}

#[test]
fn endpoints_that_share_little_room_are_served_in_turn() {
    let endpoints = 500_u128;
    let wide = view(PolicyLayer::default());
    let mut lanes: Lanes<()> = lanes(settings(10));
    let mut served = BTreeMap::<EndpointId, usize>::new();
    let mut held = std::collections::VecDeque::new();
    for _ in 0..400 {
        // The walk names them in the same order each time.
        for endpoint in 0..endpoints {
            assert!(lanes.note_due(&key("t", endpoint), Some(&wide), T0));
        }
        for key in lanes.take_hungry() {
            let count = lanes.reserve_up_to(&key, &wide, 1000, T0);
            *served.entry(key.endpoint_id).or_default() += count;
            held.extend((0..count).map(|_| key.clone()));
            if count > 0 {
                lanes.note_more(&key);
            }
        }
        for _ in 0..20 {
            if let Some(key) = held.pop_front() {
                lanes.release(&key, 0);
            }
        }
    }
    assert_eq!(served.len(), 500, "everyone was served");
    let (least, most) = (served.values().min().unwrap(), served.values().max().unwrap());
    assert!(*least >= 8 && *most <= least + 80, "from {least} to {most} deliveries");
}

#[test]
fn publishers_do_not_take_all_that_is_freed_while_endpoints_wait_for_it() {
    let mut lanes = lanes(settings(10));
    for endpoint in 0..200 {
        fits(&mut lanes, "t", endpoint, 0);
    }
    let held = lanes.held().items;
    assert_eq!(held, 150, "the tenant has all that it may");
    for _ in 0..10 {
        lanes.release(&key("t", 0), 0);
    }
    assert_eq!(fits(&mut lanes, "t", 1_000, 0), 0, "what is freed is for those that wait");
    assert!(lanes.has_hungry());
    let taken = lanes.take_hungry();
    assert!((1..=3).contains(&taken.len()), "as many as there is room for: {taken:?}");
}

#[test]
fn an_endpoint_without_a_place_is_left_to_the_walk() {
    let mut lanes: Lanes<()> = lanes(Settings { endpoints_max: 2, ..settings(10) });
    let wide = view(PolicyLayer::default());
    let noted: Vec<_> = (0..4).map(|endpoint| lanes.note_due(&key("t", endpoint), Some(&wide), T0)).collect();
    assert_eq!(noted, [true, true, false, false]);
    assert_eq!(lanes.take_hungry(), [key("t", 0), key("t", 1)]);
    assert!(lanes.note_due(&key("t", 2), Some(&wide), T0));
}

#[test]
fn a_refusal_makes_no_lane() {
    let mut lanes: Lanes<()> = lanes(Settings { tenant_items_max: 16, ..settings(10) });
    for endpoint in 0..1_000 {
        fits(&mut lanes, "t", endpoint, 0);
    }
    let made: usize = lanes.tenants.values().map(|tenant| tenant.lanes.len()).sum();
    assert!(made <= 16, "{made} lanes for 16 deliveries");
}
