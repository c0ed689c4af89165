use std::net::Ipv4Addr;

use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

use super::*;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

/// Far longer than any of these tests takes, so that a test that hangs fails.
const PATIENCE: Duration = Duration::from_secs(20);

const SOON: Duration = Duration::from_millis(40);

async fn serve(settings: Settings, router: Router) -> (SocketAddr, Server) {
    let listener = Listener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), "listen").await.unwrap();
    (listener.address(), listener.serve(router, settings))
}

fn hello() -> Router {
    Router::new().route("/", get(|| async { "hello" }))
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// Reads what the server sends until it closes the connection.
async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    let reading = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut read));
    // A connection that is cut off is closed, too.
    let _ = reading.await.expect("the server closes the connection");
    String::from_utf8(read).unwrap()
}

/// Reads one answer, which ends with `end`.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut read = String::new();
    while !read.ends_with(end) {
        let byte = tokio::time::timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap();
        read.push(char::from(byte));
    }
    read
}

#[tokio::test]
async fn a_connection_serves_request_after_request() {
    let (address, server) = serve(Settings::default(), hello()).await;
    let mut stream = connect(address).await;
    for _ in 0..3 {
        stream.write_all(REQUEST).await.unwrap();
        assert!(read_until(&mut stream, "hello").await.starts_with("HTTP/1.1 200 OK"));
    }
    server.stop(PATIENCE).await;
    assert_eq!(read_to_end(&mut stream).await, "");
}

#[tokio::test]
async fn a_head_that_trickles_costs_its_connection() {
    let settings = Settings { head_timeout: SOON, ..Settings::default() };
    let (address, server) = serve(settings, hello()).await;
    let mut stream = connect(address).await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost").await.unwrap();
    assert_eq!(read_to_end(&mut stream).await, "");
    server.stop(PATIENCE).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let (go, gone) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (wait, tell) = (go.clone(), gone.clone());
    let slow = Router::new().route(
        "/",
        get(move || async move {
            tell.notify_one();
            wait.notified().await;
            "slow"
        }),
    );
    let settings = Settings { idle_timeout: SOON, head_timeout: SOON, ..Settings::default() };
    let (address, server) = serve(settings, slow).await;

    let mut busy = connect(address).await;
    busy.write_all(REQUEST).await.unwrap();
    gone.notified().await;
    let mut idle = connect(address).await;
    assert_eq!(read_to_end(&mut idle).await, "", "the one without a request is closed");

    go.notify_one();
    assert!(read_to_end(&mut busy).await.ends_with("slow"), "the other gets its answer first");
    server.stop(PATIENCE).await;
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_place() {
    let (address, server) = serve(Settings { connections_max: 1, ..Settings::default() }, hello()).await;
    let mut first = connect(address).await;
    first.write_all(REQUEST).await.unwrap();
    read_until(&mut first, "hello").await;

    let mut second = connect(address).await;
    second.write_all(REQUEST).await.unwrap();
    let mut byte = [0];
    let early = tokio::time::timeout(SOON, second.read(&mut byte)).await;
    assert!(early.is_err(), "there is no place yet");

    drop(first);
    assert!(read_until(&mut second, "hello").await.contains("200 OK"));
    drop(second);
    server.stop(PATIENCE).await;
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let settings = Settings { head_bytes_max: 8 * 1024, ..Settings::default() };
    let (address, server) = serve(settings, hello()).await;
    let mut stream = connect(address).await;
    let head = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "x".repeat(20_000));
    // The server may close before all of it is sent.
    let _ = stream.write_all(head.as_bytes()).await;
    assert!(read_to_end(&mut stream).await.starts_with("HTTP/1.1 431"));
    server.stop(PATIENCE).await;
}

#[tokio::test]
async fn a_stop_finishes_what_was_begun_and_cuts_off_what_outlasts_it() {
    let begun = Arc::new(Notify::new());
    let tell = begun.clone();
    let endless = Router::new().route(
        "/",
        get(move || async move {
            tell.notify_one();
            std::future::pending::<&str>().await
        }),
    );
    let (address, server) = serve(Settings::default(), endless).await;
    let mut stream = connect(address).await;
    stream.write_all(REQUEST).await.unwrap();
    begun.notified().await;

    tokio::time::timeout(PATIENCE, server.stop(SOON)).await.expect("the stop does not wait for ever");

    assert_eq!(read_to_end(&mut stream).await, "");
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let (address, server) = serve(Settings::default(), hello()).await;
    let error = Listener::bind(address, "listen").await.err().unwrap().to_string();
    assert_eq!(error, format!("cannot listen on {address} (--listen): another program listens there"));
    server.stop(PATIENCE).await;
}

#[tokio::test]
async fn a_client_that_never_reads_costs_its_connection() {
    let large = Router::new().route("/", get(|| async { "x".repeat(64 << 20) }));
    let settings = Settings { idle_timeout: SOON, connections_max: 1, ..Settings::default() };
    let (address, server) = serve(settings, large).await;
    let mut deaf = connect(address).await;
    deaf.write_all(REQUEST).await.unwrap();

    let mut next = connect(address).await;
    next.write_all(REQUEST).await.unwrap();
    let byte = tokio::time::timeout(PATIENCE, next.read_u8()).await.expect("the place becomes free");
    assert_eq!(byte.unwrap(), b'H');

    drop((deaf, next));
    server.stop(PATIENCE).await;
}

#[tokio::test]
async fn http2_is_served_on_the_same_port() {
    let (address, server) = serve(Settings::default(), hello()).await;
    let wire = TokioIo::new(connect(address).await);
    let tasks = TaskTracker::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(Tracked(tasks.clone()), wire).await.unwrap();
    let running = tasks.spawn(connection);
    for _ in 0..3 {
        let request = hyper::Request::get("http://x/").body(String::new()).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (200, http::Version::HTTP_2));
    }
    server.stop(PATIENCE).await;
    running.await.unwrap().unwrap();
}
