use super::*;

/// Long enough for something to arrive over loopback that should not.
const A_WHILE: Duration = Duration::from_millis(50);

const LATENCY: Duration = Duration::from_millis(300);

/// A client and a server on both sides of one connection, each with its own stream.
struct Pair {
    client: TcpStream,
    server: TcpStream,
}

struct Setting {
    proxy: FaultProxy,
    listener: TcpListener,
}

impl Setting {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = FaultProxy::start(listener.local_addr().unwrap()).await;
        Self { proxy, listener }
    }

    async fn connect(&self) -> Pair {
        let client = TcpStream::connect(self.proxy.address());
        let (client, server) = tokio::join!(client, self.listener.accept());
        Pair { client: client.unwrap(), server: server.unwrap().0 }
    }
}

impl Pair {
    /// Checks that bytes pass both ways.
    async fn talk(&mut self) {
        self.client.write_all(b"ping").await.unwrap();
        assert_eq!(read(&mut self.server, 4).await, b"ping");
        self.server.write_all(b"pong").await.unwrap();
        assert_eq!(read(&mut self.client, 4).await, b"pong");
    }
}

async fn read(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes
}

/// What is read until the stream ends, and how it ends.
async fn read_all(stream: &mut TcpStream) -> (Vec<u8>, Option<io::ErrorKind>) {
    let mut bytes = Vec::new();
    let ended = stream.read_to_end(&mut bytes).await;
    (bytes, ended.err().map(|error| error.kind()))
}

async fn nothing_comes(coming: impl Future) {
    assert!(tokio::time::timeout(A_WHILE, coming).await.is_err());
}

#[tokio::test]
async fn without_faults_every_byte_and_each_end_passes() {
    let setting = Setting::new().await;
    let Pair { mut client, mut server } = setting.connect().await;
    let sent = vec![b'x'; 1_000_000];
    let (written, got) = tokio::join!(
        async {
            client.write_all(&sent).await?;
            client.shutdown().await
        },
        read_all(&mut server)
    );
    written.unwrap();
    assert_eq!((got.0.len(), got.1), (sent.len(), None));

    server.write_all(b"still open").await.unwrap();
    drop(server);
    assert_eq!(read_all(&mut client).await, (b"still open".to_vec(), None));
}

#[tokio::test]
async fn a_latency_is_added_in_its_direction_only() {
    let setting = Setting::new().await;
    let mut pair = setting.connect().await;
    setting.proxy.delay(Direction::ToClient, LATENCY);

    let began = Instant::now();
    pair.client.write_all(b"ping").await.unwrap();
    read(&mut pair.server, 4).await;
    assert!(began.elapsed() < LATENCY, "{:?}", began.elapsed());

    let began = Instant::now();
    pair.server.write_all(b"po").await.unwrap();
    tokio::time::sleep(LATENCY / 2).await;
    pair.server.write_all(b"ng").await.unwrap();
    assert_eq!(read(&mut pair.client, 4).await, b"pong");
    // Each byte is late by the latency, not by all latencies before it.
    assert!((LATENCY * 3 / 2..LATENCY * 2).contains(&began.elapsed()), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_reset_reaches_both_sides_of_every_connection() {
    let setting = Setting::new().await;
    let mut pairs = [setting.connect().await, setting.connect().await];
    for pair in &mut pairs {
        pair.talk().await;
    }
    assert_eq!(setting.proxy.connections(), 2);

    setting.proxy.reset_all().await;

    assert_eq!(setting.proxy.connections(), 0);
    for pair in &mut pairs {
        for stream in [&mut pair.client, &mut pair.server] {
            assert_eq!(read_all(stream).await, (vec![], Some(io::ErrorKind::ConnectionReset)));
        }
    }
    setting.connect().await.talk().await;
}

#[tokio::test]
async fn new_connections_are_refused_until_they_are_taken_again() {
    let setting = Setting::new().await;
    let mut old = setting.connect().await;
    old.talk().await;

    for _ in 0..3 {
        setting.proxy.refuse().await;
        let refused = TcpStream::connect(setting.proxy.address()).await;
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        old.talk().await;

        setting.proxy.accept().await;
        setting.connect().await.talk().await;
    }
}

#[tokio::test]
async fn a_server_that_is_away_resets() {
    let setting = Setting::new().await;
    drop(setting.listener);
    let mut client = TcpStream::connect(setting.proxy.address()).await.unwrap();
    assert_eq!(read_all(&mut client).await, (vec![], Some(io::ErrorKind::ConnectionReset)));
}

#[tokio::test]
async fn silence_swallows_bytes_and_ends_and_closes_nothing() {
    let setting = Setting::new().await;
    let mut pair = setting.connect().await;
    pair.talk().await;

    setting.proxy.fall_silent();
    let mut later = setting.connect().await;
    for Pair { client, server } in [&mut pair, &mut later] {
        client.write_all(&[b'x'; 1_000_000]).await.unwrap();
        server.write_all(b"x").await.unwrap();
        nothing_comes(client.read_u8()).await;
        client.shutdown().await.unwrap();
        nothing_comes(server.read_u8()).await;
    }

    setting.proxy.heal().await;
    setting.connect().await.talk().await;
    pair.server.write_all(b"after a gap").await.unwrap();
    nothing_comes(pair.client.read_u8()).await;

    setting.proxy.reset_all().await;
    assert_eq!(read_all(&mut pair.client).await, (vec![], Some(io::ErrorKind::ConnectionReset)));
}

#[tokio::test]
async fn a_cut_comes_after_so_many_bytes_and_once() {
    let setting = Setting::new().await;
    for bytes in [0, 3, 4] {
        let mut pair = setting.connect().await;
        let mut other = setting.connect().await;
        pair.talk().await;
        setting.proxy.cut_after(Direction::ToClient, bytes);

        pair.client.write_all(b"this way is open").await.unwrap();
        assert_eq!(read(&mut pair.server, 16).await, b"this way is open");
        pair.server.write_all(b"pong").await.unwrap();

        let passed = b"pong"[..bytes as usize].to_vec();
        assert_eq!(read_all(&mut pair.client).await, (passed, None));
        assert_eq!(read_all(&mut other.client).await, (vec![], None));
        setting.connect().await.talk().await;
    }
}

#[tokio::test]
async fn dropping_the_proxy_closes_everything() {
    let setting = Setting::new().await;
    let mut pair = setting.connect().await;
    pair.talk().await;
    drop(setting.proxy);
    assert_eq!(read_all(&mut pair.client).await, (vec![], None));
    assert_eq!(read_all(&mut pair.server).await, (vec![], None));
}
