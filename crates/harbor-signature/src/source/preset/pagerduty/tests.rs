use harbor_model::source::Provider;

use super::*;
use crate::source::example::Example;

/// Made by `hmac` of Python's standard library, and passed by `webhookv3.VerifySignature` of Go's
/// `github.com/PagerDuty/go-pagerduty` 1.8.0.
pub(crate) fn examples() -> Vec<Example> {
    let body = concat!(
        r#"{"event":{"id":"01CEXAMPLE7Q2Z4N8M6K5J3H1G","event_type":"incident.priority_updated","#,
        r#""resource_type":"incident","occurred_at":"2026-03-01T08:15:30.500Z","#,
        r#""data":{"id":"P1N2C3D","type":"incident","title":"Zürich is down"}}}"#,
    );
    let signature = "v1=c5662ed25ac8c200892538dd48057b53f26e8702cf4f8b3a9673003cfbf95dc2";
    vec![Example {
        headers: vec![(HEADER, signature.to_owned())],
        needs: &[HEADER],
        signs: &[HEADER],
        event_type: Some("incident.priority_updated"),
        event_id: Some("01CEXAMPLE7Q2Z4N8M6K5J3H1G"),
        ..Example::of(Provider::Pagerduty, "kNqZ8yq5vJmE2wXr7uTbLc4dHsGf9aPo", body.as_bytes())
    }]
}

#[test]
fn takes_any_v1_and_nothing_else() {
    let check = |change: fn(&str) -> String, passes: bool| {
        let mut example = examples().remove(0);
        let header = example.header_mut(HEADER);
        *header = change(header);
        assert_eq!(example.verify().is_ok(), passes, "{example:?}");
    };
    check(|header| format!("{header},v1={}", "0".repeat(64)), true);
    check(|header| format!("v1={},{header}", "0".repeat(64)), true);
    check(|header| format!("v2=anything,{header}"), true);
    check(|header| header.replace("v1=", "v2="), false);
    check(|header| header.replace("v1=", ""), false);
    check(|_| "v1=".to_owned(), false);
    check(|_| String::new(), false);
}
