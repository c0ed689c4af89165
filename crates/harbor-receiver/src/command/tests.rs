use bytes::Bytes;
use clap::{CommandFactory, Parser};
use http::{HeaderMap, Method};
use jiff::Timestamp;
use tokio::net::TcpListener;

use super::*;
use crate::request::Request;
use crate::verdict::{Verdict, Verdicts};

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    args: ReceiverArgs,
}

fn parse(flags: &[&str]) -> Result<ReceiverArgs, clap::Error> {
    Program::try_parse_from([&["receiver"], flags].concat()).map(|program| program.args)
}

/// The statuses of the first `count` answers to webhooks under these flags.
fn statuses(flags: &[&str], count: usize) -> Vec<u16> {
    let script = script(&parse(flags).unwrap());
    let request = Request {
        received_at: Timestamp::UNIX_EPOCH,
        method: Method::POST,
        path: "/".to_owned(),
        headers: HeaderMap::new(),
        body: Bytes::new(),
        signatures: Verdicts { standard: Verdict::Unchecked, harborhook: Verdict::Unchecked },
        status: None,
    };
    (0..count).map(|_| script.choose(&request).status.as_u16()).collect()
}

#[test]
fn flags_have_defaults_and_limits() {
    let args = parse(&[]).unwrap();
    assert_eq!(args.listen.to_string(), "127.0.0.1:8081");
    assert_eq!((args.status, args.fail_first, args.keep, args.delay), (200, 0, 1000, Duration::ZERO));

    for refused in [
        ["--status", "199"],
        ["--status", "600"],
        ["--fail-rate", "1.1"],
        ["--fail-rate", "-0.1"],
        ["--fail-rate", "NaN"],
        ["--keep", "1000001"],
        ["--delay", "soon"],
        ["--delay=-1s", "--json"],
        ["--quiet", "--json"],
    ] {
        assert!(parse(&refused).is_err(), "{refused:?}");
    }
}

#[test]
fn the_environment_names_three_of_them() {
    let named: Vec<_> = Program::command()
        .get_arguments()
        .filter_map(|arg| Some((arg.get_long()?.to_owned(), arg.get_env()?.to_str()?.to_owned())))
        .collect();
    let expected =
        [("secret", "ENDPOINT_SECRET"), ("fail-first", "FAIL_FIRST_N"), ("delay", "RESPONSE_DELAY_MS")];
    assert_eq!(named, expected.map(|(flag, variable)| (flag.to_owned(), variable.to_owned())));
}

#[test]
fn a_delay_has_a_unit_or_is_in_milliseconds() {
    let check = |text, expected| assert_eq!(parse_delay(text), Ok(expected), "{text}");
    check("0", Duration::ZERO);
    check("250", Duration::from_millis(250));
    check("250ms", Duration::from_millis(250));
    check("2s", Duration::from_secs(2));
    check("5m", Duration::from_secs(300));
}

#[test]
fn the_first_requests_fail_and_the_rest_get_the_status() {
    assert_eq!(statuses(&[], 2), [200, 200]);
    assert_eq!(statuses(&["--status", "410"], 2), [410, 410]);
    assert_eq!(statuses(&["--fail-first", "2"], 4), [500, 500, 200, 200]);
    assert_eq!(statuses(&["--fail-first", "1", "--status", "204"], 3), [500, 204, 204]);
}

#[test]
fn a_share_of_the_requests_fails_the_same_way_in_every_run() {
    let failures = |share| statuses(&["--fail-rate", share], 10_000).iter().filter(|&&s| s == 500).count();
    assert_eq!(failures("0.0"), 0);
    assert_eq!(failures("1.0"), 10_000);
    assert!((2_800..3_200).contains(&failures("0.3")), "{}", failures("0.3"));
    assert_eq!(failures("0.3"), failures("0.3"));
}

#[test]
fn arguments_show_no_secret() {
    let args = parse(&["--secret", "whsec_hunter2hunter2hunter2!"]).unwrap();
    assert!(!format!("{args:?}").contains("hunter2"));
    let error = settings(args).err().unwrap();
    assert!(!error.to_string().contains("hunter2"));
}

#[tokio::test]
async fn a_taken_port_is_named_and_an_error() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = run(parse(&["--listen", &address]).unwrap()).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot listen on {address}: ")), "{error}");
    assert!(error.ends_with("choose another address with --listen"), "{error}");
}

#[tokio::test]
async fn an_unusable_secret_is_an_error() {
    let error = run(parse(&["--listen", "127.0.0.1:0", "--secret", ""]).unwrap()).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot check signatures: secret is empty");
}
