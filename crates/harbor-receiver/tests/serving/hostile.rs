//! What hostile receivers do to a client that watches the bytes.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use harbor_receiver::{Answer, Manner, Receiver, Script, Settings};

use crate::client::{LONG, read_all, send};

const EVERY: Duration = Duration::from_millis(5);

/// Sends one request to a receiver of this manner and waits until it was read.
async fn meet(manner: Manner) -> (Receiver, TcpStream) {
    let script = Script::always(Answer::from(200).body("polite").manner(manner));
    let receiver = Receiver::start(Settings { script, ..Settings::default() }).await.unwrap();
    let stream = send(&receiver, &[], b"{}").await;
    receiver.wait_for(1, LONG).await.unwrap();
    (receiver, stream)
}

/// Reads exactly so many bytes.
async fn read(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    tokio::time::timeout(LONG, stream.read_exact(&mut bytes)).await.expect("bytes in time").unwrap();
    bytes
}

/// Reads up to the end of the headers.
async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(read(stream, 1).await);
    }
    String::from_utf8(head).unwrap()
}

/// A hostile connection does not hold up the shutdown, though its client still waits:
/// a polite one would be given two seconds.
async fn check_shutdown_is_prompt(receiver: Receiver, stream: TcpStream) {
    let begun = Instant::now();
    receiver.shutdown().await;
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
    drop(stream);
}

#[tokio::test]
async fn never_answer_sends_nothing_and_keeps_the_connection() {
    let (receiver, mut stream) = meet(Manner::NeverAnswer).await;
    assert_eq!(receiver.requests()[0].status, None);

    let mut byte = [0; 1];
    let nothing = tokio::time::timeout(Duration::from_millis(100), stream.read(&mut byte)).await;
    assert!(nothing.is_err(), "{nothing:?}");
    check_shutdown_is_prompt(receiver, stream).await;
}

#[tokio::test]
async fn close_early_reads_the_request_and_hangs_up() {
    let (receiver, stream) = meet(Manner::CloseEarly).await;
    assert_eq!(receiver.requests()[0].body, "{}");
    assert_eq!(receiver.requests()[0].status, None);
    assert_eq!(read_all(stream).await, "");
}

#[tokio::test]
async fn trickled_headers_come_byte_by_byte() {
    let (receiver, mut stream) = meet(Manner::TrickleHeaders { every: EVERY }).await;
    let begun = Instant::now();
    let head = read(&mut stream, 20).await;
    assert_eq!(head, b"HTTP/1.1 200 OK\r\nx-h");
    // One wait may have passed before the clock was read.
    assert!(begun.elapsed() >= 18 * EVERY, "{:?}", begun.elapsed());
    check_shutdown_is_prompt(receiver, stream).await;
}

#[tokio::test]
async fn a_trickled_body_has_prompt_headers_and_no_end() {
    let (receiver, mut stream) = meet(Manner::TrickleBody { every: EVERY }).await;
    let head = read_head(&mut stream).await;
    assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");

    let begun = Instant::now();
    let body = read(&mut stream, 10 * b"1\r\n.\r\n".len()).await;
    assert_eq!(body, b"1\r\n.\r\n".repeat(10));
    assert!(begun.elapsed() >= 7 * EVERY, "{:?}", begun.elapsed());
    check_shutdown_is_prompt(receiver, stream).await;
}

#[tokio::test]
async fn an_endless_body_goes_on_as_long_as_it_is_read() {
    let (receiver, mut stream) = meet(Manner::EndlessBody).await;
    read_head(&mut stream).await;
    read(&mut stream, 32 * 1024 * 1024).await;
    check_shutdown_is_prompt(receiver, stream).await;
}

#[tokio::test]
async fn huge_headers_come_before_the_body() {
    let (_receiver, stream) = meet(Manner::HugeHeaders).await;
    let answer = read_all(stream).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.len() > 10 * 1024 * 1024, "{} bytes", head.len());
    assert_eq!(body, "polite");
}

#[tokio::test]
async fn dropping_a_receiver_closes_its_connections() {
    let (receiver, stream) = meet(Manner::NeverAnswer).await;
    drop(receiver);
    assert_eq!(read_all(stream).await, "");
}
