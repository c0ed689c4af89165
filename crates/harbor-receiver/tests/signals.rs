//! The subcommand stops when it is asked to. Alone in its process, since it sends itself a signal.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use clap::Parser;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use harbor_receiver::{ReceiverArgs, run};

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    args: ReceiverArgs,
}

/// Connects once somebody listens.
async fn connect(address: SocketAddr) -> TcpStream {
    loop {
        match TcpStream::connect(address).await {
            Ok(stream) => return stream,
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

#[tokio::test]
async fn sigterm_ends_the_receiver_well() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let listen = address.to_string();
    let args = Program::parse_from(["receiver", "--quiet", "--listen", &listen, "--fail-first", "1"]).args;

    let client = async {
        let mut stream = connect(address).await;
        let request = b"POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");

        let sent = Command::new("kill").args(["-TERM", &std::process::id().to_string()]).status().unwrap();
        assert!(sent.success());
    };
    let (ended, ()) =
        tokio::time::timeout(Duration::from_secs(20), async { tokio::join!(run(args), client) })
            .await
            .unwrap();
    ended.unwrap();
}
