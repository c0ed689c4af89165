//! Receivers that speak HTTP/2.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use harbor_model::attempt::ErrorClass;
use http::{HeaderValue, Request, Response, Version};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::server::TlsStream;

use super::kit::{Accepted, Client, Receiver, TIMEOUT, assert_unreachable, round_trip, status};
use super::tls::{Authority, start_tls};
use crate::send::Sender;

const NAME: &str = "shop.example";

type Incoming = Request<RecvStream>;

/// A receiver that answers each request by `answer`, which also gets the connection's number, and a client that trusts it.
async fn start<F, Fut>(answer: F) -> (Receiver, Client)
where
    F: Fn(Incoming, SendResponse<Bytes>, usize) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let authority = Authority::new();
    let acceptor = authority.acceptor(NAME, "h2 http/1.1", |_| {});
    let receiver = start_tls(acceptor, move |accepted: Accepted<TlsStream<TcpStream>>| {
        let answer = answer.clone();
        async move {
            let mut answers = JoinSet::new();
            let mut connection = h2::server::handshake(accepted.stream).await.unwrap();
            while let Some(Ok((request, respond))) = connection.accept().await {
                answers.spawn(answer(request, respond, accepted.number));
            }
        }
    })
    .await;
    (receiver, authority.client())
}

fn url(receiver: &Receiver) -> String {
    format!("https://{NAME}:{}/hooks?token=s3cret", receiver.address.port())
}

async fn read(mut body: RecvStream) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.unwrap();
        body.flow_control().release_capacity(chunk.len()).unwrap();
        whole.extend(chunk);
    }
    whole
}

fn respond_with(mut respond: SendResponse<Bytes>, status: u16, body: impl Into<Bytes>) {
    let head = Response::builder().status(status).header("x-request-id", "r1").body(()).unwrap();
    // The sender may have gone meanwhile.
    if let Ok(mut stream) = respond.send_response(head, false) {
        let _ = stream.send_data(body.into(), true);
    }
}

async fn accept(request: Incoming, respond: SendResponse<Bytes>, _connection: usize) {
    read(request.into_body()).await;
    respond_with(respond, 200, "ok");
}

#[tokio::test]
async fn a_receiver_gets_the_request_as_it_was_made() {
    let (receiver, client) = start(|request: Incoming, respond, _| async move {
        let (head, body) = request.into_parts();
        let found = format!(
            "{} {} {} {:?}",
            head.method,
            head.uri.path_and_query().unwrap(),
            head.uri.authority().unwrap().host(),
            head.headers
        );
        assert_eq!(head.version, Version::HTTP_2);
        let body = String::from_utf8(read(body).await).unwrap();
        respond_with(respond, 422, format!("{found} {body}"));
    })
    .await;
    let mut request = client.request(&url(&receiver));
    request.headers.insert("webhook-id", HeaderValue::from_static("evt_1"));
    for of_the_connection in ["host", "connection", "keep-alive", "transfer-encoding", "upgrade"] {
        request.headers.insert(of_the_connection, HeaderValue::from_static("x"));
    }

    let sent = client.sender.send(request).await;

    assert_eq!(status(&sent), 422, "{sent:?}");
    let expected = format!(
        "POST /hooks?token=s3cret {NAME} {{\"webhook-id\": \"evt_1\", \"content-length\": \"7\"}} {{\"n\":1}}"
    );
    assert_eq!(String::from_utf8_lossy(&sent.response_body), expected);
    assert_eq!(sent.response_headers, [("x-request-id".to_owned(), "r1".to_owned())]);
    assert_eq!(sent.remote_address, Some(receiver.address));
}

#[tokio::test]
async fn many_requests_share_one_connection() {
    let (receiver, client) = start(accept).await;
    let url = url(&receiver);
    assert_eq!(status(&client.post(&url).await), 200);
    for _ in 0..10 {
        let (a, b, c) = tokio::join!(client.post(&url), client.post(&url), client.post(&url));
        assert_eq!([status(&a), status(&b), status(&c)], [200; 3]);
    }
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn bodies_larger_than_every_window_pass() {
    let (receiver, client) = start(|request: Incoming, respond, _| async move {
        let length = read(request.into_body()).await.len();
        respond_with(respond, 200, length.to_string());
    })
    .await;
    let mut request = client.request(&url(&receiver));
    request.body = vec![b'p'; 4 * 1024 * 1024].into();
    let sent = client.sender.send(request).await;
    assert_eq!(sent.response_body, (4 * 1024 * 1024).to_string());
}

#[tokio::test]
async fn the_beginning_of_a_body_is_kept_and_the_connection_too() {
    let (receiver, client) = start(|request: Incoming, respond, _| async move {
        read(request.into_body()).await;
        respond_with(respond, 500, vec![b'b'; 10_000_000]);
    })
    .await;
    for _ in 0..50 {
        let sent = client.post(&url(&receiver)).await;
        assert_eq!((status(&sent), sent.response_body.len()), (500, 16 * 1024));
    }
    assert_eq!(receiver.connections(), 1, "a stream that is given up leaves its connection to the others");
}

#[tokio::test]
async fn silence_ends_at_the_timeout_and_is_not_asked_again() {
    let (receiver, client) = start(|request: Incoming, respond, connection| async move {
        read(request.into_body()).await;
        if connection == 1 {
            std::future::pending::<()>().await;
        }
        respond_with(respond, 200, "ok");
    })
    .await;
    let client = client.timeout(TIMEOUT * 2);
    let began = Instant::now();
    assert_unreachable(&client.post(&url(&receiver)).await, ErrorClass::Timeout, "no answer within 400ms");
    assert!(began.elapsed() < TIMEOUT * 20);
    assert_eq!(status(&client.post(&url(&receiver)).await), 200);
    assert_eq!(receiver.connections(), 2);
}

#[tokio::test]
async fn a_request_that_was_refused_unread_is_sent_on_a_new_connection() {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = count.clone();
    let (receiver, client) = start(move |request: Incoming, mut respond: SendResponse<Bytes>, connection| {
        let number = seen.fetch_add(1, Ordering::SeqCst);
        async move {
            if connection == 1 && number > 0 {
                respond.send_reset(Reason::REFUSED_STREAM);
                return;
            }
            accept(request, respond, connection).await;
        }
    })
    .await;
    assert_eq!(status(&client.post(&url(&receiver)).await), 200);
    assert_eq!(status(&client.post(&url(&receiver)).await), 200);
    assert_eq!((receiver.connections(), count.load(Ordering::SeqCst)), (2, 3));
}

#[tokio::test]
async fn a_request_that_may_have_been_received_is_never_repeated() {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = count.clone();
    let (receiver, client) = start(move |request: Incoming, mut respond: SendResponse<Bytes>, connection| {
        let number = seen.fetch_add(1, Ordering::SeqCst);
        async move {
            if number > 0 {
                respond.send_reset(Reason::INTERNAL_ERROR);
                return;
            }
            accept(request, respond, connection).await;
        }
    })
    .await;
    assert_eq!(status(&client.post(&url(&receiver)).await), 200);
    assert_unreachable(&client.post(&url(&receiver)).await, ErrorClass::Protocol, "HTTP/2: ");
    assert_eq!((receiver.connections(), count.load(Ordering::SeqCst)), (1, 2));
}

#[tokio::test]
async fn a_connection_that_said_goodbye_is_replaced() {
    let authority = Authority::new();
    let acceptor = authority.acceptor(NAME, "h2", |_| {});
    let receiver = start_tls(acceptor, |accepted: Accepted<TlsStream<TcpStream>>| async move {
        let mut connection = h2::server::handshake(accepted.stream).await.unwrap();
        let (request, respond) = connection.accept().await.unwrap().unwrap();
        let mut answer = JoinSet::new();
        answer.spawn(accept(request, respond, accepted.number));
        connection.graceful_shutdown();
        while connection.accept().await.is_some() {}
    })
    .await;
    let client = authority.client();
    for _ in 0..5 {
        assert_eq!(status(&client.post(&url(&receiver)).await), 200);
        round_trip().await;
    }
    assert_eq!(receiver.connections(), 5);
}

#[tokio::test]
async fn an_early_end_is_a_connection_reset() {
    let authority = Authority::new();
    let acceptor = authority.acceptor(NAME, "h2", |_| {});
    let receiver = start_tls(acceptor, |accepted: Accepted<TlsStream<TcpStream>>| async move {
        let mut connection = h2::server::handshake(accepted.stream).await.unwrap();
        connection.accept().await.unwrap().unwrap();
    })
    .await;
    let sent = authority.client().post(&url(&receiver)).await;
    assert_unreachable(&sent, ErrorClass::ConnectionReset, "before the answer");
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn what_is_not_http2_is_a_protocol_error() {
    let authority = Authority::new();
    for nonsense in ["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"] {
        let acceptor = authority.acceptor(NAME, "h2", |_| {});
        let receiver = start_tls(acceptor, move |mut accepted: Accepted<TlsStream<TcpStream>>| async move {
            accepted.write(nonsense.as_bytes()).await;
            accepted.closed().await;
        })
        .await;
        let sent = authority.client().post(&url(&receiver)).await;
        assert_unreachable(&sent, ErrorClass::Protocol, "HTTP/2: ");
    }
}

#[tokio::test]
async fn an_enormous_head_is_a_protocol_error() {
    let (receiver, client) = start(|request: Incoming, mut respond: SendResponse<Bytes>, _| async move {
        read(request.into_body()).await;
        let value = HeaderValue::from_str(&"v".repeat(1_000_000)).unwrap();
        let head = Response::builder().header("x", value).body(()).unwrap();
        let _ = respond.send_response(head, true);
    })
    .await;
    let sent = client.post(&url(&receiver)).await;
    assert_unreachable(&sent, ErrorClass::Protocol, "HTTP/2: ");
}

#[tokio::test]
async fn a_trickled_body_ends_after_its_grace() {
    let (receiver, client) = start(|request: Incoming, mut respond: SendResponse<Bytes>, _| async move {
        read(request.into_body()).await;
        let mut stream = respond.send_response(Response::new(()), false).unwrap();
        while stream.send_data(Bytes::from_static(b"b"), false).is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let sent = client.timeout(TIMEOUT * 2).post(&url(&receiver)).await;
    assert_eq!(status(&sent), 200);
    assert!(sent.response_body.starts_with(b"b") && sent.response_body.len() < 1024);
}
