use harbor_model::source::Provider;

use super::*;
use crate::source::example::Example;

/// Made by `hmac` of Python's standard library by Intercom's documentation: no published example was found,
/// and npm `intercom-client` 7.0.3 has nothing for it.
pub(crate) fn examples() -> Vec<Example> {
    let body = concat!(
        r#"{"type":"notification_event","app_id":"a86dr8yl","#,
        r#""data":{"type":"notification_event_data","item":{"type":"contact","#,
        r#""id":"617c2c4d2bc6fbf2e2ba8a3e"}},"links":{},"#,
        r#""id":"notif_4e3504a3-ba3f-46dc-ab48-8e4d5bdfdf4e","topic":"contact.user.created","#,
        r#""delivery_status":"pending","delivery_attempts":1,"delivered_at":0,"#,
        r#""first_sent_at":1571080403,"created_at":1571080403,"self":null}"#,
    )
    .as_bytes();
    vec![Example {
        headers: vec![(HEADER, "sha1=974c4f0c80578f2de8578615b355a5798e2eb108".to_owned())],
        needs: &[HEADER],
        signs: &[HEADER],
        event_type: Some("contact.user.created"),
        event_id: Some("notif_4e3504a3-ba3f-46dc-ab48-8e4d5bdfdf4e"),
        ..Example::of(Provider::Intercom, "6b1b5a70-4a1c-4a2b-9a1e-1d2c3b4a5f60", body)
    }]
}

#[test]
fn a_head_request_is_answered_and_nothing_else_unsigned() {
    let ask = |method: &'static str| {
        let example = Example { method, body: Vec::new(), ..examples().remove(0).without(HEADER) };
        example.ask(|verifier, request| verifier.unsigned_handshake(request, &[]))
    };
    assert_eq!(ask("HEAD"), Some(Ok(Handshake::empty(200))));
    assert_eq!(ask("POST"), None);
}
