//! A TCP proxy that does what networks do: it delays, resets, refuses, falls silent or breaks off.

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// The most bytes that are moved at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// How many chunks may be on their way in one direction; with a latency, that bounds what passes in a second.
const CHUNKS_UNDER_WAY_MAX: usize = 256;

/// The longest queue of connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// A direction through the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From whoever connects to the server behind the proxy.
    ToServer,
    /// From the server behind the proxy to whoever connects.
    ToClient,
}

/// A TCP proxy on loopback whose faults a test sets while it runs.
///
/// Without a fault every byte passes, and so does each end of a stream. Dropping it closes everything.
pub struct FaultProxy {
    address: SocketAddr,
    acceptor: tokio::sync::Mutex<Acceptor>,
    link: Arc<Link>,
}

/// What is at the address.
enum Acceptor {
    /// A task that accepts; a set, so that it ends with the proxy.
    Open(JoinSet<()>),
    /// A socket that does not listen, which keeps the port from others.
    Refusing { bound: Option<TcpSocket> },
}

/// What all connections share.
struct Link {
    server: SocketAddr,
    faults: Mutex<Faults>,
    generation: Mutex<Generation>,
}

#[derive(Clone, Copy, Default)]
struct Faults {
    latency: ByDirection<Duration>,
    is_silent: bool,
    /// How many more bytes pass before everything is cut.
    bytes_left: ByDirection<Option<u64>>,
}

#[derive(Clone, Copy, Default)]
struct ByDirection<T> {
    to_server: T,
    to_client: T,
}

/// The connections that end together.
struct Generation {
    end: watch::Sender<Option<End>>,
    connections: TaskTracker,
}

/// How connections end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Close,
    Reset,
}

impl FaultProxy {
    /// Starts a proxy without faults in front of `server`.
    pub async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let generation = Mutex::new(Generation::new());
        let link = Arc::new(Link { server, faults: Mutex::default(), generation });
        let acceptor = tokio::sync::Mutex::new(Acceptor::open(listener, &link));
        Self { address, acceptor, link }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.link.generation().connections.len()
    }

    /// From now on bytes take so much longer in this direction; what is under way already does not.
    pub fn delay(&self, direction: Direction, latency: Duration) {
        *self.link.faults().latency.of(direction) = latency;
    }

    /// Resets every connection on both sides and returns when that is done. New ones are taken as before.
    pub async fn reset_all(&self) {
        self.link.end_all(End::Reset).wait().await;
    }

    /// Refuses new connections from now on, as where nobody listens. Open ones go on.
    ///
    /// # Panics
    /// If another process takes the port in the instant in which nobody has it.
    pub async fn refuse(&self) {
        let mut acceptor = self.acceptor.lock().await;
        if let Acceptor::Open(accepting) = &mut *acceptor {
            accepting.shutdown().await;
            *acceptor = Acceptor::Refusing { bound: Some(bind(self.address)) };
        }
    }

    /// Takes new connections again.
    ///
    /// # Panics
    /// If another process takes the port in the instant in which nobody has it.
    pub async fn accept(&self) {
        let mut acceptor = self.acceptor.lock().await;
        if let Acceptor::Refusing { bound } = &mut *acceptor {
            let bound = bound.take().expect("it is replaced as soon as it is taken");
            let listener = bound.listen(BACKLOG).expect("the port was kept");
            *acceptor = Acceptor::open(listener, &self.link);
        }
    }

    /// Swallows every byte in both directions from now on, and every end of a stream; both sides stay open,
    /// as behind a router that has forgotten them. New connections fare the same.
    ///
    /// After [`Self::heal`], new connections work; one that has lost something stays silent for good.
    pub fn fall_silent(&self) {
        self.link.faults().is_silent = true;
    }

    /// Lets so many more bytes pass in this direction, over all connections; then closes every connection at once.
    /// That happens once: connections made later work.
    pub fn cut_after(&self, direction: Direction, bytes: u64) {
        *self.link.faults().bytes_left.of(direction) = Some(bytes);
    }

    /// Ends every fault.
    ///
    /// # Panics
    /// As [`Self::accept`] does.
    pub async fn heal(&self) {
        *self.link.faults() = Faults::default();
        self.accept().await;
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.link.end_all(End::Close);
        // What the acceptor takes in its last moment ends at once.
        self.link.generation().end.send_replace(Some(End::Close));
    }
}

impl Acceptor {
    fn open(listener: TcpListener, link: &Arc<Link>) -> Self {
        let mut accepting = JoinSet::new();
        accepting.spawn(accept_all(listener, link.clone()));
        Self::Open(accepting)
    }
}

/// Takes the port without listening on it.
fn bind(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket is made");
    // Connections that were taken at this address may still be open.
    socket.set_reuseaddr(true).expect("a new socket can be set up");
    socket.bind(address).expect("nobody else takes the port");
    socket
}

/// Stops with the set that it runs in.
async fn accept_all(listener: TcpListener, link: Arc<Link>) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                let generation = link.generation();
                let end = generation.end.subscribe();
                generation.connections.spawn(serve(client, link.clone(), end));
            }
            // A client that went away before it was accepted, or no file descriptor left for a while.
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

async fn serve(mut client: TcpStream, link: Arc<Link>, mut end: watch::Receiver<Option<End>>) {
    let mut server = None;
    let ended = tokio::select! {
        biased;
        told = end.wait_for(Option::is_some) => told.ok().and_then(|told| *told).unwrap_or(End::Close),
        ended = relay(&mut client, &mut server, &link) => ended,
    };
    if ended == End::Reset {
        for stream in [Some(&client), server.as_ref()].into_iter().flatten() {
            // A stream that is broken already needs no reset.
            let _ = stream.set_zero_linger();
        }
    }
}

/// Moves bytes both ways until both streams have ended, or one is broken.
async fn relay(client: &mut TcpStream, server: &mut Option<TcpStream>, link: &Link) -> End {
    let Ok(connected) = TcpStream::connect(link.server).await else { return End::Reset };
    let server = server.insert(connected);
    // On loopback nothing is gained by waiting for more. A stream that is broken will show it.
    let _ = client.set_nodelay(true).and_then(|()| server.set_nodelay(true));

    let has_lost = AtomicBool::new(false);
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let to_server =
        Way { direction: Direction::ToServer, link, has_lost: &has_lost }.carry(from_client, to_server);
    let to_client =
        Way { direction: Direction::ToClient, link, has_lost: &has_lost }.carry(from_server, to_client);
    match tokio::try_join!(to_server, to_client) {
        Ok(((), ())) => End::Close,
        Err(_) => End::Reset,
    }
}

/// One direction of one connection.
#[derive(Clone, Copy)]
struct Way<'a> {
    direction: Direction,
    link: &'a Link,
    /// Whether the connection has lost something in either direction.
    has_lost: &'a AtomicBool,
}

/// Something under way: bytes, or at the end how the stream ended.
type UnderWay = (Instant, io::Result<Bytes>);

impl Way<'_> {
    async fn carry(self, from: ReadHalf<'_>, to: WriteHalf<'_>) -> io::Result<()> {
        let (sent, arriving) = mpsc::channel(CHUNKS_UNDER_WAY_MAX);
        let ((), arrived) = tokio::join!(self.read_all(from, sent), self.write_all(to, arriving));
        arrived
    }

    /// Reads until the stream ends. Its end is sent as no bytes.
    async fn read_all(self, mut from: ReadHalf<'_>, sent: mpsc::Sender<UnderWay>) {
        loop {
            let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
            let read = from.read_buf(&mut chunk).await;
            let is_over = read.as_ref().map_or(true, |&count| count == 0);
            let latency = *self.link.faults().latency.of(self.direction);
            let due = Instant::now() + latency;
            // Nobody receives any more once the other side is broken.
            if sent.send((due, read.map(|_| chunk.freeze()))).await.is_err() || is_over {
                return;
            }
        }
    }

    async fn write_all(
        self,
        mut to: WriteHalf<'_>,
        mut arriving: mpsc::Receiver<UnderWay>,
    ) -> io::Result<()> {
        while let Some((due, bytes)) = arriving.recv().await {
            tokio::time::sleep_until(due).await;
            if self.loses() {
                continue;
            }
            let bytes = bytes?;
            if bytes.is_empty() {
                return to.shutdown().await;
            }
            let passing = self.link.pass(self.direction, bytes.len());
            to.write_all(&bytes[..passing.bytes]).await?;
            if passing.is_cut {
                self.link.end_all(End::Close);
            }
        }
        // The end was lost: what ends this is the end of all connections.
        std::future::pending().await
    }

    fn loses(self) -> bool {
        if self.link.faults().is_silent {
            self.has_lost.store(true, Ordering::Relaxed);
        }
        self.has_lost.load(Ordering::Relaxed)
    }
}

struct Passing {
    bytes: usize,
    is_cut: bool,
}

impl Link {
    /// How many of `count` bytes pass, and whether that is the end.
    fn pass(&self, direction: Direction, count: usize) -> Passing {
        let mut faults = self.faults();
        let left = faults.bytes_left.of(direction);
        let Some(bytes_left) = *left else { return Passing { bytes: count, is_cut: false } };
        let bytes = usize::try_from(bytes_left).map_or(count, |left| left.min(count));
        let is_cut = bytes as u64 == bytes_left;
        *left = (!is_cut).then(|| bytes_left - bytes as u64);
        Passing { bytes, is_cut }
    }

    /// Ends every connection of now; the tracker tells when they have ended.
    fn end_all(&self, end: End) -> TaskTracker {
        let ending = std::mem::replace(&mut *self.generation(), Generation::new());
        // Without a connection nobody listens.
        let _ = ending.end.send(Some(end));
        ending.connections.close();
        ending.connections
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().expect("no change panics")
    }

    fn generation(&self) -> MutexGuard<'_, Generation> {
        self.generation.lock().expect("no change panics")
    }
}

impl Generation {
    fn new() -> Self {
        Self { end: watch::Sender::new(None), connections: TaskTracker::new() }
    }
}

impl<T> ByDirection<T> {
    fn of(&mut self, direction: Direction) -> &mut T {
        match direction {
            Direction::ToServer => &mut self.to_server,
            Direction::ToClient => &mut self.to_client,
        }
    }
}
