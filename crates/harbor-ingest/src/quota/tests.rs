use harbor_model::policy::quota::QuotaLayer;

use super::*;
use crate::kit::{Ports, T0, quota, snapshot, tenant};

const SECOND: Duration = Duration::from_secs(1);

fn per_second(per_second: u32, burst: u32) -> Quota {
    quota(QuotaLayer { rate: Some(RateLimit { per_second, burst }), per_day: None })
}

fn per_day(limit: u64) -> Quota {
    quota(QuotaLayer { rate: None, per_day: Some(limit) })
}

/// Takes until it is refused; answers how many were taken, and how it then stands.
fn take_all(meter: &Meter, quota: &Quota, now: Timestamp) -> (u64, QuotaStanding) {
    for taken in 0.. {
        match meter.take(&tenant(), quota, now) {
            Ok(is_counted) => assert!(is_counted),
            Err(standing) => return (taken, standing),
        }
    }
    unreachable!("it is limited")
}

fn deps(ports: &Arc<Ports>) -> Deps {
    let node = WorkerId::from_number(1);
    Deps { quotas: ports.clone(), meter: Arc::default(), clock: ports.clone(), node }
}

fn ports() -> Arc<Ports> {
    Ports::new(snapshot(&[], QuotaLayer::default()))
}

fn answer(ports: &Ports, nodes: usize, of_day: &[u64]) {
    ports.usage.lock().unwrap().push_back(Ok(Usage { nodes, of_day: of_day.to_vec() }));
}

#[test]
fn a_rate_lets_a_burst_through_and_says_when_there_is_more() {
    let (meter, quota) = (Meter::default(), per_second(10, 3));
    let (taken, standing) = take_all(&meter, &quota, T0);
    assert_eq!(taken, 3);
    assert_eq!((standing.window, standing.limit, standing.remaining), (QuotaWindow::Second, 10, 0));
    assert!((100..=102).contains(&standing.reset.as_millis()), "{standing:?}");
    assert_eq!(take_all(&meter, &quota, T0 + standing.reset).0, 1);

    let standing = meter.standing(&tenant(), &quota, T0 + SECOND).unwrap();
    assert_eq!((standing.remaining, standing.reset), (3, Duration::ZERO));
    let unknown = meter.standing(&"other".parse().unwrap(), &per_second(2, 50), T0).unwrap();
    assert_eq!((unknown.limit, unknown.remaining), (2, 2), "never more than the limit");
}

#[test]
fn a_day_ends_at_midnight_of_utc() {
    let (meter, quota) = (Meter::default(), per_day(5));
    let (taken, standing) = take_all(&meter, &quota, T0);
    assert_eq!((taken, standing.window, standing.limit), (5, QuotaWindow::Day, 5));
    let midnight = T0 + standing.reset;
    assert_eq!(midnight.to_string(), "2023-11-15T00:00:00.000Z");
    assert_eq!(take_all(&meter, &quota, midnight - Duration::from_millis(1)).0, 0);
    assert_eq!(take_all(&meter, &quota, midnight).0, 5);
}

#[test]
fn of_two_limits_the_one_that_is_nearer_shows() {
    let meter = Meter::default();
    let both = quota(QuotaLayer { rate: Some(RateLimit { per_second: 4, burst: 4 }), per_day: Some(6) });
    let window = |now| meter.standing(&tenant(), &both, now).map(|standing| standing.window);
    assert_eq!(window(T0), Some(QuotaWindow::Second));
    assert_eq!(take_all(&meter, &both, T0).0, 4);
    assert_eq!(window(T0 + SECOND), Some(QuotaWindow::Day));
    assert_eq!(take_all(&meter, &both, T0 + SECOND).1.window, QuotaWindow::Day);
}

#[test]
fn a_change_of_the_quota_is_obeyed_at_once() {
    let meter = Meter::default();
    assert_eq!(take_all(&meter, &per_day(2), T0).0, 2);
    assert_eq!(take_all(&meter, &per_day(5), T0).0, 3);
    assert_eq!(take_all(&meter, &per_second(10, 10), T0).0, 10);
    assert_eq!(take_all(&meter, &per_second(10, 1), T0 + SECOND).0, 1);
    let none = quota(QuotaLayer::default());
    assert!(matches!(meter.take(&tenant(), &none, T0), Ok(false)));
}

#[tokio::test]
async fn a_rate_is_divided_among_those_that_take_events() {
    let ports = ports();
    let deps = deps(&ports);
    let check = async |nodes, limit: &Quota, expected| {
        answer(&ports, nodes, &[]);
        deps.meter.take(&tenant(), limit, ports.now()).unwrap_or_default();
        settle(&deps).await.unwrap();
        deps.meter.standing(&tenant(), limit, ports.now());
        // It begins with what was left of the part that it had before.
        ports.wait(10 * SECOND);
        assert_eq!(take_all(&deps.meter, limit, ports.now()).0, expected, "{limit:?} by {nodes}");
    };
    check(2, &per_second(1_000, 20), 10).await;
    check(3, &per_second(1_000, 20), 6).await;
    check(50, &per_second(10, 20), 1).await;
    check(0, &per_second(1_000, 20), 20).await;
}

#[tokio::test]
async fn what_others_have_taken_of_the_day_counts() {
    let ports = ports();
    let (deps, quota) = (deps(&ports), per_day(100));
    for _ in 0..3 {
        deps.meter.take(&tenant(), &quota, T0).unwrap();
    }
    answer(&ports, 2, &[90]);
    settle(&deps).await.unwrap();
    assert_eq!(*ports.told.lock().unwrap(), [[(tenant(), 3)]]);
    assert_eq!(take_all(&deps.meter, &quota, T0).0, 10);

    answer(&ports, 2, &[104]);
    settle(&deps).await.unwrap();
    assert_eq!(ports.told.lock().unwrap()[1], [(tenant(), 10)], "only what is new is told");
    assert_eq!(take_all(&deps.meter, &quota, T0), (0, deps.meter.standing(&tenant(), &quota, T0).unwrap()));
}

#[tokio::test]
async fn what_could_not_be_told_is_told_again() {
    let ports = ports();
    let (deps, quota) = (deps(&ports), per_day(10));
    deps.meter.take(&tenant(), &quota, T0).unwrap();
    settle(&deps).await.unwrap_err();
    deps.meter.take(&tenant(), &quota, T0).unwrap();
    answer(&ports, 1, &[2]);
    settle(&deps).await.unwrap();
    assert_eq!(*ports.told.lock().unwrap(), [[(tenant(), 1)], [(tenant(), 2)]]);
    assert_eq!(take_all(&deps.meter, &quota, T0).0, 8);
}

#[tokio::test]
async fn what_is_given_back_is_not_told_or_goes_with_the_next() {
    let ports = ports();
    let (deps, quota) = (deps(&ports), per_day(10));
    for _ in 0..3 {
        deps.meter.take(&tenant(), &quota, T0).unwrap();
    }
    deps.meter.give_back(&tenant(), 1);
    answer(&ports, 1, &[2]);
    settle(&deps).await.unwrap();
    deps.meter.give_back(&tenant(), 2);
    assert_eq!(deps.meter.standing(&tenant(), &quota, T0).unwrap().remaining, 10);
    for _ in 0..3 {
        deps.meter.take(&tenant(), &quota, T0).unwrap();
    }
    answer(&ports, 1, &[3]);
    settle(&deps).await.unwrap();
    assert_eq!(*ports.told.lock().unwrap(), [[(tenant(), 2)], [(tenant(), 1)]]);
    assert_eq!(take_all(&deps.meter, &quota, T0).0, 7);
}

#[tokio::test]
async fn nothing_is_told_without_need() {
    let ports = ports();
    let deps = deps(&ports);
    settle(&deps).await.unwrap();
    assert!(ports.told.lock().unwrap().is_empty(), "nobody has a quota");

    deps.meter.take(&tenant(), &per_second(1, 1), T0).unwrap();
    for _ in 0..20 {
        answer(&ports, 1, &[]);
        settle(&deps).await.unwrap();
        ports.wait(SECOND);
    }
    let told = ports.told.lock().unwrap();
    assert_eq!(*told, vec![Vec::new(); 10], "the others hear of it for a while");
}

#[tokio::test]
async fn many_tenants_are_told_of_in_parts() {
    let ports = ports();
    let deps = deps(&ports);
    for number in 0..2_500 {
        deps.meter.take(&format!("t{number}").parse().unwrap(), &per_day(10), T0).unwrap();
    }
    for count in [1_000, 1_000, 500] {
        answer(&ports, 1, &vec![10; count]);
    }
    settle(&deps).await.unwrap();
    assert_eq!(ports.told.lock().unwrap().iter().map(Vec::len).collect::<Vec<_>>(), [1_000, 1_000, 500]);
    assert!(deps.meter.take(&"t2499".parse().unwrap(), &per_day(10), T0).is_err());
}

#[test]
fn no_more_tenants_are_kept_than_there_are_places() {
    let meter = Meter::new(10);
    let take = |number: usize, quota: &Quota, now| {
        meter.take(&format!("t{number}").parse().unwrap(), quota, now).unwrap()
    };
    let counted = |quota: &Quota, now| (0..20).filter(|number| take(*number, quota, now)).count();
    assert_eq!(counted(&per_second(1, 5), T0), 10, "the others pass uncounted");
    let later = T0 + 10 * SECOND;
    let fresh = (100..105).filter(|number| take(*number, &per_day(9), later)).count();
    assert_eq!(fresh, 5, "those whose quota is whole again make place");
    assert_eq!(meter.state().tallies.len(), 5);
}

#[tokio::test]
async fn it_tells_a_last_time_when_it_ends() {
    let ports = ports();
    let deps = deps(&ports);
    deps.meter.take(&tenant(), &per_day(10), T0).unwrap();
    answer(&ports, 1, &[1]);
    let shutdown = CancellationToken::new();
    shutdown.cancel();
    run(deps, shutdown).await;
    assert_eq!(*ports.told.lock().unwrap(), [[(tenant(), 1)]]);
}
