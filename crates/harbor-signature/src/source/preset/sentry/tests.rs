use harbor_model::source::Provider;

use super::*;
use crate::source::example::Example;

/// Made by `hmac` of Python's standard library as Sentry's documentation does; it publishes no example, and
/// there is no library for it.
pub(crate) fn examples() -> Vec<Example> {
    let body = concat!(
        r#"{"action":"created","installation":{"uuid":"7a485448-a9e2-4c85-8a3c-4f44175783c9"},"#,
        r#""data":{"issue":{"id":"1170820242","shortId":"IPE-1","#,
        r#""title":"Error #1: This is a test error!"}},"actor":{"type":"application","id":"sentry","#,
        r#""name":"Sentry"}}"#,
    )
    .as_bytes();
    vec![Example {
        headers: vec![
            (HEADER, "df9dfcf7aed6997c4f1db8dad9ee45315c2d1cd2b6ef656a79b514476b0a719e".to_owned()),
            ("sentry-hook-resource", "issue".to_owned()),
            ("sentry-hook-timestamp", "1782000000".to_owned()),
            ("request-id", "3f0f2a4b5c6d4e7f8091a2b3c4d5e6f7".to_owned()),
        ],
        needs: &[HEADER],
        signs: &[HEADER],
        event_type: Some("issue"),
        event_id: Some("3f0f2a4b5c6d4e7f8091a2b3c4d5e6f7"),
        ..Example::of(
            Provider::Sentry,
            "2f8a4c0f0d5f4e0e9d7c1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f",
            body,
        )
    }]
}

#[test]
fn the_unsigned_timestamp_decides_nothing() {
    let example = examples().remove(0);
    assert_eq!(example.verify_with(&[example.secret], 1_900_000_000), Ok(()));
    assert_eq!(example.without("sentry-hook-timestamp").verify(), Ok(()));
}
