use harbor_model::source::Provider;

use super::*;
use crate::source::example::Example;
use crate::source::rejection::Reason;

const SECRET: &str = "It's a Secret to Everybody";

/// The first has the values that Bitbucket Cloud's documentation gives for testing a verification; the
/// second, with the headers of Data Center, was made by `hmac` of Python's standard library.
pub(crate) fn examples() -> Vec<Example> {
    let signature = "sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9";
    let cloud = Example {
        headers: vec![
            (HEADER, signature.to_owned()),
            ("x-event-key", "repo:push".to_owned()),
            ("x-request-uuid", "41f0c9d9-1c4b-4bd9-9a2c-6f4a53b7f5d0".to_owned()),
            ("x-attempt-number", "1".to_owned()),
        ],
        needs: &[HEADER],
        signs: &[HEADER],
        event_type: Some("repo:push"),
        event_id: Some("41f0c9d9-1c4b-4bd9-9a2c-6f4a53b7f5d0"),
        ..Example::of(Provider::Bitbucket, SECRET, b"Hello World!")
    };
    let body = concat!(
        r#"{"push":{"changes":[{"new":{"type":"branch","name":"main"}}]},"#,
        r#""repository":{"full_name":"team/repo"}}"#,
    );
    let signature = "sha256=20191e67ddf91a9241668dcffabb9e6307cd96976dd795adcffcd130386699bf";
    let data_center = Example {
        headers: vec![
            (HEADER, signature.to_owned()),
            ("x-event-key", "repo:refs_changed".to_owned()),
            ("x-request-id", "3e5b0f2c-0d5f-4b6b-8b0a-0d1d5e0a7c11".to_owned()),
        ],
        event_type: Some("repo:refs_changed"),
        event_id: Some("3e5b0f2c-0d5f-4b6b-8b0a-0d1d5e0a7c11"),
        body: body.as_bytes().to_vec(),
        ..cloud.clone()
    };
    vec![cloud, data_center]
}

#[test]
fn another_hash_passes_for_nothing() {
    let mut example = examples().remove(0);
    *example.header_mut(HEADER) = "sha1=0000000000000000000000000000000000000000".to_owned();
    let reason = example.verify().unwrap_err().reason;
    assert!(matches!(reason, Reason::MalformedHeader { .. }), "{reason}");
}
