//! Who is there: tenants and endpoints, as the seed wants them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use harbor_deliver::{lanes, worker};
use harbor_model::address::AddressPolicy;
use harbor_model::chance::Rng;
use harbor_model::endpoint::{Endpoint, EndpointUrl};
use harbor_model::id::{EndpointId, SubscriptionId, TenantId};
use harbor_model::policy::breaker::BreakerLayer;
use harbor_model::policy::order::{OnDead, Ordering};
use harbor_model::policy::retry::{Backoff, RetryLayer};
use harbor_model::policy::{MAX_IN_FLIGHT_DEFAULT, PolicyLayer, RateLimit};
use harbor_model::port::deliveries::EndpointKey;
use harbor_model::port::registry::Change;
use harbor_model::secret::{Secret, TimedSecret};
use harbor_model::subscription::Subscription;
use harbor_model::tenant::{Tenant, TenantPolicy};
use harbor_model::time::Timestamp;
use harbor_store::Store;

use crate::sim::dice::Dice;
use crate::sim::ledger::EndpointFacts;
use crate::world::SECRET;

/// The types of events, which the patterns below tell apart.
pub(crate) const EVENT_TYPES: [&str; 4] = ["order.paid", "order.sent", "user.created", "user.gone"];

const PATTERNS: [&[&str]; 5] =
    [&["*"], &["*", "order.paid"], &["order.*"], &["user.created", "order.paid"], &["user.*"]];

/// Limits of a worker: often so small that everything is in short supply.
pub(crate) fn worker_settings(dice: &Dice) -> worker::Settings {
    let lanes = if dice.one_in(3) {
        lanes::Settings::default()
    } else {
        let items_max = dice.between(3, 24);
        lanes::Settings {
            slots_max: dice.between(2, 12),
            lane_items_max: dice.between(2, 8),
            tenant_items_max: dice.between(2, items_max),
            items_max,
            ..lanes::Settings::default()
        }
    };
    worker::Settings { lanes, ..worker::Settings::default() }
}

/// Makes the tenants and their endpoints.
pub(crate) async fn set(
    store: &Arc<dyn Store>,
    dice: &Dice,
    rng: &dyn Rng,
    now: Timestamp,
) -> (Vec<TenantId>, Vec<EndpointFacts>) {
    let mut tenants = Vec::new();
    let mut facts = Vec::new();
    for number in 0..dice.between(1, 3) {
        let tenant = Tenant {
            id: format!("t{number}").parse().expect("a tenant id"),
            name: format!("tenant {number}"),
            policy: TenantPolicy::default(),
            version: 1,
            created_at: now,
            updated_at: now,
        };
        let id = tenant.id.clone();
        done(store.create_tenant(tenant).await.expect("the store answers"));
        for position in 0..dice.between(1, 3) {
            facts.push(make_endpoint(store, dice, rng, &id, position, now).await);
        }
        tenants.push(id);
    }
    (tenants, facts)
}

async fn make_endpoint(
    store: &Arc<dyn Store>,
    dice: &Dice,
    rng: &dyn Rng,
    tenant: &TenantId,
    position: usize,
    now: Timestamp,
) -> EndpointFacts {
    let id = EndpointId::new(now, rng);
    let patterns = dice.pick(&PATTERNS);
    let policy = policy(dice);
    let (max_in_flight, rate) = (policy.max_in_flight.unwrap_or(MAX_IN_FLIGHT_DEFAULT), policy.rate_limit);
    let max_attempts = policy.retry.max_attempts.expect("the scene sets it");
    let (ordering, on_dead) = (policy.ordering.unwrap_or_default(), policy.on_dead.unwrap_or_default());
    let path = path(tenant, id, 0);
    let endpoint = Endpoint {
        id,
        tenant_id: tenant.clone(),
        name: None,
        description: None,
        url: url(&path),
        secrets: vec![TimedSecret::lasting(Secret::new(SECRET.to_owned()))],
        headers: Vec::new(),
        policy,
        metadata: BTreeMap::new(),
        paused: false,
        drain: None,
        disabled: None,
        enabled_at: None,
        version: 1,
        url_version: 1,
        created_at: now,
        updated_at: now,
    };
    let subscription = |pattern: &&str| Subscription {
        id: SubscriptionId::new(now, rng),
        tenant_id: tenant.clone(),
        pattern: pattern.parse().expect("a valid pattern"),
        endpoint_id: id,
        version: 1,
        created_at: now,
        updated_at: now,
    };
    let subscriptions = patterns.iter().map(subscription).collect();
    done(store.create_endpoint(endpoint, subscriptions, 100).await.expect("the store answers"));
    EndpointFacts {
        key: EndpointKey { tenant_id: tenant.clone(), endpoint_id: id },
        label: format!("{tenant}/{position}"),
        patterns: patterns.iter().map(|pattern| pattern.parse().expect("a valid pattern")).collect(),
        path,
        is_paused: false,
        is_draining: false,
        is_disabled: false,
        is_deleted: false,
        was_disabled: false,
        enabled_at: None,
        max_in_flight,
        rate,
        max_attempts,
        ordering,
        on_dead,
        changed_at: now,
        last_started_at: None,
        breaker_seen_at: None,
        sights: BTreeMap::new(),
    }
}

fn policy(dice: &Dice) -> PolicyLayer {
    let seconds = Duration::from_secs;
    let schedule = (0..dice.between(1, 4)).map(|_| dice.time(seconds(1), seconds(20))).collect();
    PolicyLayer {
        timeout: Some(seconds(30)),
        retry: RetryLayer {
            max_attempts: Some(u16::try_from(dice.between(1, 5)).expect("a small number")),
            backoff: Some(Backoff::Schedule(schedule)),
            max_delay: Some(seconds(60)),
            ..RetryLayer::default()
        },
        rate_limit: draw_rate(dice),
        max_in_flight: draw_max_in_flight(dice),
        breaker: draw_breaker(dice),
        ordering: draw_ordering(dice),
        on_dead: dice.one_in(2).then_some(OnDead::Hold),
        ..PolicyLayer::default()
    }
}

pub(crate) fn draw_rate(dice: &Dice) -> Option<RateLimit> {
    let small = |last| u32::try_from(dice.between(1, last)).expect("a small number");
    dice.one_in(4).then(|| RateLimit { per_second: small(5), burst: small(3) })
}

pub(crate) fn draw_max_in_flight(dice: &Dice) -> Option<u32> {
    (!dice.one_in(4)).then(|| u32::try_from(dice.between(1, 5)).expect("a small number"))
}

fn draw_ordering(dice: &Dice) -> Option<Ordering> {
    match dice.below(6) {
        0 | 1 => Some(Ordering::Key),
        2 => Some(Ordering::Endpoint),
        _ => None,
    }
}

pub(crate) fn draw_breaker(dice: &Dice) -> BreakerLayer {
    BreakerLayer {
        is_enabled: Some(dice.one_in(3)),
        consecutive_failures: Some(u32::try_from(dice.between(2, 5)).expect("a small number")),
        cooldown: Some(dice.time(Duration::from_secs(1), Duration::from_secs(10))),
        cooldown_max: Some(Duration::from_secs(20)),
        probes: Some(u32::try_from(dice.between(1, 2)).expect("a small number")),
        ..BreakerLayer::default()
    }
}

/// Where requests to an endpoint go. It names whom it belongs to, so that one that goes astray is seen.
pub(crate) fn path(tenant: &TenantId, id: EndpointId, generation: usize) -> String {
    format!("/{tenant}/{id}/{generation}")
}

pub(crate) fn url(path: &str) -> EndpointUrl {
    let dev = AddressPolicy { http: true, loopback: true, ..AddressPolicy::default() };
    EndpointUrl::parse(&format!("http://127.0.0.1:9{path}"), &dev).expect("a valid URL")
}

/// What a change came to, which nothing stood against.
pub(crate) fn done<T: std::fmt::Debug>(change: Change<T>) -> T {
    match change {
        Change::Done(value) => value,
        other => panic!("the change was not made: {other:?}"),
    }
}
