use super::*;
use crate::id::EndpointId;
use crate::port::deliveries::EndpointKey;

const T0: Timestamp = Timestamp::from_unix_ms(1_800_000_000_000);
const SECOND: Duration = Duration::from_secs(1);
const POLICY: BreakerPolicy = BreakerPolicy { consecutive_failures: 3, ..BreakerPolicy::DEFAULT };
const FAILED: Verdict = Verdict::Failed { wait_asked: None };

fn worker(number: u128) -> WorkerId {
    WorkerId::from_number(number)
}

fn seen(verdict: Verdict, started_at: Timestamp) -> Seen {
    Seen { verdict, started_at, latency: Duration::from_millis(20) }
}

fn in_force(version: u64, change: BreakerChange) -> OpenBreaker {
    let key = EndpointKey { tenant_id: "t".parse().unwrap(), endpoint_id: EndpointId::from_number(1) };
    OpenBreaker { key, version, opened_at: T0, change }
}

/// A breaker that has failed until it opened, with its wish.
fn opened() -> (Breaker, BreakerChange) {
    let mut breaker = Breaker::default();
    for _ in 0..2 {
        assert_eq!(breaker.saw(seen(FAILED, T0), &POLICY, worker(1), T0), None);
        assert_eq!(breaker.passage(worker(1)), Passage::Free);
    }
    let Some(Wish::Open(change)) = breaker.saw(seen(FAILED, T0), &POLICY, worker(1), T0) else {
        panic!("the third failure opens it");
    };
    (breaker, change)
}

#[test]
fn failures_open_it_and_a_success_between_them_does_not() {
    let (breaker, change) = opened();
    assert_eq!(change.probe_at, T0 + SECOND * 30);
    assert_eq!(breaker.passage(worker(1)), Passage::Held { until: T0 + SECOND * 30 });
    assert!(breaker.is_awaiting());

    let mut breaker = Breaker::default();
    for verdict in [FAILED, FAILED, Verdict::Accepted, FAILED, FAILED] {
        assert_eq!(breaker.saw(seen(verdict, T0), &POLICY, worker(1), T0), None);
    }
    for verdict in [Verdict::ClientError, Verdict::Redirected, Verdict::Gone, Verdict::Blocked] {
        assert_eq!(breaker.saw(seen(verdict, T0), &POLICY, worker(1), T0), None, "{verdict:?}");
    }
    let wish = breaker.saw(seen(FAILED, T0), &POLICY, worker(1), T0);
    assert!(matches!(wish, Some(Wish::Open(_))), "a refusal is neither success nor failure");
}

#[test]
fn one_that_is_disabled_never_opens() {
    let policy = BreakerPolicy { is_enabled: false, ..POLICY };
    let mut breaker = Breaker::default();
    for _ in 0..100 {
        assert_eq!(breaker.saw(seen(FAILED, T0), &policy, worker(1), T0), None);
    }
}

#[test]
fn one_worker_probes_and_success_closes_it() {
    let (mut breaker, change) = opened();
    breaker.adopt(Some(&in_force(1, change)));
    let me = worker(1);
    assert_eq!(breaker.ask_to_probe(me, SECOND, T0 + SECOND * 29), None, "it cools down");

    let now = T0 + SECOND * 30;
    let Some(Wish::Change { version: 1, change: Some(probe) }) = breaker.ask_to_probe(me, SECOND, now) else {
        panic!("it is time");
    };
    assert_eq!((probe.prober, probe.probe_at), (Some(me), now + SECOND * 11));
    assert_eq!(breaker.passage(me), Passage::Held { until: probe.probe_at }, "the store has not said yes");
    breaker.adopt(Some(&in_force(2, probe)));
    assert_eq!(breaker.passage(me), Passage::Probe);
    assert_eq!(breaker.passage(worker(2)), Passage::Held { until: probe.probe_at });

    let late = breaker.saw(seen(Verdict::Accepted, T0), &POLICY, me, now);
    assert_eq!(late, None, "a request from before it opened proves nothing");
    let wish = breaker.saw(seen(Verdict::Accepted, now), &POLICY, me, now);
    assert_eq!(wish, Some(Wish::Change { version: 2, change: None }));
    assert_eq!(breaker.passage(me), Passage::Free);
}

#[test]
fn each_probe_that_fails_doubles_the_wait_up_to_the_longest() {
    let (mut breaker, change) = opened();
    let (mut version, mut now) = (1, T0);
    breaker.adopt(Some(&in_force(version, change)));
    let mut waits = Vec::new();
    for _ in 0..5 {
        let Passage::Held { until } = breaker.passage(worker(1)) else { panic!("it is open") };
        waits.push(until.since(now).as_secs());
        now = until;
        for _ in 0..2 {
            let wish = breaker
                .ask_to_probe(worker(1), SECOND, now)
                .or_else(|| breaker.saw(seen(FAILED, now), &POLICY, worker(1), now));
            let Some(Wish::Change { version: seen_version, change: Some(change) }) = wish else {
                panic!("a probe is asked for, then it fails");
            };
            assert_eq!(seen_version, version);
            version += 1;
            breaker.adopt(Some(&in_force(version, change)));
        }
    }
    assert_eq!(waits, [30, 60, 120, 240, 300]);
}

#[test]
fn as_many_probes_as_wanted_must_succeed() {
    let policy = BreakerPolicy { probes: 2, ..POLICY };
    let (mut breaker, change) = opened();
    breaker.adopt(Some(&in_force(1, BreakerChange { prober: Some(worker(1)), ..change })));
    assert_eq!(breaker.saw(seen(Verdict::Accepted, T0), &policy, worker(1), T0), None);
    assert!(!breaker.is_closed());
    assert!(breaker.saw(seen(Verdict::Accepted, T0), &policy, worker(1), T0).is_some());
    assert!(breaker.is_closed());
}

#[test]
fn what_another_worker_did_is_adopted() {
    let change = open_for(SECOND, T0);
    let mut breaker = Breaker::default();
    breaker.adopt(Some(&in_force(4, change)));
    assert_eq!(breaker.passage(worker(1)), Passage::Held { until: T0 + SECOND });
    let probe = BreakerChange { prober: Some(worker(2)), probe_at: T0 + SECOND * 5, ..change };
    breaker.adopt(Some(&in_force(5, probe)));
    assert_eq!(breaker.ask_to_probe(worker(1), SECOND, T0 + SECOND * 4), None, "another one probes");
    assert!(breaker.ask_to_probe(worker(1), SECOND, T0 + SECOND * 5).is_some(), "it never answered");
    breaker.adopt(None);
    assert!(breaker.is_fresh());
}

#[test]
fn slow_answers_open_it_where_that_is_wanted() {
    let policy = BreakerPolicy { p95: Some(SECOND), ..POLICY };
    let took = |latency| Seen { verdict: Verdict::Accepted, started_at: T0, latency };
    let mut breaker = Breaker::default();
    for _ in 0..18 {
        assert_eq!(breaker.saw(took(SECOND / 2), &policy, worker(1), T0), None);
    }
    assert_eq!(breaker.saw(took(SECOND * 2), &policy, worker(1), T0), None, "19 say nothing");
    let wish = breaker.saw(took(SECOND * 2), &policy, worker(1), T0);
    assert!(matches!(wish, Some(Wish::Open(_))), "2 of 20 are more than 5 %");

    let mut breaker = Breaker::default();
    for n in 0..400 {
        let latency = if n % 20 == 19 { SECOND * 2 } else { SECOND / 2 };
        assert_eq!(
            breaker.saw(took(latency), &policy, worker(1), T0),
            None,
            "5 of 100 are not more than 5 %"
        );
    }
}

#[test]
fn one_that_is_lifted_stands_closed_and_says_so_where_the_store_knows_of_it() {
    let (mut breaker, change) = opened();
    assert_eq!(breaker.clone().lift(), None, "the store has not heard of it");
    breaker.adopt(Some(&in_force(3, change)));
    assert_eq!(breaker.lift(), Some(Wish::Change { version: 3, change: None }));
    assert!(breaker.is_fresh());
    assert_eq!(breaker.lift(), None);
}
