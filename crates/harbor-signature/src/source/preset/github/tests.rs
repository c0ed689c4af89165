use harbor_model::source::Provider;

use super::*;
use crate::source::example::Example;
use crate::source::rejection::Reason;

/// The values that GitHub's documentation gives for testing a verification, and one signature made by `sign`
/// of npm `@octokit/webhooks-methods` 6.0.0, whose `verify` passes it.
pub(crate) fn examples() -> Vec<Example> {
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let documented = Example {
        headers: vec![
            (HEADER, signature.to_owned()),
            ("x-github-event", "issues".to_owned()),
            ("x-github-delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958".to_owned()),
        ],
        needs: &[HEADER],
        signs: &[HEADER],
        event_type: Some("issues"),
        event_id: Some("72d3162e-cc78-11e3-81ab-4c9367dc0958"),
        ..Example::of(Provider::Github, "It's a Secret to Everybody", b"Hello, World!")
    };
    let body = concat!(
        r#"{"action":"opened","issue":{"number":1347,"title":"Fünf"},"#,
        r#""repository":{"full_name":"octocat/Hello-World"}}"#,
    );
    let mut signed = Example { body: body.as_bytes().to_vec(), ..documented.clone() };
    *signed.header_mut(HEADER) =
        "sha256=609adf4b86974c9bbac66a705088f7369760ad34e2b045feb988dde6ffe689f3".to_owned();
    vec![documented, signed]
}

#[test]
fn the_old_header_passes_for_nothing() {
    let mut example = examples().remove(0).without(HEADER);
    example.headers.push(("x-hub-signature", "sha1=0000000000000000000000000000000000000000".to_owned()));
    let reason = example.verify().unwrap_err().reason;
    assert_eq!(reason, Reason::MissingHeader { name: HEADER.to_owned() });
}
