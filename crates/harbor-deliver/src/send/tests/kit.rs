//! Receivers that do what a test says, and a sender to ask them.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use harbor_model::address::AddressPolicy;
use harbor_model::attempt::ErrorClass;
use harbor_model::decide::classify::Outcome;
use harbor_model::endpoint::EndpointUrl;
use harbor_model::time::{Clock, Timestamp};
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::send::client::HttpSender;
use crate::send::resolve::Resolve;
use crate::send::settings::SendSettings;
use crate::send::target::Target;
use crate::send::{Request, Sender, Sent};

/// Long enough for loopback, short enough to wait for.
pub(super) const TIMEOUT: Duration = Duration::from_millis(200);

/// The timeout of requests that are expected to be answered.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A receiver on a loopback port.
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

/// One connection that a receiver has accepted.
pub(super) struct Accepted<S = TcpStream> {
    pub(super) stream: S,
    /// Its number, from 1.
    pub(super) number: usize,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    /// Does `serve` with each connection.
    pub(super) async fn start<F, Fut>(serve: F) -> Self
    where
        F: Fn(Accepted) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (count, seen) = (connections.clone(), requests.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut served = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                served.spawn(serve(Accepted { stream, number, requests: seen.clone() }));
            }
        });
        Self { address, connections, requests, _tasks: tasks }
    }

    /// Answers every request with these bytes and keeps the connection.
    pub(super) async fn answering(answer: impl Into<Bytes>) -> Self {
        let answer = answer.into();
        Self::start(move |mut accepted| {
            let answer = answer.clone();
            async move { while accepted.request().await.is_some() && accepted.write(&answer).await {} }
        })
        .await
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/hooks?token=s3cret", self.address)
    }

    /// How many connections were accepted.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The requests that arrived, as text.
    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

impl Accepted {
    /// The connection after the TLS handshake, if that succeeds.
    pub(super) async fn shake_hands(self, tls: &TlsAcceptor) -> Option<Accepted<TlsStream<TcpStream>>> {
        let stream = tls.accept(self.stream).await.ok()?;
        Some(Accepted { stream, number: self.number, requests: self.requests })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Accepted<S> {
    /// Reads one request with its body; none once the sender has closed.
    pub(super) async fn request(&mut self) -> Option<String> {
        let mut text = Vec::new();
        loop {
            let end = text.windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(end) = end.map(|at| at + 4) {
                let head = String::from_utf8_lossy(&text[..end]).to_lowercase();
                let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next());
                if text.len() >= end + length.map_or(0, |length| length.parse().unwrap()) {
                    let text = String::from_utf8(text).unwrap();
                    self.requests.lock().unwrap().push(text.clone());
                    return Some(text);
                }
            }
            if self.stream.read_buf(&mut text).await.ok()? == 0 {
                return None;
            }
        }
    }

    /// Writes; false once the sender has closed.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok() && self.stream.flush().await.is_ok()
    }

    /// Waits until the sender closes.
    pub(super) async fn closed(mut self) {
        let mut rest = Vec::new();
        // However it ends, it has ended.
        let _ = self.stream.read_to_end(&mut rest).await;
    }
}

/// Answers each look-up with what the script says; the last answer is given again and again.
#[derive(Default)]
pub(super) struct Script {
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
    pub(super) asked: AtomicUsize,
}

impl Script {
    pub(super) fn new(answers: &[&[&str]]) -> Arc<Self> {
        let parse = |answer: &&[&str]| answer.iter().map(|address| address.parse().unwrap()).collect();
        Arc::new(Self {
            answers: Mutex::new(answers.iter().map(parse).collect()),
            asked: AtomicUsize::new(0),
        })
    }
}

#[async_trait]
impl Resolve for Script {
    async fn resolve(&self, _host: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock().unwrap();
        if answers.len() > 1 {
            return Ok(answers.pop_front().unwrap());
        }
        answers.front().cloned().ok_or_else(|| io::Error::other("no such name"))
    }
}

/// A clock that stands at one wall time and measures with the real one.
struct TestClock(Instant);

#[async_trait]
impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        // Sun, 06 Nov 1994 08:49:37 GMT
        Timestamp::from_unix_ms(784_111_777_000)
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    async fn sleep_until(&self, _instant: Timestamp) {
        unreachable!("the sender waits for sockets only")
    }
}

/// A sender, and what is the same in all requests of a test.
pub(super) struct Client {
    pub(super) sender: HttpSender,
    pub(super) timeout: Duration,
    pub(super) addresses: AddressPolicy,
}

impl Client {
    /// May connect to loopback over http, and resolves no name.
    pub(super) fn new() -> Self {
        Self::with(SendSettings::default(), Script::new(&[]))
    }

    pub(super) fn with(settings: SendSettings, resolver: Arc<dyn Resolve>) -> Self {
        let sender = HttpSender::new(settings, resolver, Arc::new(TestClock(Instant::now()))).unwrap();
        Self { sender, timeout: PATIENCE, addresses: loopback() }
    }

    pub(super) fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub(super) fn addresses(mut self, addresses: AddressPolicy) -> Self {
        self.addresses = addresses;
        self
    }

    /// A request with a small body.
    pub(super) fn request(&self, url: &str) -> Request {
        let url = EndpointUrl::from_stored(url).unwrap();
        Request {
            target: Target::new(&url, &self.addresses),
            headers: HeaderMap::new(),
            body: Bytes::from_static(b"{\"n\":1}"),
            timeout: self.timeout,
        }
    }

    pub(super) async fn post(&self, url: &str) -> Sent {
        self.sender.send(self.request(url)).await
    }
}

/// What `--dev` allows.
pub(super) fn loopback() -> AddressPolicy {
    AddressPolicy { http: true, loopback: true, ..AddressPolicy::default() }
}

/// Plain http to these subnets, besides the public internet.
pub(super) fn subnets(subnets: &[&str]) -> AddressPolicy {
    let subnets = subnets.iter().map(|subnet| subnet.parse().unwrap()).collect();
    AddressPolicy { http: true, loopback: false, subnets }
}

/// The status of an answer.
#[track_caller]
pub(super) fn status(sent: &Sent) -> u16 {
    match sent.outcome {
        Outcome::Answered { status, .. } => status,
        Outcome::Unreachable(_) => panic!("no answer: {sent:?}"),
    }
}

/// Checks that there was no answer, for this reason and with this in the text for people.
#[track_caller]
pub(super) fn assert_unreachable(sent: &Sent, class: ErrorClass, text: &str) {
    assert_eq!(sent.outcome, Outcome::Unreachable(class), "{sent:?}");
    let error = sent.error.as_deref().unwrap();
    assert!(error.contains(text), "`{error}` does not contain `{text}`");
    assert!(!error.contains("s3cret"), "`{error}` holds the URL's query");
}

/// Waits until the event loop has seen what was sent over loopback before.
pub(super) async fn round_trip() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (connected, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (mut accepted, _) = accepted.unwrap();
    connected.unwrap().write_all(b"x").await.unwrap();
    accepted.read_u8().await.unwrap();
}
