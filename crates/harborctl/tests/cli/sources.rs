use crate::run::User;
use crate::server::Server;

/// A source as the API shows it, with these fields besides.
fn source(besides: &str) -> String {
    format!(
        r#"{{"id":"src_1","ingest_url":"https://hooks.example.com/ingest/src_1","name":"acme",
        "provider":"generic-hmac","endpoint_id":"ep_1","rate_limit":{{"per_second":100,"burst":200}},
        "allowed_ips":["203.0.113.0/24"],"response":{{"status":202,"body":"ok","content_type":"text/plain"}},
        "algorithm":"sha512","header":"X-Acme",{besides}"rejected_count":3,
        "created_at":"2020-01-31T12:00:00.000Z","updated_at":"2020-01-31T12:00:00.000Z"}}"#
    )
}

#[test]
fn a_new_source_shows_its_address_first_and_its_secret_once() {
    let server = Server::always(201, &source(r#""secret":"s3cret-made","#));
    let user = User::of(&server.url);
    let ran = user.run(&["source", "create", "--name", "acme", "--provider", "generic-hmac"]).code(0);
    assert_eq!(
        ran.stdout,
        "ingest url         https://hooks.example.com/ingest/src_1\n\
         id                 src_1\n\
         name               acme\n\
         provider           generic-hmac\n\
         secret             s3cret-made\n\
         algorithm          sha512\n\
         header             X-Acme\n\
         endpoint           ep_1\n\
         rate limit         100/s, bursts of 200\n\
         allowed addresses  203.0.113.0/24\n\
         response           202, 2 bytes of text/plain\n\
         rejected           3\n\
         created            2020-01-31 12:00:00 UTC\n\
         updated            2020-01-31 12:00:00 UTC\n"
    );
    assert_eq!(ran.stderr, "the provider needs the ingest url\nthe secret is shown this once\n");
}

#[test]
fn every_flag_becomes_a_field() {
    let check = |words: &[&str], line: &str, body: &str| {
        let server = Server::always(404, "{}");
        User::of(&server.url).run_with(words, "s3cret\r\n").code(1);
        let asked = server.asked().remove(0);
        assert_eq!((asked.line.as_str(), asked.body.as_str()), (line, body), "{words:?}");
    };
    let words = "source create --name acme --provider generic-hmac --secret - --endpoint-id ep_1 \
        --rate-limit 100/s:200 --allowed-ip 203.0.113.7 --allowed-ip 10.0.0.0/8 --response-status 202 \
        --response-body ok --response-content-type text/plain --algorithm sha512 --header X-A \
        --encoding base64 --template {timestamp}.{body} --prefix v1= --timestamp-header X-T \
        --event-type-header X-Y --event-id-header X-I --timestamp-tolerance 8h";
    check(
        &words.split_whitespace().collect::<Vec<_>>(),
        "POST /v1/sources",
        concat!(
            r#"{"name":"acme","provider":"generic-hmac","secret":"s3cret","endpoint_id":"ep_1","#,
            r#""rate_limit":{"per_second":100,"burst":200},"allowed_ips":["203.0.113.7","10.0.0.0/8"],"#,
            r#""response":{"status":202,"body":"ok","content_type":"text/plain"},"algorithm":"sha512","#,
            r#""header":"X-A","encoding":"base64","template":"{timestamp}.{body}","prefix":"v1=","#,
            r#""timestamp_header":"X-T","event_type_header":"X-Y","event_id_header":"X-I","#,
            r#""timestamp_tolerance":"8h"}"#
        ),
    );
    check(
        &["source", "create", "--name", "n", "--provider", "meta", "--verify-token", "t"],
        "POST /v1/sources",
        r#"{"name":"n","provider":"meta","verify_token":"t"}"#,
    );
    check(
        &["source", "create", "--name", "n", "--provider", "basic", "--username", "hook"],
        "POST /v1/sources",
        r#"{"name":"n","provider":"basic","username":"hook"}"#,
    );
    check(
        &[
            "source",
            "update",
            "src_1",
            "--name",
            "n",
            "--response-status",
            "204",
            "--encoding",
            "hex",
            "--clear",
            "endpoint_id,allowed_ips",
            "--clear",
            "template",
        ],
        "PATCH /v1/sources/src_1",
        concat!(
            r#"{"name":"n","endpoint_id":null,"allowed_ips":null,"response":{"status":204},"#,
            r#""encoding":"hex","template":null}"#
        ),
    );
    check(
        &["source", "update", "src_1", "--allowed-ip", "10.0.0.0/8", "--clear", "response"],
        "PATCH /v1/sources/src_1",
        r#"{"allowed_ips":["10.0.0.0/8"],"response":null}"#,
    );
    check(
        &["source", "rotate-secret", "src_1", "--secret", "-", "--overlap", "0s"],
        "POST /v1/sources/src_1/rotate-secret",
        r#"{"secret":"s3cret","overlap":"0s"}"#,
    );
    check(&["source", "rotate-secret", "src_1"], "POST /v1/sources/src_1/rotate-secret", "{}");
    check(&["source", "get", "src_1"], "GET /v1/sources/src_1", "");
    check(&["source", "delete", "src_1"], "DELETE /v1/sources/src_1", "");
    check(&["source", "list", "--limit", "3"], "GET /v1/sources?limit=3", "");
    check(&["source", "rejections", "src_1", "--all"], "GET /v1/sources/src_1/rejections?limit=500", "");
}

#[test]
fn wrong_use_asks_nobody() {
    let server = Server::always(200, "{}");
    let user = User::of(&server.url);
    let check = |words: &[&str], expected: &str| {
        let ran = user.run(words).code(2);
        assert!(ran.stderr.contains(expected), "{words:?}: {}", ran.stderr);
    };
    check(&["source", "create", "--name", "n", "--provider", "paypal"], "possible values: stripe, github");
    check(&["source", "create", "--name", "n"], "--provider");
    check(&["source", "update", "src_1"], "nothing to change");
    check(&["source", "update", "src_1", "--secret", "s"], "unexpected argument");
    check(&["source", "update", "src_1", "--header", "X", "--clear", "header"], "set and cleared at once");
    check(&["source", "update", "src_1", "--algorithm", "md5"], "possible values: sha1, sha256");
    assert_eq!(server.lines(), [""; 0]);
}

#[test]
fn sources_are_listed_with_what_they_refused() {
    let server = Server::always(200, &format!(r#"{{"data":[{}],"next_cursor":null}}"#, source("")));
    let ran = User::of(&server.url).run(&["source", "list"]).code(0);
    assert_eq!(
        ran.stdout,
        "ID     NAME  PROVIDER      ENDPOINT  REJECTED  CREATED     INGEST URL\n\
         src_1  acme  generic-hmac  ep_1      3         2020-01-31  https://hooks.example.com/ingest/src_1\n"
    );
}

#[test]
fn rejections_say_why_and_programs_get_what_was_to_be_signed() {
    let server = Server::always(
        200,
        r#"{"data":[
            {"id":"rej_2","at":"2020-01-31T12:00:00.000Z","code":"signature_mismatch",
             "message":"no signature matches","header":null,"signed_text":"1.{}",
             "signed_text_encoding":"text","timestamp_age_s":2,"method":"POST","remote_address":"203.0.113.7","body_bytes":2},
            {"id":"rej_1","at":"2020-01-31T12:00:00.000Z","code":"missing_header",
             "message":"header x-a is missing","header":"x-a","signed_text":null,"signed_text_encoding":null,
             "timestamp_age_s":null,"method":"POST","remote_address":"2001:db8::1","body_bytes":0}],
            "next_cursor":null}"#,
    );
    let user = User::of(&server.url);
    let ran = user.run(&["source", "rejections", "src_1"]).code(0);
    assert_eq!(
        ran.stdout,
        "WHEN        CODE                MESSAGE                FROM         AGE\n\
         2020-01-31  signature_mismatch  no signature matches   203.0.113.7  2s\n\
         2020-01-31  missing_header      header x-a is missing  2001:db8::1  -\n"
    );
    assert_eq!(ran.stderr, "what was to be signed: --output json\n");
    let ran = user.run(&["source", "rejections", "src_1", "--output", "json"]).code(0);
    assert_eq!(ran.json()["data"][0]["signed_text"], "1.{}");
    let ran = user.run(&["source", "rejections", "src_1", "--output", "yaml"]).code(0);
    assert!(ran.stdout.contains("signed_text: \"1.{}\""), "{}", ran.stdout);
}

#[test]
fn a_rotated_secret_is_shown_with_the_end_of_the_old_one() {
    let server = Server::always(
        200,
        r#"{"id":"src_1","secret":"new","previous_secret_expires_at":"2020-01-31T12:00:00.000Z"}"#,
    );
    let ran = User::of(&server.url).run(&["source", "rotate-secret", "src_1"]).code(0);
    assert_eq!(
        ran.stdout,
        "source                  src_1\n\
         secret                  new\n\
         old one verifies until  2020-01-31 12:00:00 UTC\n"
    );
}

#[test]
fn providers_are_known_without_a_server() {
    let user = User::new();
    let ran = user.run(&["source", "providers"]).code(0);
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["PROVIDER", "SECRET", "FROM", "SECRET"]);
    assert!(lines[1].starts_with("stripe ") && lines[1].contains("the provider"), "{}", lines[1]);
    assert!(lines[2].starts_with("github ") && lines[2].contains("you"), "{}", lines[2]);
    let list = user.run(&["source", "providers", "--output", "json"]).code(0).json();
    let last = list["data"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["provider"], &last["secret_from"]), (&"none".into(), &"nobody".into()));
}
