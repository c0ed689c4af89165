use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use jiff::Timestamp;

use harbor_signature::VerifyError;

use super::*;
use crate::verdict::{Verdict, Verdicts};

fn request(body: impl Into<Bytes>) -> Request {
    Request {
        received_at: Timestamp::from_millisecond(1_700_000_000_123).unwrap(),
        method: Method::POST,
        path: "/hook".to_owned(),
        headers: HeaderMap::new(),
        body: body.into(),
        signatures: Verdicts { standard: Verdict::Unchecked, harborhook: Verdict::Unchecked },
        status: None,
    }
}

#[test]
fn shows_what_came_on_one_line() {
    let mut request = request(r#"{"a": 1.10}"#);
    request.status = Some(StatusCode::UNAUTHORIZED);
    request.signatures =
        Verdicts { standard: Verdict::Valid, harborhook: Verdict::Invalid(VerifyError::NoMatch) };
    request.headers.insert("webhook-id", "evt_1".parse().unwrap());
    request.headers.insert("x-harborhook-event-type", "invoice.paid".parse().unwrap());
    request.headers.insert("x-harborhook-attempt", "2".parse().unwrap());
    assert_eq!(
        line(&request),
        "2023-11-14T22:13:20.123Z  401  attempt 2  invoice.paid  evt_1  standard: valid  \
         harborhook: invalid (no signature matches)  {\"a\": 1.10}"
    );
}

#[test]
fn shows_dashes_for_what_did_not_come() {
    assert_eq!(
        line(&request("")),
        "2023-11-14T22:13:20.123Z  ---  attempt -  -  -  standard: unchecked  harborhook: unchecked  "
    );
}

#[test]
fn a_body_cannot_move_the_cursor_and_has_an_end() {
    let check = |body: Bytes, expected: &str| {
        let line = line(&request(body.clone()));
        assert!(line.ends_with(&format!("harborhook: unchecked  {expected}")), "{body:?} gave {line}");
    };
    check("é 😀".into(), "é 😀");
    check("two\nlines".into(), "two\\nlines");
    check("\u{1b}[31mred".into(), "\\u{1b}[31mred");
    check(Bytes::from_static(b"a\xffb"), "a\u{fffd}b");
    check("x".repeat(512).into(), &"x".repeat(512));
    check("x".repeat(513).into(), &format!("{}… (513 bytes)", "x".repeat(512)));
    check("😀".repeat(513).into(), &format!("{}… (2052 bytes)", "😀".repeat(512)));
}
