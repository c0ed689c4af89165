use harbor_model::source::Provider;

use super::*;
use crate::source::example::Example;

/// Made by `PaddleSignature.calculate_hmac` of PyPI `paddle-python-sdk` 1.16.1, whose `Verifier` accepts it.
pub(crate) fn examples() -> Vec<Example> {
    let body = concat!(
        r#"{"event_id":"evt_01hqt0a6vyvw8ka6hhjzfr0kz4","event_type":"transaction.billed","#,
        r#""occurred_at":"2023-11-14T22:13:19.621022Z","#,
        r#""notification_id":"ntf_01hqt0a706sgymvwa5yxqjy9q2","data":{"#,
        r#""id":"txn_01hqszzzcpydc3s5hvm5b3hm8x","status":"billed"}}"#
    )
    .as_bytes();
    let secret = "pdl_ntfset_01gkpjp8bkm3tm53kdgkx6sms7_6h3qd3uFSi9YCD3OLYAShQI90XTI5vEI";
    let header = "ts=1700000000;h1=0553dda926b2d77f65919abf4d4e70cf05db8d8c6b03fa76bff9bc849227142d";
    vec![Example {
        other_secret: "pdl_ntfset_01gkpjp8bkm3tm53kdgkx6sms7_anotherAccountsSecretOfTheLength",
        headers: vec![(HEADER, header.to_owned())],
        needs: &[HEADER],
        signs: &[HEADER],
        grows_stale: true,
        event_type: Some("transaction.billed"),
        event_id: Some("evt_01hqt0a6vyvw8ka6hhjzfr0kz4"),
        ..Example::of(Provider::Paddle, secret, body)
    }]
}

#[test]
fn takes_any_h1_and_nothing_else() {
    let check = |change: fn(&str) -> String, passes: bool| {
        let mut example = examples().remove(0);
        let header = example.header_mut(HEADER);
        *header = change(header);
        assert_eq!(example.verify().is_ok(), passes, "{example:?}");
    };
    check(|header| format!("{header};h1={}", "0".repeat(64)), true);
    check(|header| header.replace("h1=", &format!("h1={};h1=", "0".repeat(64))), true);
    check(|header| format!("{header};h2=anything"), true);
    check(|header| header.replace("h1=", "h2="), false);
    check(|header| format!("{header};ts=1700000000"), false);
    check(|header| header.replace("ts=", "ts=0"), false);
    check(|header| header.replace(';', ","), false);
    check(|_| "ts=1700000000".to_owned(), false);
    check(|_| String::new(), false);
}
