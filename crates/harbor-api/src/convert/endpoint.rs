//! Endpoints.

use std::collections::BTreeMap;

use harbor_model::address::AddressPolicy;
use harbor_model::endpoint::{DisabledReason, Endpoint, EndpointUrl};
use harbor_model::event_type::EventTypePattern;
use harbor_model::header::{CustomHeader, HEADERS_MAX};
use harbor_model::invalid::FieldError;
use harbor_model::policy::retry::Backoff;
use harbor_model::policy::{Layers, Policy, PolicyLayer};
use harbor_model::port::breakers::OpenBreaker;
use harbor_model::secret::Secret;
use harbor_wire::endpoint as wire;

use crate::convert::checks::{Checks, DESCRIPTION_CHARS, NAME_CHARS};
use crate::convert::policy::{PolicyFields, read_layer, write_effective, write_layer};

/// The most event types that an endpoint subscribes to at once.
const EVENT_TYPES_MAX: usize = 100;

/// What bears on an endpoint from outside.
#[derive(Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    /// Which addresses it may have.
    pub(crate) addresses: &'a AddressPolicy,
    /// What the instance sets.
    pub(crate) instance: &'a PolicyLayer,
    /// What its tenant sets.
    pub(crate) tenant: &'a PolicyLayer,
}

impl Surroundings<'_> {
    /// The policy in force for an endpoint that sets `layer` itself.
    fn policy(self, layer: &PolicyLayer) -> Policy {
        Policy::resolve(Layers { instance: self.instance, tenant: self.tenant, endpoint: layer })
    }
}

/// What a caller says of an endpoint.
pub(crate) struct EndpointFields {
    pub(crate) url: EndpointUrl,
    pub(crate) name: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) secret: Option<Secret>,
    pub(crate) patterns: Vec<EventTypePattern>,
    pub(crate) headers: Vec<CustomHeader>,
    pub(crate) policy: PolicyLayer,
    pub(crate) metadata: BTreeMap<String, String>,
}

/// Reads what a caller says of an endpoint; `former` is the endpoint that it changes.
pub(crate) fn read(
    endpoint: wire::CreateEndpoint,
    around: Surroundings<'_>,
    former: Option<&Endpoint>,
) -> Result<EndpointFields, Vec<FieldError>> {
    let mut checks = Checks::default();
    let url = read_url(&endpoint.url, around.addresses, former, &mut checks);
    checks.text("name", endpoint.name.as_deref(), NAME_CHARS);
    checks.text("description", endpoint.description.as_deref(), DESCRIPTION_CHARS);
    let secret = endpoint.secret.and_then(|secret| read_secret(secret, &mut checks));
    let patterns = read_patterns(&endpoint.event_types.unwrap_or_default(), &mut checks);
    let headers = read_headers(&endpoint.headers.unwrap_or_default(), &mut checks);
    let fields = PolicyFields {
        timeout_ms: endpoint.timeout_ms,
        retry: endpoint.retry,
        rate_limit: endpoint.rate_limit,
        max_in_flight: endpoint.max_in_flight,
        circuit_breaker: endpoint.circuit_breaker,
        ordering: endpoint.ordering,
        on_dead: endpoint.on_dead,
        signing: endpoint.signing,
    };
    let policy = read_layer(fields, &mut checks);
    if let Some(policy) = &policy {
        check_waits(&around.policy(policy), policy, &mut checks);
    }
    let metadata = endpoint.metadata.unwrap_or_default();
    checks.metadata(&metadata);
    checks.finish()?;
    Ok(EndpointFields {
        url: url.expect("a URL that is not there was refused"),
        name: endpoint.name,
        description: endpoint.description,
        secret,
        patterns,
        headers,
        policy: policy.expect("a policy that breaks a rule was refused"),
        metadata,
    })
}

/// A URL that stays as it is stays allowed, though the rules may have changed since.
fn read_url(
    text: &str,
    addresses: &AddressPolicy,
    former: Option<&Endpoint>,
    checks: &mut Checks,
) -> Option<EndpointUrl> {
    match former {
        Some(former) if former.url.as_str() == text => Some(former.url.clone()),
        Some(_) | None => checks.ok("url", EndpointUrl::parse(text, addresses)),
    }
}

/// Reads a secret that a caller chose.
pub(crate) fn read_secret(text: String, checks: &mut Checks) -> Option<Secret> {
    checks.ok("secret", harbor_signature::validate_secret(&text))?;
    Some(Secret::new(text))
}

fn read_patterns(texts: &[String], checks: &mut Checks) -> Vec<EventTypePattern> {
    if texts.len() > EVENT_TYPES_MAX {
        checks.refuse("event_types", format!("must have at most {EVENT_TYPES_MAX} types"));
        return Vec::new();
    }
    let mut patterns: Vec<EventTypePattern> = Vec::with_capacity(texts.len());
    for (n, text) in texts.iter().enumerate() {
        let field = format!("event_types[{n}]");
        let Some(pattern) = checks.parse(&field, Some(text)) else { continue };
        if patterns.contains(&pattern) {
            checks.refuse(&field, "is given more than once");
        }
        patterns.push(pattern);
    }
    patterns
}

fn read_headers(headers: &BTreeMap<String, String>, checks: &mut Checks) -> Vec<CustomHeader> {
    if headers.len() > HEADERS_MAX {
        checks.refuse("headers", format!("must have at most {HEADERS_MAX} headers"));
        return Vec::new();
    }
    let mut read: Vec<CustomHeader> = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        let field = format!("headers.{name}");
        let Some(header) = checks.ok(&field, CustomHeader::new(name, value)) else { continue };
        if read.iter().any(|known| known.name == header.name) {
            checks.refuse(&field, "is given more than once; case does not matter in names");
        }
        read.push(header);
    }
    read
}

/// An empty schedule may be inherited; then there must be no second attempt.
fn check_waits(policy: &Policy, own: &PolicyLayer, checks: &mut Checks) {
    let has_no_waits = matches!(&policy.retry.backoff, Backoff::Schedule(waits) if waits.is_empty());
    if has_no_waits && policy.retry.max_attempts > 1 && own.retry.backoff.is_none() {
        checks.refuse("retry.max_attempts", "must be 1: the inherited schedule is empty");
    }
}

/// Writes out what may be changed of an endpoint, as [`read`] reads it. Holds the values of its headers,
/// so it must not be shown.
pub(crate) fn write_fields(endpoint: &Endpoint) -> wire::CreateEndpoint {
    let PolicyFields {
        timeout_ms,
        retry,
        rate_limit,
        max_in_flight,
        circuit_breaker,
        ordering,
        on_dead,
        signing,
    } = write_layer(&endpoint.policy);
    let header = |header: &CustomHeader| (header.name.clone(), header.value.expose().to_owned());
    wire::CreateEndpoint {
        url: endpoint.url.as_str().to_owned(),
        name: endpoint.name.clone(),
        description: endpoint.description.clone(),
        secret: None,
        event_types: None,
        headers: Some(endpoint.headers.iter().map(header).collect()),
        timeout_ms,
        retry,
        rate_limit,
        max_in_flight,
        circuit_breaker,
        ordering,
        on_dead,
        signing,
        metadata: Some(endpoint.metadata.clone()),
    }
}

/// Writes out an endpoint with the policies in force and how its breaker stands, without its secret.
pub(crate) fn write(
    endpoint: &Endpoint,
    around: Surroundings<'_>,
    breaker: Option<&OpenBreaker>,
) -> wire::Endpoint {
    let effective = write_effective(&around.policy(&endpoint.policy));
    wire::Endpoint {
        id: endpoint.id.to_string(),
        url: endpoint.url.as_str().to_owned(),
        secret: None,
        name: endpoint.name.clone(),
        description: endpoint.description.clone(),
        paused: endpoint.paused,
        draining: endpoint
            .drain
            .map(|drain| wire::Draining { per_second: drain.per_second, since: drain.since.to_string() }),
        disabled: endpoint.disabled.is_some(),
        disabled_reason: endpoint.disabled.map(|reason| match reason {
            DisabledReason::Manual => wire::DisabledReason::Manual,
            DisabledReason::Gone => wire::DisabledReason::Gone,
            DisabledReason::Failing => wire::DisabledReason::Failing,
        }),
        circuit: write_circuit(breaker),
        header_names: endpoint.headers.iter().map(|header| header.name.clone()).collect(),
        timeout_ms: effective.timeout_ms,
        retry: effective.retry,
        rate_limit: effective.rate_limit,
        max_in_flight: effective.max_in_flight,
        circuit_breaker: effective.circuit_breaker,
        ordering: effective.ordering,
        on_dead: effective.on_dead,
        signing: effective.signing,
        policy_origins: effective.origins,
        metadata: endpoint.metadata.clone(),
        created_at: endpoint.created_at.to_string(),
        updated_at: endpoint.updated_at.to_string(),
    }
}

/// How a breaker stands; one that is not there is closed.
fn write_circuit(breaker: Option<&OpenBreaker>) -> wire::Circuit {
    let Some(OpenBreaker { opened_at, change, .. }) = breaker else {
        return wire::Circuit { state: wire::CircuitState::Closed, opened_at: None, next_probe_at: None };
    };
    wire::Circuit {
        state: match change.prober {
            None => wire::CircuitState::Open,
            Some(_) => wire::CircuitState::HalfOpen,
        },
        opened_at: Some(opened_at.to_string()),
        next_probe_at: Some(change.probe_at.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use harbor_model::id::{EndpointId, WorkerId};
    use harbor_model::policy::retry::RetryLayer;
    use harbor_model::port::breakers::BreakerChange;
    use harbor_model::port::deliveries::EndpointKey;
    use harbor_model::time::Timestamp;
    use serde_json::json;

    use super::*;

    fn read_json(endpoint: serde_json::Value, tenant: &PolicyLayer) -> Result<EndpointFields, Vec<String>> {
        let around =
            Surroundings { addresses: &AddressPolicy::default(), instance: &PolicyLayer::default(), tenant };
        let fields = |errors: Vec<FieldError>| errors.into_iter().map(|error| error.field).collect();
        read(serde_json::from_value(endpoint).unwrap(), around, None).map_err(fields)
    }

    fn check(endpoint: serde_json::Value, expected: &[&str]) {
        let text = endpoint.to_string();
        let found = read_json(endpoint, &PolicyLayer::default()).err().unwrap_or_default();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn every_wrong_field_is_named() {
        let url = "https://example.com/hooks";
        check(json!({"url": url}), &[]);
        check(json!({"url": "http://example.com"}), &["url"]);
        check(json!({"url": "https://10.0.0.1/", "name": ""}), &["url", "name"]);
        check(json!({"url": url, "secret": "short"}), &["secret"]);
        check(json!({"url": url, "secret": "whsec_not base64 at all!!"}), &["secret"]);
        check(json!({"url": url, "secret": "a plain secret of some length"}), &[]);
        check(
            json!({"url": url, "event_types": ["a.*", "a b", "a.*"]}),
            &["event_types[1]", "event_types[2]"],
        );
        check(
            json!({"url": url, "headers": {"x-a": "1", "X-A": "2", "Host": "h"}}),
            &["headers.Host", "headers.x-a"],
        );
        check(
            json!({"url": url, "description": "a\u{0}b", "metadata": {"": ""}}),
            &["description", "metadata"],
        );
    }

    #[test]
    fn a_circuit_is_closed_open_or_half_open() {
        let at = |secs| Timestamp::from_unix_ms(1_700_000_000_000) + Duration::from_secs(secs);
        let breaker = |prober| OpenBreaker {
            key: EndpointKey { tenant_id: "acme".parse().unwrap(), endpoint_id: EndpointId::from_number(1) },
            version: 3,
            opened_at: at(0),
            change: BreakerChange {
                decided_at: at(10),
                probe_at: at(40),
                cooldown: Duration::from_secs(30),
                prober,
            },
        };
        let check = |breaker: Option<OpenBreaker>, expected: serde_json::Value| {
            assert_eq!(serde_json::to_value(write_circuit(breaker.as_ref())).unwrap(), expected);
        };
        check(None, json!({"state": "closed", "opened_at": null, "next_probe_at": null}));
        let since = |state: &str| {
            json!({
                "state": state, "opened_at": "2023-11-14T22:13:20.000Z",
                "next_probe_at": "2023-11-14T22:14:00.000Z",
            })
        };
        check(Some(breaker(None)), since("open"));
        check(Some(breaker(Some(WorkerId::from_number(1)))), since("half_open"));
    }

    #[test]
    fn an_inherited_schedule_without_waits_allows_one_attempt() {
        let retry = RetryLayer {
            max_attempts: Some(1),
            backoff: Some(Backoff::Schedule(Vec::new())),
            ..RetryLayer::default()
        };
        let tenant = PolicyLayer { retry, ..PolicyLayer::default() };
        let found = |retry: serde_json::Value| {
            let endpoint = json!({"url": "https://example.com", "retry": retry});
            read_json(endpoint, &tenant).err().unwrap_or_default()
        };
        assert_eq!(found(json!({})), Vec::<String>::new());
        assert_eq!(found(json!({"max_attempts": 2})), ["retry.max_attempts"]);
        assert_eq!(found(json!({"max_attempts": 2, "schedule": ["1s"]})), Vec::<String>::new());
    }
}
