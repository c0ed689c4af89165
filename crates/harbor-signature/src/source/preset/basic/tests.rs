use harbor_model::source::Provider;

use super::*;
use crate::source::example::Example;

const SECRET: &str = "the owner's secret";

/// Made by `base64` of Python's standard library.
pub(crate) fn examples() -> Vec<Example> {
    vec![Example {
        options: SourceOptions { username: Some("hook".to_owned()), ..SourceOptions::default() },
        headers: vec![(HEADER, "Basic aG9vazp0aGUgb3duZXIncyBzZWNyZXQ=".to_owned())],
        needs: &[HEADER],
        signs_body: false,
        ..Example::of(Provider::Basic, SECRET, b"anything")
    }]
}

#[test]
fn name_and_password_must_both_be_right() {
    let check = |value: String, passes: bool| {
        let mut example = examples().remove(0);
        *example.header_mut(HEADER) = value;
        assert_eq!(example.verify().is_ok(), passes, "{example:?}");
    };
    let basic = |pair: &str| format!("Basic {}", BASE64_STANDARD.encode(pair));
    check(basic(&format!("hook:{SECRET}")), true);
    check(basic(&format!("hook:{SECRET}")).replace("Basic", "basic"), true);
    check(basic(&format!("Hook:{SECRET}")), false);
    check(basic(&format!("hook:{SECRET}!")), false);
    check(basic("hook"), false);
    check(basic(""), false);
    check(format!("Bearer {SECRET}"), false);
    check("Basic ?".to_owned(), false);
    check("Basic".to_owned(), false);
}
