use harbor_model::source::Provider;
use http::{HeaderMap, Method};

use super::*;
use crate::source::example::Example;

const KEY: &str = concat!(
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEoeG7KcHZej8uwwOeKBsAK+ydxGy7Yxqgq85t50nXY/gEIqkIY87BkRVfUoKV",
    "YIRzR+jdEOPH7rSJCckhnETlwg==",
);
const PUBLISHED_KEY: &str = concat!(
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNN",
    "RaINXvVpiglSI8eNEc6wEA3F+g==",
);

/// The first is the one that SendGrid's libraries publish with themselves (npm `@sendgrid/eventwebhook`
/// 8.0.0). The second was signed with a key of PyPI `cryptography` 50.0.2; `verify_signature` of PyPI
/// `sendgrid` 6.12.5 and `verifySignature` of npm `@sendgrid/eventwebhook` 8.0.0 pass it.
pub(crate) fn examples() -> Vec<Example> {
    let body = concat!(
        r#"[{"email":"hello@world.com","event":"dropped","reason":"Bounced Address","#,
        r#""sg_event_id":"ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA","sg_message_id":"#,
        r#""LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0","#,
        r#""smtp-id":"<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>","timestamp":1600112492}]"#,
        "\r\n",
    );
    let published = Example {
        other_secret: KEY,
        headers: vec![
            (
                SIGNATURE,
                concat!(
                    "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG",
                    "+luQAbPIqHh89M15TluLtEZtM=",
                )
                .to_owned(),
            ),
            (TIMESTAMP, "1600112502".to_owned()),
        ],
        now_secs: 1_600_112_502,
        needs: &[SIGNATURE, TIMESTAMP],
        signs: &[SIGNATURE, TIMESTAMP],
        grows_stale: true,
        event_type: Some("dropped"),
        ..Example::of(Provider::Sendgrid, PUBLISHED_KEY, body.as_bytes())
    };
    let body = concat!(
        r#"[{"email":"anna@example.com","timestamp":1767225599,"event":"delivered","#,
        r#""sg_event_id":"ZGVsaXZlcmVkLTA"},"#,
        "\r\n",
        r#"{"email":"jürgen@example.com","timestamp":1767225600,"event":"delivered","#,
        r#""sg_event_id":"ZGVsaXZlcmVkLTE"}]"#,
        "\r\n",
    );
    let signed = Example {
        secret: KEY,
        other_secret: PUBLISHED_KEY,
        headers: vec![
            (
                SIGNATURE,
                concat!(
                    "MEYCIQCbgyet6rI8LrD5HElBMOiFZd9PpcKdneadJjaaQFSTqgIhAMOXfcWqafYSNFiOxt",
                    "R5hOtfeOOuDeBD+vijlyXy9/iF",
                )
                .to_owned(),
            ),
            (TIMESTAMP, "1767225601".to_owned()),
        ],
        body: body.as_bytes().to_vec(),
        now_secs: 1_767_225_601,
        event_type: Some("delivered"),
        ..published.clone()
    };
    vec![published, signed]
}

#[test]
fn a_secret_must_be_a_public_p256_key() {
    let check = |secret: &str, passes: bool| {
        assert_eq!(SendGrid.check_secret(secret).is_ok(), passes, "{secret}");
    };
    check(PUBLISHED_KEY, true);
    check(&format!("{PUBLISHED_KEY}\n"), true);
    check(&PUBLISHED_KEY.replace("+g==", "/g=="), false);
    check(&PUBLISHED_KEY[..88], false);
    check(&PUBLISHED_KEY.replace("BwYH", "BwYI").replace("EwYHKoZI", "EwYHKoZJ"), false);
    check("SG.an-api-key.by-mistake", false);
    check("", false);
}

#[test]
fn a_list_goes_by_the_type_of_its_events_or_is_mixed() {
    let check = |body: &str, expected: Option<&str>| {
        let (method, headers) = (Method::POST, HeaderMap::new());
        let request = Request { method: &method, url: "", headers: &headers, body: body.as_bytes() };
        assert_eq!(SendGrid.event_type(&request).as_deref(), expected, "{body}");
    };
    check(r#"[{"event":"open"},{"event":"open"},{"event":"open"}]"#, Some("open"));
    check(r#"[{"event":"open"},{"event":"click"}]"#, Some("mixed"));
    check(r#"[{"event":"open"},{"email":"a@example.com"}]"#, None);
    check(r#"[{"event":"group\u005funsubscribe"}]"#, Some("group_unsubscribe"));
    check(r#"{"event":"open"}"#, None);
    check("[]", None);
}
