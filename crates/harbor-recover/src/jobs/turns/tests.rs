use harbor_model::chance::SeededRng;
use harbor_model::port::history::DeliveryFilter;

use super::*;
use crate::fakes::T0;
use crate::tenants::pending;

fn job(number: u64, tenant: &str) -> Job {
    let id = JobId::new(T0, &SeededRng::new(number));
    pending(id, tenant.parse().unwrap(), Task::Cancel(DeliveryFilter::default()), T0)
}

#[test]
fn tenants_take_turns_and_so_do_the_jobs_of_each() {
    let mut turns = Turns::default();
    let jobs = [job(1, "a"), job(2, "a"), job(3, "a"), job(4, "b")];
    turns.read(jobs.to_vec(), T0);
    let mut picked = Vec::new();
    for _ in 0..12 {
        picked.push(turns.pick(T0).unwrap().job.id);
    }
    let of = |job: &Job| picked.iter().filter(|id| **id == job.id).count();
    assert_eq!(jobs.iter().map(of).collect::<Vec<_>>(), [2, 2, 2, 6]);
    let is_of_b: Vec<_> = picked.iter().map(|id| *id == jobs[3].id).collect();
    assert!(is_of_b.windows(2).all(|two| two[0] != two[1]), "{is_of_b:?}");
}

#[test]
fn only_what_is_due_and_not_at_work_is_picked() {
    let mut turns = Turns::default();
    let [busy, later, due] = [job(1, "a"), job(2, "a"), job(3, "a")];
    turns.read(vec![busy.clone(), later.clone(), due.clone()], T0);
    let in_a_second = T0 + Duration::from_secs(1);
    turns.find(busy.id).unwrap().is_busy = true;
    turns.find(later.id).unwrap().due_at = in_a_second;
    assert_eq!(turns.pick(T0).map(|entry| entry.job.id), Some(due.id));
    turns.find(due.id).unwrap().is_busy = true;
    assert!(turns.pick(T0).is_none());
    assert_eq!(turns.next_due(), Some(in_a_second));
    assert_eq!(turns.pick(in_a_second).map(|entry| entry.job.id), Some(later.id));
}

#[test]
fn what_is_read_replaces_only_what_is_older_and_at_rest() {
    let mut turns = Turns::default();
    let [ended, busy, older, newer] = [job(1, "a"), job(2, "a"), job(3, "a"), job(4, "a")];
    turns.read(vec![ended.clone(), busy.clone(), older.clone(), newer.clone()], T0);
    for id in [ended.id, busy.id, older.id, newer.id] {
        let entry = turns.find(id).unwrap();
        entry.known.is_walked = true;
        entry.job.version = 5;
        entry.is_busy = id == busy.id;
    }
    let version = |job: &Job, version| Job { version, ..job.clone() };
    turns.read(vec![version(&older, 4), version(&newer, 6)], T0);
    assert!(turns.find(ended.id).is_none());
    let mut state = |id| turns.find(id).map(|entry| (entry.job.version, entry.known.is_walked));
    assert_eq!(state(busy.id), Some((5, true)));
    assert_eq!(state(older.id), Some((5, true)));
    assert_eq!(state(newer.id), Some((6, false)));
}

#[test]
fn steps_that_fail_are_tried_ever_more_seldom_and_given_up_late() {
    let mut turns = Turns::default();
    let job = job(1, "a");
    turns.read(vec![job.clone()], T0);
    let entry = turns.find(job.id).unwrap();
    let settings = Settings { give_up_after: Duration::from_secs(600), ..Settings::default() };
    let mut now = T0;
    let mut waits = Vec::new();
    while !entry.known.is_hopeless {
        entry.stumble(&settings, now);
        waits.push(entry.due_at.since(now).as_secs());
        now = entry.due_at;
    }
    assert_eq!(waits[..8], [1, 2, 4, 8, 16, 32, 60, 60]);
    assert!(now.since(T0) >= settings.give_up_after);
    assert_eq!(entry.order(&settings, now).map(|order| order.step), Some(Step::GiveUp));
    entry.stumble(&settings, now);
    let step = entry.order(&settings, now).map(|order| order.step);
    assert_eq!(step, Some(Step::Begin), "where even that cannot be noted, the step is tried again");
}
