use harbor_model::source::Provider;

use super::*;
use crate::source::example::Example;
use crate::source::rejection::Reason;

/// Made by `hmac` and `base64` of Python's standard library: Typeform publishes neither a library that
/// verifies nor an example with its secret.
pub(crate) fn examples() -> Vec<Example> {
    let body = concat!(
        r#"{"event_id":"01EK4R5PFZZP6C8H14RTP4YW6C","event_type":"form_response","form_response":"#,
        r#"{"form_id":"lT4Z3j","token":"a3a12ec67a1365927098a606107fac15","#,
        r#""submitted_at":"2018-01-18T18:17:02Z","answers":[{"type":"text","text":"Zürich"}]}}"#,
    );
    vec![Example {
        headers: vec![(HEADER, "sha256=5TYTUVl+FTcILhGhlLo0UBI89lFXxgm3lnm1u1QmwDE=".to_owned())],
        needs: &[HEADER],
        signs: &[HEADER],
        event_type: Some("form_response"),
        event_id: Some("01EK4R5PFZZP6C8H14RTP4YW6C"),
        ..Example::of(Provider::Typeform, "a random text of forty characters, or so", body.as_bytes())
    }]
}

#[test]
fn the_name_of_the_hash_must_stand_there() {
    let mut example = examples().remove(0);
    let header = example.header_mut(HEADER);
    *header = header.replace("sha256=", "");
    let reason = example.verify().unwrap_err().reason;
    assert!(matches!(reason, Reason::MalformedHeader { .. }), "{reason}");
}
