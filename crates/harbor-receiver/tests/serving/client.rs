//! A client that writes and reads bytes, so that nothing is repaired on the way.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use harbor_receiver::Receiver;

/// Long enough for a loaded machine; no test waits so long when it passes.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// Opens a connection and sends one POST with these headers.
pub(crate) async fn send(receiver: &Receiver, headers: &[(&str, &str)], body: &[u8]) -> TcpStream {
    send_as(receiver, "POST", "/hook?a=1", headers, body).await
}

/// Opens a connection and sends one request that asks for the connection to be closed after it.
pub(crate) async fn send_as(
    receiver: &Receiver,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> TcpStream {
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let mut stream = TcpStream::connect(receiver.address()).await.unwrap();
    stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    stream
}

/// Reads until the connection is closed.
pub(crate) async fn read_all(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    tokio::time::timeout(LONG, stream.read_to_end(&mut answer)).await.expect("an end").unwrap();
    String::from_utf8(answer).unwrap()
}

/// The status and the body of an answer.
pub(crate) fn split(answer: &str) -> (u16, &str) {
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.split(' ').nth(1).expect("a status").parse().unwrap(), body)
}

/// Sends one POST and returns the status of its answer.
pub(crate) async fn post(receiver: &Receiver, headers: &[(&str, &str)], body: &[u8]) -> u16 {
    split(&read_all(send(receiver, headers, body).await).await).0
}
