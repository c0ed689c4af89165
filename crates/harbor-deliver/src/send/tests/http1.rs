//! What a receiver gets over HTTP/1.1, what is kept of its answer, and which connections are kept.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use harbor_model::attempt::ErrorClass;
use harbor_model::decide::classify::Outcome;
use http::HeaderValue;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::kit::{
    Accepted, Client, PATIENCE, Receiver, Script, assert_unreachable, loopback, round_trip, status,
};
use crate::send::Sender;
use crate::send::connect::{Connector, Progress};
use crate::send::connection::Connection;
use crate::send::pool::Pool;
use crate::send::settings::SendSettings;
use crate::send::target::{HostName, Place};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn answer(status: &str, body_bytes: usize) -> Bytes {
    let body = "b".repeat(body_bytes);
    format!("HTTP/1.1 {status}\r\ncontent-length: {body_bytes}\r\n\r\n{body}").into()
}

#[tokio::test]
async fn a_receiver_gets_the_request_as_it_was_made() {
    let receiver = Receiver::answering(OK).await;
    let client = Client::new();
    let mut request = client.request(&receiver.url());
    request.headers.insert("webhook-id", HeaderValue::from_static("evt_1"));
    // What only the connection may say is not taken from the caller.
    request.headers.insert("content-length", HeaderValue::from_static("999"));
    request.headers.insert("transfer-encoding", HeaderValue::from_static("chunked"));
    request.headers.insert("host", HeaderValue::from_static("inside"));

    let sent = client.sender.send(request).await;

    assert_eq!(sent.outcome, Outcome::Answered { status: 200, retry_after: None });
    assert_eq!(sent.error, None);
    assert_eq!(sent.response_body, "ok");
    assert_eq!(sent.response_headers, [("content-length".to_owned(), "2".to_owned())]);
    assert_eq!(sent.remote_address, Some(receiver.address));
    assert!(!sent.latency.is_zero());

    let requests = receiver.requests();
    let (head, body) = requests[0].split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<_> = head.lines().collect();
    assert_eq!(lines.remove(0), "POST /hooks?token=s3cret HTTP/1.1");
    lines.sort_unstable();
    let host = format!("host: {}", receiver.address);
    assert_eq!(lines, ["content-length: 7", &host, "webhook-id: evt_1"]);
    assert_eq!(body, "{\"n\":1}");
}

#[tokio::test]
async fn an_empty_body_has_a_length_too() {
    let receiver = Receiver::answering(OK).await;
    let client = Client::new();
    let mut request = client.request(&receiver.url());
    request.body = Bytes::new();
    assert_eq!(status(&client.sender.send(request).await), 200);
    assert!(receiver.requests()[0].contains("content-length: 0\r\n"));
}

#[tokio::test]
async fn requests_share_one_connection() {
    let kept = [
        Bytes::from_static(OK),
        Bytes::from_static(b"HTTP/1.1 204 No Content\r\n\r\n"),
        Bytes::from_static(
            b"HTTP/1.1 500 E\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\n0\r\nx: 1\r\n\r\n",
        ),
        // More than what is kept of a success, and still read to its end.
        answer("200 OK", 5000),
        answer("500 E", 16 * 1024),
    ];
    for answer in kept {
        let receiver = Receiver::answering(answer.clone()).await;
        let client = Client::new();
        for _ in 0..20 {
            client.post(&receiver.url()).await;
        }
        assert_eq!((receiver.connections(), receiver.requests().len()), (1, 20), "{:?}", &answer[..20]);
    }
}

#[tokio::test]
async fn concurrent_requests_use_and_keep_as_many_connections() {
    let receiver = Receiver::answering(OK).await;
    let client = Client::new();
    let url = receiver.url();
    for _ in 0..5 {
        let (a, b, c) = tokio::join!(client.post(&url), client.post(&url), client.post(&url));
        assert_eq!([status(&a), status(&b), status(&c)], [200; 3]);
    }
    assert_eq!(receiver.connections(), 3);
}

#[tokio::test]
async fn no_more_idle_connections_are_kept_than_allowed() {
    let settings = SendSettings { idle_per_host_max: 1, ..SendSettings::default() };
    let receiver = Receiver::answering(OK).await;
    let client = Client::with(settings, Script::new(&[]));
    let url = receiver.url();
    for _ in 0..2 {
        let (a, b) = tokio::join!(client.post(&url), client.post(&url));
        assert_eq!([status(&a), status(&b)], [200; 2]);
    }
    assert_eq!(receiver.connections(), 3);
}

#[tokio::test]
async fn a_connection_is_not_reused_against_the_word_of_its_receiver() {
    for header in ["connection: close", "keep-alive: timeout=1", "Keep-Alive: max=9, timeout=0"] {
        let receiver =
            Receiver::answering(format!("HTTP/1.1 200 OK\r\n{header}\r\ncontent-length: 0\r\n\r\n")).await;
        let client = Client::new();
        for _ in 0..3 {
            assert_eq!(status(&client.post(&receiver.url()).await), 200);
        }
        assert_eq!(receiver.connections(), 3, "{header}");
    }
}

#[tokio::test]
async fn a_connection_that_grew_old_is_not_reused() {
    let aged = SendSettings { connection_age_max: Duration::from_nanos(1), ..SendSettings::default() };
    let unkept = SendSettings { idle_timeout: Duration::ZERO, ..SendSettings::default() };
    for settings in [aged, unkept] {
        let receiver = Receiver::answering(OK).await;
        let client = Client::with(settings, Script::new(&[]));
        client.post(&receiver.url()).await;
        client.post(&receiver.url()).await;
        assert_eq!(receiver.connections(), 2);
    }
}

/// A receiver that answers nothing and says when one of its connections is closed.
async fn telling() -> (Receiver, mpsc::UnboundedReceiver<()>) {
    let (closed, is_closed) = mpsc::unbounded_channel();
    let receiver = Receiver::start(move |accepted: Accepted| {
        let closed = closed.clone();
        async move {
            accepted.closed().await;
            closed.send(()).unwrap();
        }
    })
    .await;
    (receiver, is_closed)
}

#[tokio::test]
async fn a_sweep_closes_what_has_waited_too_long() {
    let (receiver, mut is_closed) = telling().await;
    let settings = SendSettings { idle_timeout: Duration::from_millis(50), ..SendSettings::default() };
    let connector = Connector::new(settings.clone(), Script::new(&[])).unwrap();
    let pool = Pool::new(&settings);
    let host = HostName::Address(receiver.address.ip());
    let place = Arc::new(Place { tls: false, host, port: receiver.address.port(), addresses: loopback() });
    let opened = connector.connect(&place, Instant::now() + PATIENCE, &mut Progress::default()).await;
    let Ok(Connection::Http1(connection)) = opened else { panic!("no HTTP/1.1 connection") };
    pool.put(&place, connection, None);

    pool.sweep();
    round_trip().await;
    assert!(is_closed.try_recv().is_err(), "a young connection is kept");

    tokio::time::sleep(settings.idle_timeout).await;
    pool.sweep();
    is_closed.recv().await.unwrap();
    assert!(pool.take(&place).is_none());
}

#[tokio::test]
async fn a_request_that_is_given_up_closes_its_connection() {
    let (receiver, mut is_closed) = telling().await;
    let client = Client::new();
    let url = receiver.url();
    tokio::select! {
        sent = client.post(&url) => panic!("nobody answered, but {sent:?}"),
        () = async { while receiver.connections() == 0 { tokio::task::yield_now().await } } => {}
    }
    is_closed.recv().await.unwrap();
}

#[tokio::test]
async fn a_connection_closed_while_idle_costs_no_attempt() {
    let (closed, mut is_closed) = mpsc::unbounded_channel();
    let receiver = Receiver::start(move |mut accepted: Accepted| {
        let closed = closed.clone();
        async move {
            accepted.request().await;
            accepted.write(OK).await;
            drop(accepted);
            closed.send(()).unwrap();
        }
    })
    .await;
    let client = Client::new();
    for _ in 0..5 {
        assert_eq!(status(&client.post(&receiver.url()).await), 200);
        is_closed.recv().await.unwrap();
        round_trip().await;
    }
    assert_eq!(receiver.connections(), 5);
}

#[tokio::test]
async fn a_request_that_may_have_been_received_is_never_repeated() {
    let receiver = Receiver::start(|mut accepted: Accepted| async move {
        accepted.request().await;
        accepted.write(OK).await;
        // Takes the second request and closes without an answer.
        accepted.request().await;
    })
    .await;
    let client = Client::new();
    assert_eq!(status(&client.post(&receiver.url()).await), 200);

    let sent = client.post(&receiver.url()).await;

    assert_unreachable(&sent, ErrorClass::ConnectionReset, "connection closed before the answer");
    assert_eq!((receiver.connections(), receiver.requests().len()), (1, 2));
}

#[tokio::test]
async fn bytes_that_nobody_asked_for_end_the_connection() {
    let receiver = Receiver::answering([OK, OK].concat()).await;
    let client = Client::new();
    for _ in 0..3 {
        assert_eq!(status(&client.post(&receiver.url()).await), 200);
    }
    assert_eq!(receiver.connections(), 3);
}

#[tokio::test]
async fn the_beginning_of_a_body_is_kept() {
    let check = async |answer: Bytes, kept: usize| {
        let receiver = Receiver::answering(answer.clone()).await;
        let sent = Client::new().post(&receiver.url()).await;
        assert_eq!(sent.response_body.len(), kept, "{:?}", &answer[..20]);
        assert!(sent.response_body.iter().all(|b| *b == b'b'));
    };
    check(answer("200 OK", 10), 10).await;
    check(answer("200 OK", 5000), 1024).await;
    check(answer("200 OK", 1_000_000), 1024).await;
    check(answer("500 E", 5000), 5000).await;
    check(answer("302 F", 20_000), 16 * 1024).await;
    check(answer("500 E", 1_000_000), 16 * 1024).await;
}

#[tokio::test]
async fn a_redirect_is_an_answer() {
    let elsewhere = Receiver::answering(OK).await;
    let location = format!("HTTP/1.1 307 T\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", elsewhere.url());
    let receiver = Receiver::answering(location).await;

    let sent = Client::new().post(&receiver.url()).await;

    assert_eq!(status(&sent), 307);
    let location = format!("http://{}/hooks", elsewhere.address);
    assert!(sent.response_headers.contains(&("location".to_owned(), location)));
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn retry_after_is_read_by_our_clock() {
    let check = async |value: &str, expected| {
        let answer = format!("HTTP/1.1 429 T\r\nretry-after: {value}\r\ncontent-length: 0\r\n\r\n");
        let sent = Client::new().post(&Receiver::answering(answer).await.url()).await;
        assert_eq!(sent.outcome, Outcome::Answered { status: 429, retry_after: expected }, "{value}");
    };
    check("30", Some(Duration::from_secs(30))).await;
    check("Sun, 06 Nov 1994 08:49:47 GMT", Some(Duration::from_secs(10))).await;
    check("Sun, 06 Nov 1994 08:49:27 GMT", Some(Duration::ZERO)).await;
    // A year is the longest wait that is understood; a policy's `max_delay` is shorter.
    check("999999999", Some(Duration::from_secs(366 * 24 * 60 * 60))).await;
    for garbage in ["-1", "soon", "1e9", "\u{661}", "1, 2"] {
        check(garbage, None).await;
    }
}

#[tokio::test]
async fn interim_answers_are_skipped() {
    let answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 202 A\r\ncontent-length: 0\r\n\r\n";
    let receiver = Receiver::answering(&answer[..]).await;
    assert_eq!(status(&Client::new().post(&receiver.url()).await), 202);
}

#[tokio::test]
async fn a_large_body_arrives_whole() {
    let receiver = Receiver::answering(OK).await;
    let client = Client::new();
    let mut request = client.request(&receiver.url());
    request.body = "p".repeat(4 * 1024 * 1024).into();
    assert_eq!(status(&client.sender.send(request).await), 200);
    assert!(receiver.requests()[0].ends_with(&"p".repeat(4 * 1024 * 1024)));
}
