//! Checks the Standard Webhooks scheme against a library that shares no code with ours.

use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use standardwebhooks::Webhook;

use harbor_signature::{SigningKey, generate_secret, standard};

const BODIES: [&str; 5] =
    ["", "null", r#"{"a": 1.10, "a": 20000000000000000001}"#, r#""\u00e9\ud83d\ude00""#, "é 😀 \n"];

/// The library reads the clock by itself, so the oracle's time is the real one.
#[expect(clippy::disallowed_methods, reason = "the oracle compares with the system clock")]
fn now_secs() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_secs() as i64
}

fn secrets() -> impl Iterator<Item = String> {
    (0..16).map(|seed: u8| generate_secret(&std::array::from_fn(|i| (i as u8).wrapping_mul(37) ^ seed)))
}

#[test]
fn the_library_accepts_what_we_sign() {
    for secret in secrets() {
        let ours = SigningKey::parse(&secret).unwrap();
        let old = SigningKey::parse("a secret of the time before").unwrap();
        for body in BODIES {
            let now = now_secs();
            let signature = standard::sign(&[ours.clone(), old.clone()], "evt_01", now, body.as_bytes());
            let mut headers = HeaderMap::new();
            headers.insert(standard::ID_HEADER, "evt_01".parse().unwrap());
            headers.insert(standard::TIMESTAMP_HEADER, now.into());
            headers.insert(standard::SIGNATURE_HEADER, signature.parse().unwrap());

            let library = Webhook::new(&secret).unwrap();
            library.verify(body.as_bytes(), &headers).unwrap_or_else(|e| panic!("{body:?}: {e}"));
            assert!(library.verify(b"another body", &headers).is_err());
        }
    }
}

#[test]
fn we_accept_what_the_library_signs() {
    let now = 1_700_000_000;
    for secret in secrets() {
        let keys = [SigningKey::parse(&secret).unwrap()];
        for body in BODIES {
            let signature = Webhook::new(&secret).unwrap().sign("msg_1", now, body.as_bytes()).unwrap();
            let headers =
                standard::Headers { webhook_id: "msg_1", timestamp: "1700000000", signature: &signature };
            assert_eq!(standard::verify(&keys, headers, body.as_bytes(), now), Ok(()), "{body:?}");
        }
    }
}
