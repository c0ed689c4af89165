//! What tells whether a request came before.

use harbor_model::id::SourceId;
use harbor_signature::source::{Request, Verifier};

use crate::publish::{ReceivedKey, fingerprint_of};

/// The header by which a sender names what it repeats.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The most characters of a name that is kept as it is.
const NAME_CHARS_MAX: usize = 200;

/// The key of a request: the sender's `Idempotency-Key`, else the provider's name for the event, else a hash of
/// the body, which holds for longer with each repeat. None where even two requests with one body may be two events.
pub(super) fn key(source: SourceId, verifier: &Verifier, request: &Request<'_>) -> Option<ReceivedKey> {
    let chosen = request.headers.get(IDEMPOTENCY_KEY).map(|value| value.as_bytes());
    let chosen = chosen.filter(|name| !name.is_empty());
    let event_id = verifier.event_id(request);
    match chosen.or(event_id.as_deref().map(str::as_bytes)) {
        Some(name) => Some(ReceivedKey { text: format!("{source}:{}", named(name)), slides: false }),
        None if verifier.body_names_event() => {
            Some(ReceivedKey { text: format!("{source}:{}", hash(request.body)), slides: true })
        }
        None => None,
    }
}

/// A name as it is, where it fits; else its hash.
fn named(name: &[u8]) -> String {
    match str::from_utf8(name) {
        Ok(name) if name.chars().count() <= NAME_CHARS_MAX && !name.chars().any(char::is_control) => {
            name.to_owned()
        }
        Ok(_) | Err(_) => hash(name),
    }
}

fn hash(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(fingerprint_of(&[bytes])))
}

#[cfg(test)]
mod tests {
    use harbor_model::source::{Provider, SourceOptions};
    use http::{HeaderMap, HeaderValue, Method};

    use super::*;

    #[test]
    fn the_senders_key_comes_before_the_providers_name_and_that_before_the_body() {
        let source = SourceId::from_number(1);
        let find = |provider, headers: &[(&'static str, &[u8])]| {
            let value = |bytes: &[u8]| HeaderValue::from_bytes(bytes).unwrap();
            let headers = headers.iter().map(|(name, bytes)| (name.parse().unwrap(), value(bytes)));
            let headers = HeaderMap::from_iter(headers);
            let request = Request { method: &Method::POST, url: "", headers: &headers, body: b"abc" };
            key(source, &Verifier::new(provider, &SourceOptions::default()).unwrap(), &request)
        };
        let check = |headers: &[(&'static str, &[u8])], expected: &str, slides: bool| {
            let found = find(Provider::Github, headers).unwrap();
            assert_eq!(found, ReceivedKey { text: format!("{source}:{expected}"), slides });
            assert!(found.text.chars().count() <= 255, "{found:?}");
        };
        // SHA-256 of `abc`, from FIPS 180-2.
        let of_body = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let event_id = "x-github-delivery";
        check(&[(IDEMPOTENCY_KEY, b"mine"), (event_id, b"theirs")], "mine", false);
        check(&[(IDEMPOTENCY_KEY, b""), (event_id, b"theirs")], "theirs", false);
        check(&[(event_id, b"theirs")], "theirs", false);
        check(&[(IDEMPOTENCY_KEY, b"")], of_body, true);
        check(&[], of_body, true);
        let long = "x".repeat(201);
        check(&[(event_id, long.as_bytes())], &hash(long.as_bytes()), false);
        check(&[(IDEMPOTENCY_KEY, b"a\xff")], &hash(b"a\xff"), false);
        assert_eq!(find(Provider::Dropbox, &[]), None, "its notifications are all alike");
        assert!(find(Provider::Dropbox, &[(IDEMPOTENCY_KEY, b"mine")]).is_some());
    }
}
