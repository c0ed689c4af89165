//! Receivers that are slow, broken or hostile: each costs at most the timeout and little memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use harbor_model::attempt::ErrorClass;
use harbor_model::decide::classify::Outcome;
use tokio::net::TcpListener;

use super::kit::{Accepted, Client, Receiver, Script, TIMEOUT, assert_unreachable, status};
use crate::send::Sender;
use crate::send::resolve::Resolve;
use crate::send::settings::SendSettings;

/// Answers the first request with `head` and then writes `chunk` until the sender closes.
async fn endless(head: &'static str, chunk: &'static str) -> (Receiver, Arc<AtomicUsize>) {
    let written = Arc::new(AtomicUsize::new(0));
    let count = written.clone();
    let receiver = Receiver::start(move |mut accepted: Accepted| {
        let count = count.clone();
        async move {
            accepted.request().await;
            accepted.write(head.as_bytes()).await;
            while accepted.write(chunk.as_bytes()).await {
                count.fetch_add(chunk.len(), Ordering::SeqCst);
                tokio::task::yield_now().await;
            }
        }
    })
    .await;
    (receiver, written)
}

/// Answers the first request with `head` and then writes `more` now and then.
async fn trickling(head: &'static str, more: &'static [u8]) -> Receiver {
    Receiver::start(move |mut accepted: Accepted| async move {
        accepted.request().await;
        accepted.write(head.as_bytes()).await;
        while accepted.write(more).await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

#[tokio::test]
async fn silence_ends_at_the_timeout() {
    let receiver = Receiver::start(|accepted: Accepted| accepted.closed()).await;
    let began = Instant::now();

    let sent = Client::new().timeout(TIMEOUT).post(&receiver.url()).await;

    assert_unreachable(&sent, ErrorClass::Timeout, "no answer within 200ms");
    assert!((TIMEOUT..TIMEOUT * 10).contains(&began.elapsed()));
    assert!(sent.latency >= TIMEOUT);
    assert_eq!(sent.remote_address, Some(receiver.address));
}

#[tokio::test]
async fn a_trickled_head_ends_at_the_timeout() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\n";
    for (head, more) in [("HTT", ""), ("HTTP/1.1 200 OK\r\nx: ", "x"), (interim, interim)] {
        let receiver = trickling(head, more.as_bytes()).await;
        let sent = Client::new().timeout(TIMEOUT).post(&receiver.url()).await;
        assert_unreachable(&sent, ErrorClass::Timeout, "no answer within 200ms");
    }
}

#[tokio::test]
async fn the_status_decides_whatever_becomes_of_the_body() {
    let grace = SendSettings { body_grace: TIMEOUT, ..SendSettings::default() };
    for head in [
        "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nbegun",
        "HTTP/1.1 200 OK\r\n\r\nbegun",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nbegun\r\nfff\r\n",
    ] {
        let receiver = trickling(head, b"b").await;
        // The grace is shorter than the timeout, then the timeout is shorter than the grace.
        for client in [Client::with(grace.clone(), Script::new(&[])), Client::new().timeout(TIMEOUT)] {
            let began = Instant::now();
            let sent = client.post(&receiver.url()).await;
            assert_eq!(status(&sent), 200);
            assert!(sent.response_body.starts_with(b"begun"), "{sent:?}");
            assert!((TIMEOUT..TIMEOUT * 8).contains(&began.elapsed()), "{:?}", began.elapsed());
            assert!(sent.latency < TIMEOUT);
        }
        // An unfinished connection is closed, so the second request had one of its own.
        assert_eq!(receiver.connections(), 2);
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_kept_as_far_as_it_came() {
    for head in ["content-length: 100", "transfer-encoding: chunked"] {
        let receiver = Receiver::start(move |mut accepted: Accepted| async move {
            accepted.request().await;
            accepted.write(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n3\r\nabc\r\n").as_bytes()).await;
        })
        .await;
        let sent = Client::new().post(&receiver.url()).await;
        assert_eq!(status(&sent), 200);
        assert!(sent.response_body.ends_with(b"abc") || sent.response_body.ends_with(b"abc\r\n"), "{sent:?}");
    }
}

#[tokio::test]
async fn a_head_alone_decides() {
    for length in ["content-length: 100\r\n", "transfer-encoding: chunked\r\n", ""] {
        let closes_after_the_head = Receiver::start(move |mut accepted: Accepted| async move {
            accepted.request().await;
            accepted.write(format!("HTTP/1.1 503 E\r\n{length}\r\n").as_bytes()).await;
        })
        .await;
        let sent = Client::new().post(&closes_after_the_head.url()).await;
        assert_eq!((status(&sent), &sent.response_body[..]), (503, &b""[..]), "{length}");
    }
}

#[tokio::test]
async fn a_body_in_broken_chunks_changes_nothing() {
    for body in [
        "zz\r\nabc\r\n",
        "-1\r\nabc\r\n",
        "\r\n\r\n",
        "ffffffffffffffffffff\r\nabc",
        "3\r\nabcdef\r\n0\r\n\r\n",
        "0\r\nno trailer\r\n\r\n",
        "HTTP/1.1 500 E\r\n\r\n",
    ] {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        let receiver = Receiver::answering(format!("{head}{body}")).await;
        let client = Client::new();
        for connections in 1..=2 {
            assert_eq!(status(&client.post(&receiver.url()).await), 200, "{body:?}");
            assert_eq!(
                receiver.connections(),
                connections,
                "a broken connection is not used again: {body:?}"
            );
        }
    }
}

#[tokio::test]
async fn what_surrounds_chunks_is_bounded() {
    let filler = "x".repeat(64 * 1024).leak();
    let trailers = "x-filler: vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv\r\n".repeat(1000).leak();
    for (head, chunk) in [
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;", &*filler),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "1;e=xxxxxxxx\r\nb\r\n"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n", &*trailers),
    ] {
        let (receiver, written) = endless(head, chunk).await;
        assert_eq!(status(&Client::new().post(&receiver.url()).await), 200);
        assert!(written.load(Ordering::SeqCst) < 16 * 1024 * 1024);
    }
}

#[tokio::test]
async fn a_compressed_body_is_kept_as_it_is() {
    // The beginning of a stream that unpacks to a thousand times its size.
    let packed = [&b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xed\xc1\x01\x0d"[..], &[0; 1_000_000]].concat();
    let head =
        format!("HTTP/1.1 500 E\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", packed.len());
    let receiver = Receiver::answering([head.as_bytes(), &packed].concat()).await;
    let sent = Client::new().post(&receiver.url()).await;
    assert_eq!(sent.response_body, packed[..16 * 1024]);
    assert!(sent.response_headers.contains(&("content-encoding".to_owned(), "gzip".to_owned())));
    assert!(!receiver.requests()[0].to_lowercase().contains("accept-encoding"));
}

#[tokio::test]
async fn gigabytes_are_not_read() {
    let chunk = "b".repeat(64 * 1024).leak();
    for head in [
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 500 E\r\ncontent-length: 99999999999\r\n\r\n",
        "HTTP/1.1 500 E\r\ntransfer-encoding: chunked\r\n\r\nfffffffffff\r\n",
    ] {
        let (receiver, written) = endless(head, chunk).await;
        let sent = Client::new().post(&receiver.url()).await;
        assert!(sent.response_body.len() <= 16 * 1024);
        assert!(sent.response_body.len() >= 1024);
        // What the kernel takes into its buffers is not ours.
        assert!(written.load(Ordering::SeqCst) < 16 * 1024 * 1024);
    }
}

#[tokio::test]
async fn an_endless_head_is_not_read() {
    let value = "v".repeat(64 * 1024).leak();
    let lines =
        "x-filler: vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv\r\n".repeat(20).leak();
    for (head, chunk) in [("HTTP/1.1 200 OK\r\nx: ", value), ("HTTP/1.1 200 OK\r\n", lines)] {
        let (receiver, written) = endless(head, chunk).await;
        let sent = Client::new().post(&receiver.url()).await;
        assert_unreachable(&sent, ErrorClass::Protocol, "message head is too large");
        assert!(written.load(Ordering::SeqCst) < 16 * 1024 * 1024);
    }
}

#[tokio::test]
async fn an_endless_row_of_interim_answers_is_not_read() {
    for interim in ["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"] {
        let (receiver, written) = endless("", interim.repeat(1000).leak()).await;
        let began = Instant::now();
        let sent = Client::new().timeout(TIMEOUT).post(&receiver.url()).await;
        let allowed = [ErrorClass::Timeout, ErrorClass::Protocol].map(Outcome::Unreachable);
        assert!(allowed.contains(&sent.outcome), "{sent:?}");
        assert!(began.elapsed() < TIMEOUT * 10, "{:?}", began.elapsed());
        assert!(written.load(Ordering::SeqCst) < 16 * 1024 * 1024);
    }
}

#[tokio::test]
async fn a_redirect_into_our_network_is_not_followed() {
    for location in ["http://169.254.169.254/latest/meta-data/", "//127.0.0.1/", "http://shop.example/"] {
        let head = format!("HTTP/1.1 302 F\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
        let receiver = Receiver::answering(head).await;
        let names = Script::new(&[&["127.0.0.1"]]);
        let client = Client::with(SendSettings::default(), names.clone());

        let sent = client.post(&receiver.url()).await;

        assert_eq!((status(&sent), sent.remote_address), (302, Some(receiver.address)));
        assert!(sent.response_headers.contains(&("location".to_owned(), location.to_owned())));
        assert_eq!((receiver.connections(), names.asked.load(Ordering::SeqCst)), (1, 0));
    }
}

#[tokio::test]
async fn a_head_with_line_ends_inside_gives_no_second_answer() {
    for head in [
        "HTTP/1.1 200 OK\rHTTP/1.1 500 E\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 \0\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\rlocation: /\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nserver: a\r\n b\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length : 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx\u{e9}: a\r\ncontent-length: 0\r\n\r\n",
    ] {
        let receiver = Receiver::answering(head).await;
        let sent = Client::new().post(&receiver.url()).await;
        assert_unreachable(&sent, ErrorClass::Protocol, "");
        let error = sent.error.unwrap();
        assert!(!error.contains(char::is_control), "{error:?}");
    }
    // Line ends without a carriage return are one answer, and no more.
    let receiver = Receiver::answering("HTTP/1.1 204 N\nserver: a\n\nHTTP/1.1 500 E\n\n").await;
    let client = Client::new();
    for connections in 1..=2 {
        assert_eq!(status(&client.post(&receiver.url()).await), 204);
        assert_eq!(receiver.connections(), connections);
    }
}

#[tokio::test]
async fn two_lengths_give_no_second_answer() {
    let smuggled = "HTTP/1.1 500 E\r\ncontent-length: 0\r\n\r\n";
    for lengths in [
        "content-length: 0\r\n\r\n",
        "content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n",
    ] {
        let receiver = Receiver::answering(format!("HTTP/1.1 200 OK\r\n{lengths}{smuggled}")).await;
        let client = Client::new();
        for _ in 0..3 {
            assert_eq!(status(&client.post(&receiver.url()).await), 200, "{lengths:?}");
        }
        assert_eq!(receiver.connections(), 3, "{lengths:?}");
    }
}

#[tokio::test]
async fn what_is_not_http_is_a_protocol_error() {
    for answer in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 OK\r\n\r\n",
        "HTTP/1.1 99999 X\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        "\0\0\0\0\0\0\0\0",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let receiver = Receiver::answering(answer).await;
        let sent = Client::new().post(&receiver.url()).await;
        assert_unreachable(&sent, ErrorClass::Protocol, "");
    }
}

#[tokio::test]
async fn an_odd_status_is_an_answer() {
    for odd in [101, 600, 999] {
        let receiver = Receiver::answering(format!("HTTP/1.1 {odd} X\r\ncontent-length: 0\r\n\r\n")).await;
        assert_eq!(status(&Client::new().post(&receiver.url()).await), odd);
    }
}

#[tokio::test]
async fn early_ends_are_connection_resets() {
    let closes_at_once = Receiver::start(|_accepted: Accepted| async {}).await;
    let closes_after_the_request = Receiver::start(|mut accepted: Accepted| async move {
        accepted.request().await;
    })
    .await;
    let closes_in_the_head = Receiver::start(|mut accepted: Accepted| async move {
        accepted.request().await;
        accepted.write(b"HTTP/1.1 200 OK\r\nx: y").await;
    })
    .await;
    let resets = Receiver::start(|mut accepted: Accepted| async move {
        accepted.request().await;
        accepted.stream.set_zero_linger().unwrap();
    })
    .await;
    for receiver in [closes_at_once, closes_after_the_request, closes_in_the_head, resets] {
        let sent = Client::new().post(&receiver.url()).await;
        assert_unreachable(&sent, ErrorClass::ConnectionReset, "before the answer");
        assert_eq!(receiver.connections(), 1, "nothing is repeated on a new connection");
    }
}

#[tokio::test]
async fn a_closed_port_is_a_refused_connection() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let sent = Client::new().post(&format!("http://{address}/?token=s3cret")).await;
    assert_unreachable(&sent, ErrorClass::ConnectionRefused, &format!("connection refused ({address})"));
    assert_eq!(sent.remote_address, Some(address));
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_a_dns_failure() {
    let url = "http://shop.example/?token=s3cret";
    let sent = Client::new().post(url).await;
    assert_unreachable(&sent, ErrorClass::Dns, "`shop.example` does not resolve: no such name");

    let sent = Client::with(SendSettings::default(), Script::new(&[&[]])).post(url).await;
    assert_unreachable(&sent, ErrorClass::Dns, "the name has no address");
}

struct SilentResolver;

#[async_trait]
impl Resolve for SilentResolver {
    async fn resolve(&self, _host: &str) -> std::io::Result<Vec<std::net::IpAddr>> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn the_deadline_covers_the_look_up() {
    let client = Client::with(SendSettings::default(), Arc::new(SilentResolver)).timeout(TIMEOUT);
    let sent = client.post("http://shop.example/?token=s3cret").await;
    assert_unreachable(&sent, ErrorClass::Timeout, "within 200ms: the name was still being looked up");
    assert_eq!(sent.remote_address, None);
}

#[tokio::test]
async fn a_receiver_that_does_not_read_ends_at_the_timeout() {
    let receiver = Receiver::start(|accepted: Accepted| async move {
        std::future::pending::<()>().await;
        drop(accepted);
    })
    .await;
    let client = Client::new().timeout(TIMEOUT);
    let mut request = client.request(&receiver.url());
    request.body = vec![0; 64 * 1024 * 1024].into();
    assert_unreachable(&client.sender.send(request).await, ErrorClass::Timeout, "no answer");
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_is_an_answer() {
    let receiver = Receiver::start(|mut accepted: Accepted| async move {
        accepted.write(b"HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
        accepted.closed().await;
    })
    .await;
    let client = Client::new();
    let mut request = client.request(&receiver.url());
    request.body = vec![0; 16 * 1024 * 1024].into();
    assert_eq!(status(&client.sender.send(request).await), 413);
}

#[tokio::test]
async fn an_absurd_timeout_is_no_panic() {
    let receiver = Receiver::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(status(&Client::new().timeout(Duration::MAX).post(&receiver.url()).await), 200);

    let silent = Receiver::start(|accepted: Accepted| accepted.closed()).await;
    let sent = Client::new().timeout(Duration::ZERO).post(&silent.url()).await;
    assert_unreachable(&sent, ErrorClass::Timeout, "no answer within 0ns");
}

#[test]
fn settings_say_what_cannot_work() {
    assert_eq!(SendSettings::default().validate(), Ok(()));
    let check = |change: fn(&mut SendSettings), part: &str| {
        let mut settings = SendSettings::default();
        change(&mut settings);
        assert!(settings.validate().unwrap_err().contains(part), "{part}");
    };
    check(|settings| settings.addresses_max = 0, "addresses_max");
    check(|settings| settings.address_patience = Duration::ZERO, "address_patience");
    check(|settings| settings.connection_age_max = Duration::ZERO, "connection_age_max");
    check(|settings| settings.response_head_bytes_max = 100, "response_head_bytes_max");
    check(|settings| settings.response_body_bytes_max = 100, "response_body_bytes_max");
    check(|settings| settings.response_body_bytes_max = usize::MAX, "response_body_bytes_max");
}
