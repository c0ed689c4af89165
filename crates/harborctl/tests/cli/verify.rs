use crate::run::{Ran, User};

/// When the requests of these tests were signed.
const SIGNED_AT: &str = "2023-11-14T22:13:20Z";
const BODY: &str = r#"{"id":"evt_1","type":"invoice.paid"}"#;
/// Of `BODY`, by Stripe's scheme, under `STRIPE_SECRET`.
const STRIPE_SIGNATURE: &str = "46dc069361a7691082640523fa33fe5d6c8c88d5f5e257cdf8cf11539d166595";
const STRIPE_SECRET: &str = "whsec_test_secret";
const GITHUB_SECRET: &str = "It's a Secret to Everybody";

fn stripe(body: &str) -> String {
    format!(
        "POST /ingest/src_1 HTTP/1.1\r\nHost: hooks.example.com\r\n\
         Stripe-Signature: t=1700000000,v1={STRIPE_SIGNATURE}\r\n\r\n{body}"
    )
}

/// Verifies a request in a file, with these words besides.
fn verify(request: impl AsRef<[u8]>, words: &[&str]) -> Ran {
    let user = User::new().file_of_bytes("request.http", request.as_ref());
    user.run(&[&["source", "verify", "--file", "request.http"], words].concat())
}

fn verify_stripe(request: &str, words: &[&str]) -> Ran {
    verify(request, &[&["--provider", "stripe", "--secret", STRIPE_SECRET], words].concat())
}

#[test]
fn a_true_request_is_verified() {
    let ran = verify_stripe(&stripe(BODY), &["--at", "2023-11-14T22:13:32Z"]).code(0);
    assert_eq!(
        ran.stdout,
        "verdict        verified\n\
         event type     invoice.paid\n\
         event id       evt_1\n\
         provider       stripe\n\
         url            POST https://hooks.example.com/ingest/src_1\n\
         body           36 bytes\n\
         at             2023-11-14 22:13:32 UTC\n\
         timestamp age  12s\n"
    );
    assert_eq!(ran.stderr, "");
    let json = verify_stripe(&stripe(BODY), &["--at", SIGNED_AT, "--output", "json"]).code(0).json();
    assert_eq!((&json["verdict"], &json["timestamp_age_s"]), (&"verified".into(), &0.into()));
    assert_eq!((&json["code"], &json["answer"]), (&serde_json::Value::Null, &serde_json::Value::Null));
}

#[test]
fn a_refusal_says_what_was_to_be_signed_and_exits_with_1() {
    let changed = stripe(&BODY.replace("paid", "void"));
    let ran = verify_stripe(&changed, &["--at", SIGNED_AT]).code(1);
    assert_eq!(
        ran.stdout,
        "verdict        refused\n\
         code           signature_mismatch\n\
         message        no signature matches\n\
         provider       stripe\n\
         url            POST https://hooks.example.com/ingest/src_1\n\
         body           36 bytes\n\
         at             2023-11-14 22:13:20 UTC\n\
         timestamp age  0s\n\
         \n\
         what was to be signed:\n\
         1700000000.{\"id\":\"evt_1\",\"type\":\"invoice.void\"}\n"
    );
    assert_eq!(ran.stderr, "error: the request is refused: no signature matches\n");
}

#[test]
fn every_refusal_of_stripe_has_its_reason() {
    let check = |request: &str, words: &[&str], expected: [serde_json::Value; 4]| {
        let words = [&["--provider", "stripe", "--output", "json"], words].concat();
        let report = verify(request, &words).code(1).json();
        let found = ["code", "header", "signed_text", "timestamp_age_s"].map(|name| report[name].clone());
        assert_eq!(found, expected, "{words:?}");
        assert_eq!(report["verdict"], "refused");
    };
    let text = format!("1700000000.{BODY}");
    let null = || serde_json::Value::Null;
    let wrong_secret = ["--secret", "whsec_another", "--at", SIGNED_AT];
    check(&stripe(BODY), &wrong_secret, ["signature_mismatch".into(), null(), text.into(), 0.into()]);
    let late = ["--secret", STRIPE_SECRET, "--at", "2023-11-14T22:20:00Z"];
    check(&stripe(BODY), &late, ["stale_timestamp".into(), null(), null(), 400.into()]);
    let early = ["--secret", STRIPE_SECRET, "--at", "2023-11-14T22:00:00Z"];
    check(&stripe(BODY), &early, ["stale_timestamp".into(), null(), null(), (-800).into()]);
    let now = ["--secret", STRIPE_SECRET];
    let unsigned = format!("POST / HTTP/1.1\nHost: h\n\n{BODY}");
    check(&unsigned, &now, ["missing_header".into(), "stripe-signature".into(), null(), null()]);
    let by_get = stripe(BODY).replace("POST", "GET");
    check(&by_get, &now, ["method_not_allowed".into(), null(), null(), null()]);

    let tolerant = ["--at", "2023-11-15T06:00:00Z", "--timestamp-tolerance", "8h"];
    verify_stripe(&stripe(BODY), &tolerant).code(0);
}

#[test]
fn neither_the_secret_nor_a_signature_is_ever_shown() {
    let changed = stripe(&BODY.replace("evt_1", "evt_2"));
    for format in ["table", "json", "yaml"] {
        let ran = verify_stripe(&changed, &["--at", SIGNED_AT, "--output", format]).code(1);
        let shown = format!("{}{}", ran.stdout, ran.stderr);
        // What the changed body would have to be signed with.
        let expected = "4030acd2f82dfad73d7ba7ef66740bcda551ba80361d434768b37a9b03a535e1";
        assert!(!shown.contains(STRIPE_SECRET) && !shown.contains(expected), "{shown}");
    }
}

#[test]
fn a_body_is_verified_byte_for_byte() {
    let words = ["--provider", "github", "--secret", GITHUB_SECRET, "--output", "json"];
    let request = |signature: &str, head: &str, body: &[u8]| {
        let head = format!(
            "POST /in HTTP/1.1\nHost: h\nX-Hub-Signature-256: sha256={signature}\nX-GitHub-Event: push\n\
             X-GitHub-Delivery: d-1\n{head}\n"
        );
        [head.as_bytes(), body].concat()
    };
    let hello = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let report = verify(request(hello, "", b"Hello, World!"), &words).code(0).json();
    assert_eq!((&report["event_type"], &report["event_id"]), (&"push".into(), &"d-1".into()));
    assert_eq!(report["timestamp_age_s"], serde_json::Value::Null);
    verify(request(hello, "", b"Hello, World!\n"), &words).code(1);

    let all: Vec<u8> = (0..=255).collect();
    let binary = "90ae8863901131b841e8cf5c484806df703b082fc7b3292552308ec3f3696956";
    verify(request(binary, "", &all), &words).code(0);
    let report = verify(request(hello, "", &all), &words).code(1).json();
    assert_eq!((&report["signed_text_encoding"], &report["body_bytes"]), (&"base64".into(), &256.into()));

    let longer = request(hello, "Content-Length: 13\n", b"Hello, World!\n");
    let report = verify(longer, &words).code(0).json();
    assert!(report["warnings"][0].as_str().unwrap().contains("the rest is left out"), "{report}");
    let ran = verify(request(hello, "Content-Length: 14\n", b"Hello, World!"), &words[..4]).code(0);
    assert!(ran.stdout.contains("warning     13 bytes follow the headers"), "{}", ran.stdout);
}

#[test]
fn a_described_scheme_is_verified_as_described() {
    let signature =
        "V9kPdbG/V31Ja7e0DCSwaCr5yO2BCY+u+YM5tgjOCf5q4L9xhFvralAKLExFE1/+tLplSHfyTyh9tUzI9/Epew==";
    let request = format!(
        "POST /in?a=1 HTTP/1.1\r\nHost: hooks.example.com\r\nX-Acme-Signature: v1={signature}\r\n\
         X-Acme-Time: 1700000000\r\nX-Acme-Topic: t1\r\nX-Acme-Id: i1\r\n\r\n{{\"order\":17}}"
    );
    let words = "--provider generic-hmac --secret k --algorithm sha512 --encoding base64 --prefix v1= \
        --header X-Acme-Signature --timestamp-header X-Acme-Time --event-type-header X-Acme-Topic \
        --event-id-header X-Acme-Id --template {timestamp}|{method}|{url}|{header:X-Acme-Topic}|{body} \
        --output json";
    let words: Vec<_> = words.split_whitespace().chain(["--at", SIGNED_AT]).collect();
    let report = verify(&request, &words).code(0).json();
    assert_eq!((&report["event_type"], &report["event_id"]), (&"t1".into(), &"i1".into()));

    let elsewhere = [words.as_slice(), &["--url", "https://other.example/in"]].concat();
    let report = verify(&request, &elsewhere).code(1).json();
    let text = "1700000000|POST|https://other.example/in|t1|{\"order\":17}";
    assert_eq!((&report["signed_text"], &report["url"]), (&text.into(), &"https://other.example/in".into()));
}

#[test]
fn a_handshake_says_what_would_be_answered() {
    let request = "POST /in HTTP/1.1\nHost: h\nX-Slack-Request-Timestamp: 1700000000\n\
         X-Slack-Signature: v0=8919e9d68e461a067551f726e4b9d1b2c5e75c201a244d86d9a7d1784aff4f9f\n\n\
         {\"type\":\"url_verification\",\"challenge\":\"c-1\"}";
    let ran = verify(request, &["--provider", "slack", "--secret", "s3cret", "--at", SIGNED_AT]).code(0);
    assert_eq!(
        ran.stdout,
        "verdict        handshake\n\
         answer         200 text/plain; charset=utf-8\n\
         provider       slack\n\
         url            POST https://h/in\n\
         body           45 bytes\n\
         at             2023-11-14 22:13:20 UTC\n\
         timestamp age  0s\n\
         \n\
         answer:\n\
         c-1\n"
    );

    let request = |token: &str| {
        let query = format!("hub.mode=subscribe&hub.challenge=42&hub.verify_token={token}");
        format!("GET /in?{query} HTTP/1.1\nHost: h\n\n")
    };
    let words = ["--provider", "meta", "--secret", "app-secret", "--output", "json"];
    let with_token = [words.as_slice(), &["--verify-token", "t"]].concat();
    let report = verify(request("t"), &with_token).code(0).json();
    assert_eq!(report["answer"]["body"], "42");
    verify(request("app-secret"), &words).code(0);
    let report = verify(request("app-secret"), &with_token).code(1).json();
    assert_eq!(report["code"], "credential_mismatch");
}

#[test]
fn wrong_use_exits_with_2() {
    let check = |request: &str, words: &[&str], expected: &str| {
        let ran = verify(request, words).code(2);
        assert!(ran.stderr.contains(expected) && ran.stdout.is_empty(), "{words:?}: {}", ran.stderr);
    };
    let good = ["--provider", "stripe", "--secret", STRIPE_SECRET];
    check("", &good, "request.http is no HTTP request: no blank line ends the headers");
    check(BODY, &good, "no blank line");
    check("POST / HTTP/1.1\nnonsense\n\n", &good, "line 2 must be a header");
    let request = stripe(BODY);
    check(&request, &["--provider", "stripe"], "--secret must be set");
    check(&request, &["--provider", "none", "--secret", "s"], "--secret must not be set");
    check(&request, &["--provider", "discord", "--secret", "s"], "--secret must be the application's");
    check(&request, &["--provider", "basic", "--secret", "s"], "--username must be set");
    check(&request, &["--provider", "lost", "--secret", "s"], "possible values: stripe");
    check(&request, &[good.as_slice(), &["--template", "x"]].concat(), "--template must not be set");
    check(&request, &[good.as_slice(), &["--timestamp-tolerance", "2d"]].concat(), "1s to 24h");
    check(
        &request,
        &[good.as_slice(), &["--timestamp-tolerance", "2x"]].concat(),
        "--timestamp-tolerance must",
    );
    check(&request, &[good.as_slice(), &["--url", "hooks.example.com"]].concat(), "a URL looks like");
    check(&request, &[good.as_slice(), &["--at", "noon"]].concat(), "a time looks like");
    let user = User::new();
    let words = ["source", "verify", "--provider", "stripe", "--secret", "-", "--file"];
    user.run(&[words.as_slice(), &["missing.http"]].concat()).code(2);
    let ran = user.run(&[words.as_slice(), &["-"]].concat()).code(2);
    assert!(ran.stderr.contains("stdin cannot hold both"), "{}", ran.stderr);
}

#[test]
fn stdin_holds_the_secret_or_the_request() {
    let user = User::new().file("request.http", &stripe(BODY));
    let words = ["source", "verify", "--provider", "stripe", "--at", SIGNED_AT];
    let of_file = ["--file", "request.http", "--secret", "-"];
    user.run_with(&[words.as_slice(), &of_file].concat(), &format!("{STRIPE_SECRET}\n")).code(0);
    let of_stdin = ["--file", "-", "--secret", STRIPE_SECRET];
    user.run_with(&[words.as_slice(), &of_stdin].concat(), &stripe(BODY)).code(0);
    let ran = user.run_with(&[words.as_slice(), &of_stdin].concat(), "nonsense").code(2);
    assert!(ran.stderr.contains("stdin is no HTTP request"), "{}", ran.stderr);
}
