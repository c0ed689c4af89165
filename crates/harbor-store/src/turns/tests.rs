use super::*;

const ROOMY: Room = Room { weight_max: 1_000_000, tenant_weight_max: 1_000_000 };

fn tenant(id: &str) -> TenantId {
    id.parse().unwrap()
}

/// What waits is named by its tenant and its number there.
type Job = (&'static str, usize);

fn push(turns: &mut Turns<Job>, name: &'static str, weight: usize, numbers: std::ops::Range<usize>) {
    for number in numbers {
        turns.push(Some(tenant(name)), weight, (name, number));
    }
}

/// Offers one job of this weight. False where it is refused.
fn offer(turns: &mut Turns<Job>, name: &'static str, weight: usize) -> bool {
    turns.offer(&tenant(name), vec![(weight, (name, 0))]).is_ok()
}

fn pop_all(turns: &mut Turns<Job>) -> Vec<Job> {
    std::iter::from_fn(|| turns.pop(|_| true)).collect()
}

#[test]
fn one_tenants_jobs_keep_their_order() {
    let mut turns = Turns::new(ROOMY);
    let mut popped = Vec::new();
    for number in 0..500 {
        push(&mut turns, "acme", 1 + number * 7 % 40, number..number + 1);
        push(&mut turns, "zebra", 3, number..number + 1);
        if number % 3 == 0 {
            popped.extend(turns.pop(|_| true));
        }
    }
    popped.extend(pop_all(&mut turns));
    for name in ["acme", "zebra"] {
        let numbers: Vec<_> =
            popped.iter().filter(|(of, _)| *of == name).map(|(_, number)| *number).collect();
        assert!(numbers.is_sorted(), "{name}: {numbers:?}");
    }
    assert_eq!(popped.len(), 1_000);
}

#[test]
fn a_long_line_delays_others_by_one_turn() {
    let mut turns = Turns::new(ROOMY);
    push(&mut turns, "acme", 1, 0..10_000);
    push(&mut turns, "zebra", 1, 0..1);
    let place = pop_all(&mut turns).iter().position(|job| *job == ("zebra", 0)).unwrap();
    assert_eq!(place, TURN_WEIGHT);
}

#[test]
fn turns_are_equal_by_weight_and_not_by_count() {
    let mut turns = Turns::new(ROOMY);
    push(&mut turns, "heavy", 500, 0..100);
    push(&mut turns, "light", 2, 0..10_000);
    let mut weights = HashMap::from([("heavy", 0_usize), ("light", 0)]);
    for _ in 0..4_000 {
        let (name, _) = turns.pop(|_| true).unwrap();
        *weights.get_mut(name).unwrap() += if name == "heavy" { 500 } else { 2 };
        let apart = weights["heavy"].abs_diff(weights["light"]);
        assert!(apart <= 500 + 2 * TURN_WEIGHT, "{weights:?}");
    }
}

#[test]
fn what_belongs_to_no_tenant_has_a_turn_of_its_own() {
    let mut turns = Turns::new(ROOMY);
    push(&mut turns, "acme", 1, 0..1_000);
    push(&mut turns, "zebra", 1, 0..1_000);
    turns.push(None, 1, ("nobody", 0));
    let place = pop_all(&mut turns).iter().position(|job| *job == ("nobody", 0)).unwrap();
    assert_eq!(place, 2 * TURN_WEIGHT);
}

#[test]
fn whoever_left_comes_back_without_savings() {
    let mut turns = Turns::new(ROOMY);
    // A line that is used up gives away what was left of its turn.
    push(&mut turns, "acme", 1, 0..1);
    assert_eq!(pop_all(&mut turns), [("acme", 0)]);
    push(&mut turns, "acme", 1, 1..1_000);
    push(&mut turns, "zebra", 1, 0..1);
    let place = pop_all(&mut turns).iter().position(|job| *job == ("zebra", 0)).unwrap();
    assert_eq!(place, TURN_WEIGHT);
}

#[test]
fn what_does_not_fit_keeps_its_place() {
    let mut turns = Turns::new(ROOMY);
    push(&mut turns, "acme", 1, 0..2);
    push(&mut turns, "zebra", 1, 0..1);
    assert_eq!(turns.pop(|_| false), None);
    assert_eq!(turns.pop(|job| *job == ("acme", 0)), Some(("acme", 0)));
    assert_eq!(turns.pop(|job| *job == ("zebra", 0)), None, "nobody overtakes");
    assert_eq!(pop_all(&mut turns), [("acme", 1), ("zebra", 0)]);
    assert_eq!(turns.pop(|_| true), None);
}

#[test]
fn a_tenant_with_too_much_waiting_is_refused_and_others_are_not() {
    let mut turns = Turns::new(Room { weight_max: 100, tenant_weight_max: 10 });
    assert!(offer(&mut turns, "acme", 6));
    assert!(offer(&mut turns, "acme", 4));
    assert!(!offer(&mut turns, "acme", 1));
    assert!(offer(&mut turns, "zebra", 10));
    // What is pushed is neither refused nor counted against the tenant.
    push(&mut turns, "acme", 20, 1..2);
    push(&mut turns, "bolt", 20, 1..2);
    assert!(offer(&mut turns, "bolt", 10));

    assert_eq!(turns.pop(|_| true), Some(("acme", 0)));
    assert!(!offer(&mut turns, "acme", 7));
    assert!(offer(&mut turns, "acme", 6));
}

#[test]
fn a_batch_is_taken_whole_or_not_at_all() {
    let mut turns = Turns::new(Room { weight_max: 100, tenant_weight_max: 10 });
    let batch = |count: usize| (0..count).map(|number| (4, ("acme", number))).collect::<Vec<_>>();
    assert!(turns.offer(&tenant("acme"), batch(5)).is_ok(), "whoever has nothing waiting is not refused");
    assert_eq!(turns.offer(&tenant("acme"), batch(2)).unwrap_err(), batch(2));
    assert_eq!(pop_all(&mut turns).len(), 5);
    assert!(offer(&mut turns, "acme", 10));
}

#[test]
fn where_all_have_too_much_waiting_only_those_below_an_equal_share_are_taken() {
    let mut turns = Turns::new(Room { weight_max: 100, tenant_weight_max: 100 });
    assert!(offer(&mut turns, "acme", 60));
    assert!(offer(&mut turns, "zebra", 35));
    assert!(!offer(&mut turns, "acme", 6));
    assert!(offer(&mut turns, "acme", 5));
    assert!(offer(&mut turns, "zebra", 15), "half of all is its share");
    assert!(!offer(&mut turns, "zebra", 1));
    assert!(offer(&mut turns, "bolt", 1), "it has nothing waiting");
    assert!(offer(&mut turns, "bolt", 32));
    assert!(!offer(&mut turns, "bolt", 1), "a third is its share now");
}

#[test]
fn lines_that_are_not_free_are_passed_over_and_keep_their_place() {
    let mut turns = Turns::new(ROOMY);
    push(&mut turns, "acme", 40, 0..2);
    push(&mut turns, "zebra", 40, 0..3);
    let others = |job: &Job| job.0 != "acme";
    assert_eq!(turns.pop_free(others, |_| true), Some(("zebra", 0)));
    assert_eq!(turns.pop_free(others, |_| false), None);
    assert_eq!(turns.pop_free(others, |_| true), Some(("zebra", 1)));
    assert_eq!(turns.pop_free(|_| false, |_| true), None);
    assert_eq!(pop_all(&mut turns).len(), 3);
    assert_eq!(turns.pop_free(|_| false, |_| true), None);
}
