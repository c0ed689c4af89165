use std::time::Duration;

use harbor_model::source::Provider;

use super::*;
use crate::source::Verifier;
use crate::source::example::Example;

const SECRET: &str = "the owner's secret";
const BODY: &[u8] = br#"{"order":17}"#;

/// Made by `hmac` of Python's standard library.
pub(crate) fn examples() -> Vec<Example> {
    let plain = Example {
        headers: vec![(
            HEADER,
            "7548e77b8bd7d3422ae6a7b82bfac17642b0d21b186f782563dc7ef15fdd03cf".to_owned(),
        )],
        needs: &[HEADER],
        signs: &[HEADER],
        ..Example::of(Provider::GenericHmac, SECRET, BODY)
    };
    let signature =
        "v1=v/GC7nlt+ZRKXb2/4zaexOXKqdvYq2Ovn5nq0+66iSlYA4KBHWLu42quFPIoh/eTXuf0g37xvv3SQoEf1YjbZQ==";
    let elaborate = Example {
        options: SourceOptions {
            algorithm: Some(Algorithm::Sha512),
            header: Some("X-Acme-Signature".to_owned()),
            encoding: Some(Encoding::Base64),
            template: Some("{timestamp}.{method}.{url}.{body}".to_owned()),
            prefix: Some("v1=".to_owned()),
            timestamp_header: Some("X-Acme-Time".to_owned()),
            event_type_header: Some("X-Acme-Topic".to_owned()),
            event_id_header: Some("X-Acme-Id".to_owned()),
            ..SourceOptions::default()
        },
        headers: vec![
            ("x-acme-signature", signature.to_owned()),
            ("x-acme-time", "1700000000123".to_owned()),
            ("x-acme-topic", "order.paid".to_owned()),
            ("x-acme-id", "17-3".to_owned()),
        ],
        needs: &["x-acme-signature", "x-acme-time"],
        signs: &["x-acme-signature", "x-acme-time"],
        signs_url: true,
        grows_stale: true,
        event_type: Some("order.paid"),
        event_id: Some("17-3"),
        ..Example::of(Provider::GenericHmac, SECRET, BODY)
    };
    vec![plain, elaborate]
}

#[test]
fn every_algorithm_passes_with_its_name_before_it_or_without() {
    let check = |algorithm, signature: &str| {
        let mut example = examples().remove(0);
        example.options.algorithm = Some(algorithm);
        for value in [signature.to_owned(), format!("{}={signature}", algorithm.as_str())] {
            *example.header_mut(HEADER) = value;
            assert_eq!(example.verify(), Ok(()), "{example:?}");
        }
        *example.header_mut(HEADER) = format!("md5={signature}");
        assert_eq!(example.verify().unwrap_err().reason, Reason::SignatureMismatch);
    };
    check(Algorithm::Sha1, "bc0692c2d351fbe3659dcecb31d1e688d7d6b1ab");
    check(
        Algorithm::Sha384,
        "e2bb5c9b9fb0d4e4ddd89932589045f14d40fe22180a69650c10d37795c4edb59752b90a7ad2e9b56925dc36c69e811b",
    );
    check(
        Algorithm::Sha512,
        "81d1bcfd5cbf04cad4e823286d544c6d55ca142f06f4129f9231a0e0f5312cbd7c9f645b9bb0a58de3b903c8e087bb1e0286d867fdbcf87ee684cf85eee039ad",
    );
}

#[test]
fn a_template_must_make_sense() {
    let check = |template: &str, expected: Result<usize, &str>| {
        let pieces = parse_template(template).map(|pieces| pieces.len());
        match expected {
            Ok(count) => assert_eq!(pieces, Ok(count), "{template}"),
            Err(rule) => assert!(pieces.unwrap_err().contains(rule), "{template}"),
        }
    };
    check("{body}", Ok(1));
    check("v0:{timestamp}:{body}", Ok(4));
    check("{method}{url}{header:X-Id}{body}", Ok(4));
    check("{timestamp}", Err("must have {body}"));
    check("{body", Err("close"));
    check("{body}{what}", Err("not {what}"));
    check("{body}{header:a b}", Err("must name"));
    check(&format!("{{body}}{}", "x".repeat(1024)), Err("1024"));
}

#[test]
fn an_option_that_would_change_nothing_is_refused() {
    let check = |provider, options: SourceOptions, field: &str| {
        let refused = Verifier::new(provider, &options).err().map(|error| error.field);
        assert_eq!(refused, Some(field), "{options:?}");
    };
    let stamped = SourceOptions { timestamp_header: Some("x-time".to_owned()), ..SourceOptions::default() };
    check(Provider::GenericHmac, stamped, "template");
    let template =
        SourceOptions { template: Some("{timestamp}{body}".to_owned()), ..SourceOptions::default() };
    check(Provider::GenericHmac, template.clone(), "timestamp_header");
    check(Provider::Stripe, template, "template");
    let header = SourceOptions { header: Some("a b".to_owned()), ..SourceOptions::default() };
    check(Provider::GenericHmac, header.clone(), "header");
    check(Provider::ApiKey, header.clone(), "header");
    check(Provider::Github, header, "header");
    check(
        Provider::GenericHmac,
        SourceOptions { prefix: Some(String::new()), ..SourceOptions::default() },
        "prefix",
    );
    let tolerance =
        SourceOptions { timestamp_tolerance: Some(Duration::from_secs(60)), ..SourceOptions::default() };
    check(Provider::Github, tolerance.clone(), "timestamp_tolerance");
    check(Provider::GenericHmac, tolerance, "timestamp_tolerance");
    let days =
        SourceOptions { timestamp_tolerance: Some(Duration::from_secs(86_401)), ..SourceOptions::default() };
    check(Provider::Stripe, days, "timestamp_tolerance");
    check(Provider::Basic, SourceOptions::default(), "username");
    check(
        Provider::Basic,
        SourceOptions { username: Some("a:b".to_owned()), ..SourceOptions::default() },
        "username",
    );
}
