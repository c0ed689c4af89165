//! The words that stand for values of the API, like `delivered`.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The states of a delivery.
pub(crate) const DELIVERY_STATUSES: &[&str] =
    &["queued", "inflight", "delivered", "failed", "dead", "cancelled"];
/// The states of a delivery of which more becomes.
pub(crate) const OPEN_DELIVERY_STATUSES: &[&str] = &["queued", "inflight", "failed"];
/// The states of a delivery of which nothing more becomes.
pub(crate) const FINAL_DELIVERY_STATUSES: &[&str] = &["delivered", "dead", "cancelled"];
/// The causes of a death.
pub(crate) const CAUSES: &[&str] = &[
    "attempts_exhausted",
    "client_error",
    "redirect",
    "endpoint_gone",
    "endpoint_disabled",
    "blocked_address",
    "event_expired",
    "worker_crash",
];
/// The states of a dead letter.
pub(crate) const DEAD_LETTER_STATES: &[&str] = &["open", "replayed", "discarded"];
/// The roles of a key.
pub(crate) const ROLES: &[&str] = &["operator", "admin", "publisher", "viewer"];
/// The ways to reckon waits.
pub(crate) const RETRY_STRATEGIES: &[&str] = &["schedule", "exponential", "linear", "fixed", "standard"];
/// What deliveries can be ordered by.
pub(crate) const ORDERINGS: &[&str] = &["none", "key", "endpoint"];
/// What can become of an ordered lane whose head is dead.
pub(crate) const ON_DEAD: &[&str] = &["skip", "hold"];
/// The ways to sign.
pub(crate) const SIGNING_SCHEMES: &[&str] = &["standard", "harborhook"];
/// The hashes that a sender may use HMAC with.
pub(crate) const ALGORITHMS: &[&str] = &["sha1", "sha256", "sha384", "sha512"];
/// The ways that a sender may write signatures.
pub(crate) const ENCODINGS: &[&str] = &["hex", "base64"];

/// Reads one of these words of the API.
pub(crate) fn parser<T>(words: &'static [&'static str]) -> impl TypedValueParser<Value = T>
where
    T: DeserializeOwned + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(words).map(|word| {
        serde_json::from_value(Value::String(word)).expect("the words are those of the API, a test proves it")
    })
}

/// The word for a value of the API.
pub(crate) fn print(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(error) => unreachable!("the API's values are texts: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use harbor_wire::api_key::Role;
    use harbor_wire::delivery::{Cause, DeadLetterState, DeliveryStatus};
    use harbor_wire::policy::{OnDead, Ordering, RetryStrategy, SigningScheme};
    use harbor_wire::source::{Algorithm, Encoding};

    use super::*;

    fn check<T: DeserializeOwned + Serialize>(words: &[&str]) {
        for word in words {
            let value: T = serde_json::from_value(Value::String((*word).to_owned())).unwrap();
            assert_eq!(print(&value), *word);
        }
        // The error of a word that is none names all that are.
        let error = serde_json::from_value::<T>(Value::String("nonsense".to_owned())).err().unwrap();
        let known = error.to_string().matches('`').count() / 2 - 1;
        assert_eq!(known, words.len(), "{error}");
    }

    #[test]
    fn every_word_of_the_api_can_be_typed() {
        check::<DeliveryStatus>(DELIVERY_STATUSES);
        check::<Cause>(CAUSES);
        check::<DeadLetterState>(DEAD_LETTER_STATES);
        check::<Role>(ROLES);
        check::<RetryStrategy>(RETRY_STRATEGIES);
        check::<Ordering>(ORDERINGS);
        check::<OnDead>(ON_DEAD);
        check::<SigningScheme>(SIGNING_SCHEMES);
        check::<Algorithm>(ALGORITHMS);
        check::<Encoding>(ENCODINGS);
    }

    #[test]
    fn a_delivery_is_open_or_final() {
        let split = [OPEN_DELIVERY_STATUSES, FINAL_DELIVERY_STATUSES].concat();
        let mut all = DELIVERY_STATUSES.to_vec();
        all.sort_by_key(|word| split.iter().position(|other| other == word));
        assert_eq!(all, split);
    }
}
