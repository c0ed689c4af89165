use harbor_model::source::Provider;

use super::*;
use crate::source::example::Example;
use crate::source::rejection::Reason;

const EVENT_ID: &str = "ad59854007e0d0d474ced13847e14da9dbc4da329b0ca330049d5874e35201dd";
const SECOND_HEADER: &str = "x-docusign-signature-2";

/// Made by `hmac` of Python's standard library as DocuSign's documentation does: no published example was
/// found, and npm `docusign-esign` 10.0.0 has nothing for it.
pub(crate) fn examples() -> Vec<Example> {
    let body = concat!(
        r#"{"event":"envelope-completed","apiVersion":"v2.1","#,
        r#""uri":"/restapi/v2.1/accounts/732f99f9-4a0a-4d59-9643-b5faed2026b8"#,
        r#"/envelopes/4d3420b8-ce24-8a0a-8135-63c9bb1d0c7e","#,
        r#""retryCount":0,"configurationId":22028153,"#,
        r#""generatedDateTime":"2026-01-13T07:09:58.9584687Z","#,
        r#""data":{"accountId":"732f99f9-4a0a-4d59-9643-b5faed2026b8","#,
        r#""userId":"fdb7fd81-065c-44f0-8376-daa56da18c13","#,
        r#""envelopeId":"4d3420b8-ce24-8a0a-8135-63c9bb1d0c7e"}}"#,
    )
    .as_bytes();
    let first = (FIRST_HEADER, "1NoE4yhxIEKRaNEPa7KFyv61ckRqHTfrRoDg+HFsmdo=".to_owned());
    let second = (SECOND_HEADER, "yNJnl8BG/JRvPBUbUnD3Pabr/dQjHHPq2Tp3kOG3VUw=".to_owned());
    let one_key = Example {
        headers: vec![first.clone()],
        needs: &[FIRST_HEADER],
        signs: &[FIRST_HEADER],
        event_type: Some("envelope-completed"),
        event_id: Some(EVENT_ID),
        ..Example::of(Provider::Docusign, "q3kF0JrY9bS7tYw2m1E5cXoPzVhGdLuNaRiTeQjKxUs=", body)
    };
    let second_of_two = Example {
        headers: vec![first, second],
        secret: "anotherKeyThatTheAccountHasBesides0123456789=",
        needs: &[],
        signs: &[SECOND_HEADER],
        ..one_key.clone()
    };
    vec![one_key, second_of_two]
}

#[test]
fn none_of_the_signatures_may_be_there_twice() {
    let mut example = examples().remove(1);
    example.headers.push((FIRST_HEADER, "anything".to_owned()));
    let reason = example.verify().unwrap_err().reason;
    assert_eq!(reason, Reason::DuplicateHeader { name: FIRST_HEADER.to_owned() });
}

#[test]
fn the_numbers_may_have_gaps_and_other_names_count_for_nothing() {
    let rename = |name: &'static str| {
        let mut example = examples().remove(0);
        example.headers[0].0 = name;
        example.verify().map_err(|rejection| rejection.reason)
    };
    assert_eq!(rename("x-docusign-signature-17"), Ok(()));
    let missing = Err(Reason::MissingHeader { name: FIRST_HEADER.to_owned() });
    assert_eq!(rename("x-docusign-signature-"), missing);
    assert_eq!(rename("x-docusign-signature-a"), missing);
}

#[test]
fn a_retry_bears_the_same_name() {
    let mut example = examples().remove(0);
    let body = String::from_utf8(example.body).unwrap();
    example.body = body.replace(r#""retryCount":0"#, r#""retryCount":2"#).into_bytes();
    let id = example.ask(|verifier, request| verifier.event_id(request));
    assert_eq!(id.as_deref(), Some(EVENT_ID));
}
