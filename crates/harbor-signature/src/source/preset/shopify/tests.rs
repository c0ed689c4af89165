use harbor_model::source::Provider;

use super::*;
use crate::source::example::Example;
use crate::source::rejection::Reason;

/// Made by `createSHA256HMAC` and accepted by `webhooks.validate` of npm `@shopify/shopify-api` 13.1.0.
pub(crate) fn examples() -> Vec<Example> {
    let body = concat!(
        r#"{"id":820982911946154508,"email":"jon@example.com","currency":"USD","#,
        r#""total_price":"403.00","test":true}"#,
    )
    .as_bytes();
    vec![Example {
        headers: vec![
            (HEADER, "mITDv5GeZ0+X2asy9LmM8kzjL9Skg71GFVrqKpBNPmo=".to_owned()),
            ("x-shopify-topic", "orders/create".to_owned()),
            ("x-shopify-webhook-id", "b54557e4-bdd9-4b37-8a5f-bf7d70bcd043".to_owned()),
            ("x-shopify-event-id", "98880550-7158-44d4-b7cd-2c97c8a091b5".to_owned()),
        ],
        needs: &[HEADER],
        signs: &[HEADER],
        event_type: Some("orders/create"),
        event_id: Some("b54557e4-bdd9-4b37-8a5f-bf7d70bcd043"),
        ..Example::of(Provider::Shopify, "shpss_0123456789abcdef0123456789abcdef", body)
    }]
}

#[test]
fn base64_is_taken_to_the_letter() {
    let mut example = examples().remove(0);
    let header = example.header_mut(HEADER);
    *header = header.trim_end_matches('=').to_owned();
    assert_eq!(example.verify().unwrap_err().reason, Reason::SignatureMismatch);
}
