use harbor_model::source::Provider;

use super::*;
use crate::source::example::Example;

const SECRET: &str = "the owner's secret";

/// The key itself, which is the whole scheme.
pub(crate) fn examples() -> Vec<Example> {
    let plain = Example {
        headers: vec![(HEADER, SECRET.to_owned())],
        needs: &[HEADER],
        signs: &[HEADER],
        signs_body: false,
        ..Example::of(Provider::ApiKey, SECRET, b"anything")
    };
    let bearer = Example {
        options: SourceOptions { header: Some("Authorization".to_owned()), ..SourceOptions::default() },
        headers: vec![("authorization", format!("Bearer {SECRET}"))],
        needs: &["authorization"],
        signs: &["authorization"],
        ..plain.clone()
    };
    vec![plain, bearer]
}

#[test]
fn the_header_with_the_key_is_a_credential() {
    let [plain, bearer] = examples().try_into().unwrap();
    assert!(plain.verifier().is_credential("x-api-key") && !plain.verifier().is_credential("authorization"));
    assert!(bearer.verifier().is_credential("authorization"));
}
