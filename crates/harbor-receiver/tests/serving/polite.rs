//! What a polite receiver keeps, checks and answers.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::Timestamp;
use tokio::net::{TcpListener, TcpStream};

use harbor_receiver::{Answer, Receiver, Script, Settings, TimedOut, Verdict};
use harbor_signature::{SigningKey, VerifyError, harborhook, standard};

use crate::client::{LONG, post, read_all, send, send_as, split};

const SECRET: &str = "a secret of the receiver's own";
const NOW: i64 = 1_700_000_000;

async fn start(settings: Settings) -> Receiver {
    Receiver::start(settings).await.unwrap()
}

async fn scripted(script: Script) -> Receiver {
    start(Settings { script, ..Settings::default() }).await
}

/// A receiver with a secret, for whom it is always `NOW`.
async fn checking(script: Script) -> Receiver {
    start(Settings {
        keys: vec![SigningKey::parse(SECRET).unwrap()],
        clock: Box::new(|| Timestamp::from_second(NOW).unwrap()),
        script,
        ..Settings::default()
    })
    .await
}

/// Sends a webhook signed by both schemes.
async fn post_signed(receiver: &Receiver, secret: &str, sent: i64, body: &[u8]) -> u16 {
    let keys = [SigningKey::parse(secret).unwrap()];
    let timestamp = sent.to_string();
    let headers = [
        (standard::ID_HEADER, "evt_1"),
        (standard::TIMESTAMP_HEADER, &timestamp),
        (standard::SIGNATURE_HEADER, &standard::sign(&keys, "evt_1", sent, body)),
        (harborhook::TIMESTAMP_HEADER, &timestamp),
        (harborhook::SIGNATURE_HEADER, &harborhook::sign(&keys, sent, body)),
    ];
    post(receiver, &headers, body).await
}

async fn get_json(receiver: &Receiver, path: &str) -> serde_json::Value {
    let answer = read_all(send_as(receiver, "GET", path, &[], b"").await).await;
    let (status, body) = split(&answer);
    assert_eq!(status, 200);
    assert!(answer.contains("content-type: application/json\r\n"));
    serde_json::from_str(body).unwrap()
}

#[tokio::test]
async fn keeps_a_request_as_it_came() {
    let receiver = scripted(Script::always(204)).await;
    let body = b"{ \"a\": 1.10, \"a\": 20000000000000000001 }\xff\n";
    let headers = [
        ("webhook-id", "evt_1"),
        ("X-Harborhook-Event-Type", "invoice.paid"),
        ("x-harborhook-attempt", "3"),
        ("x-twice", "one"),
        ("x-twice", "two"),
    ];
    assert_eq!(post(&receiver, &headers, body).await, 204);

    let requests = receiver.wait_for(1, LONG).await.unwrap();
    let request = &requests[0];
    assert_eq!(request.body, Bytes::from_static(body));
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/hook?a=1"));
    assert_eq!(request.webhook_id(), Some("evt_1"));
    assert_eq!(request.event_type(), Some("invoice.paid"));
    assert_eq!(request.attempt(), Some(3));
    assert_eq!(request.headers.get_all("x-twice").iter().collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(request.status.unwrap(), 204);
    assert_eq!(request.signatures.standard, Verdict::Unchecked);
}

#[tokio::test]
async fn each_webhook_goes_its_own_way_through_the_script() {
    let busy = Answer::from(503).header("retry-after", "7").body("later");
    let receiver = scripted(Script::per_webhook([Answer::from(500), busy, Answer::from(200)])).await;
    let a = [("webhook-id", "evt_a")];
    let b = [("webhook-id", "evt_b")];

    assert_eq!(post(&receiver, &a, b"").await, 500);
    let second = read_all(send(&receiver, &a, b"").await).await;
    assert_eq!(split(&second), (503, "later"));
    assert!(second.contains("retry-after: 7\r\n"));
    assert_eq!(post(&receiver, &b, b"").await, 500);
    assert_eq!(post(&receiver, &a, b"").await, 200);
    assert_eq!(post(&receiver, &a, b"").await, 200);
    assert_eq!(post(&receiver, &b, b"").await, 503);
}

#[tokio::test]
async fn a_script_may_look_at_the_request_and_be_replaced() {
    let receiver = scripted(Script::by(|request| match request.path.as_str() {
        "/hook?a=1" => 418.into(),
        _ => 200.into(),
    }))
    .await;
    assert_eq!(post(&receiver, &[], b"").await, 418);
    receiver.set_script(Script::always(Answer::redirect("http://elsewhere.test/")));
    let answer = read_all(send(&receiver, &[], b"").await).await;
    assert_eq!(split(&answer).0, 302);
    assert!(answer.contains("location: http://elsewhere.test/\r\n"));
}

#[tokio::test]
async fn an_answer_waits_for_its_delay() {
    let delay = Duration::from_millis(120);
    let receiver = scripted(Script::always(Answer::from(200).delay(delay))).await;
    let begun = std::time::Instant::now();
    assert_eq!(post(&receiver, &[], b"").await, 200);
    assert!(begun.elapsed() >= delay);
}

#[tokio::test]
async fn a_good_signature_passes() {
    let receiver = checking(Script::always(200)).await;
    assert_eq!(post_signed(&receiver, SECRET, NOW, b"{}").await, 200);
    let signatures = receiver.requests()[0].signatures;
    assert_eq!((signatures.standard, signatures.harborhook), (Verdict::Valid, Verdict::Valid));
}

#[tokio::test]
async fn a_bad_an_old_and_no_signature_are_refused_and_take_no_step_of_the_script() {
    let receiver = checking(Script::per_webhook([500, 200])).await;
    let stale = Verdict::Invalid(VerifyError::StaleTimestamp { age_s: 301 });

    assert_eq!(post_signed(&receiver, "another secret altogether", NOW, b"{}").await, 401);
    assert_eq!(post_signed(&receiver, SECRET, NOW - 301, b"{}").await, 401);
    assert_eq!(post(&receiver, &[("webhook-id", "evt_1")], b"{}").await, 401);
    assert_eq!(post_signed(&receiver, SECRET, NOW, b"{}").await, 500);

    let verdicts: Vec<_> = receiver.requests().iter().map(|request| request.signatures.standard).collect();
    assert_eq!(verdicts, [Verdict::Invalid(VerifyError::NoMatch), stale, Verdict::Missing, Verdict::Valid]);
}

#[tokio::test]
async fn lists_requests_as_json_newest_first_and_forgets_them() {
    let receiver = start(Settings {
        keep: 2,
        clock: Box::new(|| Timestamp::from_second(NOW).unwrap()),
        ..Settings::default()
    })
    .await;
    for body in [&b"dropped"[..], br#"{"text": "\u00e9"}"#, b"\xff\x00"] {
        post(&receiver, &[("x-twice", "one"), ("x-twice", "two")], body).await;
    }
    let headers = |length: &str| {
        serde_json::json!({
            "connection": "close", "content-length": length, "host": "test", "x-twice": "one, two",
        })
    };
    let expected = serde_json::json!({
        "data": [
            {
                "received_at": "2023-11-14T22:13:20.000Z",
                "method": "POST",
                "path": "/hook?a=1",
                "headers": headers("2"),
                "body_base64": "/wA=",
                "status": 200,
                "standard_signature": "unchecked",
                "harborhook_signature": "unchecked",
            },
            {
                "received_at": "2023-11-14T22:13:20.000Z",
                "method": "POST",
                "path": "/hook?a=1",
                "headers": headers("18"),
                "body": r#"{"text": "\u00e9"}"#,
                "status": 200,
                "standard_signature": "unchecked",
                "harborhook_signature": "unchecked",
            },
        ],
        "total": 3,
    });
    assert_eq!(get_json(&receiver, "/requests").await, expected);

    let cleared = read_all(send_as(&receiver, "DELETE", "/requests", &[], b"").await).await;
    assert_eq!(split(&cleared).0, 204);
    assert_eq!(get_json(&receiver, "/requests").await, serde_json::json!({"data": [], "total": 0}));
}

#[tokio::test]
async fn its_own_pages_are_not_webhooks_but_a_post_to_them_is() {
    let receiver = scripted(Script::always(202)).await;
    assert_eq!(get_json(&receiver, "/healthz").await, serde_json::json!({"status": "ok"}));
    assert_eq!(receiver.total(), 0);

    let answer = read_all(send_as(&receiver, "POST", "/requests", &[], b"").await).await;
    assert_eq!(split(&answer).0, 202);
    assert_eq!(receiver.total(), 1);
}

#[tokio::test]
async fn another_method_is_refused_and_kept() {
    let receiver = scripted(Script::always(200)).await;
    let answer = read_all(send_as(&receiver, "GET", "/hook", &[], b"").await).await;
    assert_eq!(split(&answer).0, 405);
    assert!(answer.contains("allow: POST\r\n"));
    assert_eq!(receiver.requests()[0].method, "GET");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let receiver = start(Settings { body_bytes_max: 4, ..Settings::default() }).await;
    assert_eq!(post(&receiver, &[], b"1234").await, 200);
    assert_eq!(post(&receiver, &[], b"12345").await, 413);
    assert_eq!(receiver.total(), 1);
}

#[tokio::test]
async fn waiting_ends_with_the_request_or_in_time() {
    let receiver = start(Settings { keep: 0, ..Settings::default() }).await;
    let (waited, _) = tokio::join!(receiver.wait_for(1, LONG), post(&receiver, &[], b"x"));
    assert_eq!(waited.unwrap().len(), 0, "nothing is kept");

    let waited = Duration::from_millis(10);
    let late = receiver.wait_for(2, waited).await.unwrap_err();
    assert_eq!(late, TimedOut { wanted: 2, received: 1, waited });
}

#[tokio::test]
async fn observers_see_the_status_that_was_chosen() {
    let (sender, receiver_of_statuses) = std::sync::mpsc::channel();
    let receiver = start(Settings {
        script: Script::per_webhook([500, 200]),
        observer: Some(Box::new(move |request| sender.send(request.status.unwrap().as_u16()).unwrap())),
        ..Settings::default()
    })
    .await;
    post(&receiver, &[], b"").await;
    post(&receiver, &[], b"").await;
    receiver.shutdown().await;
    assert_eq!(receiver_of_statuses.iter().collect::<Vec<_>>(), [500, 200]);
}

#[tokio::test]
async fn speaks_http_2_too() {
    let receiver = scripted(Script::always(Answer::from(503).body("later"))).await;
    let stream = TcpStream::connect(receiver.address()).await.unwrap();
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let request = http::Request::post(receiver.url()).body(Full::new(Bytes::from_static(b"body"))).unwrap();
    let exchange = async {
        let response = client.send_request(request).await.unwrap();
        drop(client);
        response.status()
    };
    let (status, ended) = tokio::join!(exchange, connection);
    ended.unwrap();
    assert_eq!(status, 503);
    assert_eq!(receiver.requests()[0].body, "body");
}

#[tokio::test]
async fn a_shutdown_lets_answers_finish_and_frees_the_port() {
    let receiver = scripted(Script::always(Answer::from(200).delay(Duration::from_millis(50)))).await;
    let address = receiver.address();
    let stream = send(&receiver, &[], b"").await;
    receiver.wait_for(1, LONG).await.unwrap();
    receiver.shutdown().await;

    assert_eq!(split(&read_all(stream).await).0, 200);
    TcpListener::bind(address).await.unwrap();
}
