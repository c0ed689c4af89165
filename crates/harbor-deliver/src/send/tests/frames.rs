//! Receivers that speak HTTP/2 by its frames, and abuse them.

use std::time::Instant;

use harbor_model::attempt::ErrorClass;
use harbor_model::decide::classify::Outcome;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::server::TlsStream;

use super::kit::{Accepted, Client, PATIENCE, Receiver, TIMEOUT, assert_unreachable, status};
use super::tls::{Authority, start_tls};
use crate::send::settings::SendSettings;
use crate::send::{Sender, Sent};

const NAME: &str = "shop.example";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const UNKNOWN: u8 = 0xbe;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `:status: 200` and `:status: 100`, as HPACK writes them.
const STATUS_200: &[u8] = &[0x88];
const STATUS_100: &[u8] = b"\x08\x03100";

const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const ENHANCE_YOUR_CALM: u32 = 11;

const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;

/// Streams that servers open have even numbers; ours is the first.
const OUR_STREAM: u32 = 1;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [length[1], length[2], length[3], kind, flags];
    [&head[..], &stream.to_be_bytes()[..], payload].concat()
}

fn setting(name: u16, value: u32) -> Vec<u8> {
    [&name.to_be_bytes()[..], &value.to_be_bytes()[..]].concat()
}

fn goaway(last_stream: u32, reason: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last_stream.to_be_bytes(), reason.to_be_bytes()].concat())
}

fn head(status: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, OUR_STREAM, status)
}

/// What a receiver does once it has read a request.
#[derive(Clone)]
struct Abuse {
    settings: Vec<u8>,
    /// Written once.
    then: Vec<u8>,
    /// Written again and again until the sender closes; empty for nothing.
    endlessly: Vec<u8>,
    /// Whether it closes after that, or stays.
    closes: bool,
}

impl Abuse {
    fn once(then: impl Into<Vec<u8>>) -> Self {
        Self { settings: vec![], then: then.into(), endlessly: vec![], closes: false }
    }

    fn endlessly(then: impl Into<Vec<u8>>, endlessly: impl Into<Vec<u8>>) -> Self {
        Self { endlessly: endlessly.into(), ..Self::once(then) }
    }

    fn settings(name: u16, value: u32) -> Self {
        Self { settings: setting(name, value), ..Self::once(vec![]) }
    }

    async fn perform(self, accepted: Accepted<TlsStream<TcpStream>>) {
        let (mut reading, mut writing) = tokio::io::split(accepted.stream);
        let writing = async {
            writing.write_all(&frame(SETTINGS, 0, 0, &self.settings)).await?;
            if self.settings.is_empty() {
                // Nothing is answered before it is asked, unless the request will never be whole.
                read_request(&mut reading).await?;
            }
            writing.write_all(&self.then).await?;
            writing.flush().await?;
            while !self.endlessly.is_empty() {
                writing.write_all(&self.endlessly).await?;
            }
            if self.closes {
                writing.shutdown().await?;
                return Ok(());
            }
            // What the sender says is read, so that it is never held up by us.
            tokio::io::copy(&mut reading, &mut tokio::io::sink()).await?;
            Ok::<_, std::io::Error>(())
        };
        // However it ends, it has ended: the sender has closed.
        let _ = writing.await;
    }
}

/// Reads frames up to the end of the first request.
async fn read_request(reading: &mut (impl AsyncReadExt + Unpin)) -> std::io::Result<()> {
    let mut preface = [0; 24];
    reading.read_exact(&mut preface).await?;
    loop {
        let mut head = [0; 9];
        reading.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        reading.read_exact(&mut payload).await?;
        if matches!(head[3], DATA | HEADERS) && head[4] & END_STREAM != 0 {
            return Ok(());
        }
    }
}

/// A receiver of this conduct, a client that trusts it, and word of each connection that has ended.
async fn start(abuse: Abuse) -> (Receiver, Client, mpsc::UnboundedReceiver<()>) {
    let authority = Authority::new();
    let (ended, endings) = mpsc::unbounded_channel();
    let receiver = start_tls(authority.acceptor(NAME, "h2", |_| {}), move |accepted| {
        let (abuse, ended) = (abuse.clone(), ended.clone());
        async move {
            abuse.perform(accepted).await;
            let _ = ended.send(());
        }
    })
    .await;
    let settings = SendSettings { body_grace: TIMEOUT, ..SendSettings::default() };
    (receiver, authority.client_with(settings), endings)
}

fn url(receiver: &Receiver) -> String {
    format!("https://{NAME}:{}/hooks?token=s3cret", receiver.address.port())
}

/// What comes of a request that the receiver reads. It is made once, and its connection is closed.
async fn ask(abuse: Abuse) -> Sent {
    let (receiver, client, mut endings) = start(abuse).await;
    let sent = client.post(&url(&receiver)).await;
    assert_eq!(receiver.connections(), 1, "nothing is repeated");
    drop(client);
    endings.recv().await.unwrap();
    sent
}

#[tokio::test]
async fn a_goodbye_lets_the_answer_come() {
    let answer = frame(HEADERS, END_HEADERS | END_STREAM, OUR_STREAM, STATUS_200);
    let sent = ask(Abuse::once([goaway(OUR_STREAM, NO_ERROR), answer].concat())).await;
    assert_eq!(status(&sent), 200);
}

#[tokio::test]
async fn a_goodbye_instead_of_an_answer_is_a_failure() {
    let leaving = Abuse { closes: true, ..Abuse::once(goaway(OUR_STREAM, NO_ERROR)) };
    assert_unreachable(&ask(leaving).await, ErrorClass::ConnectionReset, "before the answer");
    let unread = Abuse::once(goaway(0, NO_ERROR));
    assert_unreachable(&ask(unread).await, ErrorClass::ConnectionReset, "before the answer");
    let scolding = Abuse::once(goaway(0, ENHANCE_YOUR_CALM));
    assert_unreachable(&ask(scolding).await, ErrorClass::Protocol, "HTTP/2: ");
}

#[tokio::test]
async fn a_reset_stream_is_a_failure_before_the_head_and_none_after() {
    let reset = frame(RST_STREAM, 0, OUR_STREAM, &INTERNAL_ERROR.to_be_bytes());
    assert_unreachable(&ask(Abuse::once(reset.clone())).await, ErrorClass::Protocol, "HTTP/2: ");

    let begun = frame(DATA, 0, OUR_STREAM, b"begun");
    let sent = ask(Abuse::once([head(STATUS_200), begun, reset].concat())).await;
    assert_eq!(status(&sent), 200);
}

#[tokio::test]
async fn an_endless_head_is_a_protocol_error() {
    let begin = frame(HEADERS, 0, OUR_STREAM, STATUS_200);
    // A literal that is not remembered: `a: ` and 16,000 times `v`.
    let long = [&b"\x00\x01a\x7f\x81\x7c"[..], &[b'v'; 16_000]].concat();
    for more in [frame(CONTINUATION, 0, OUR_STREAM, &long), frame(CONTINUATION, 0, OUR_STREAM, &[])] {
        let sent = ask(Abuse::endlessly(begin.clone(), more)).await;
        assert_unreachable(&sent, ErrorClass::Protocol, "HTTP/2: ");
    }
}

#[tokio::test]
async fn a_small_head_that_unpacks_to_megabytes_is_a_protocol_error() {
    // One header of 4,000 bytes that is remembered, then named 15,000 times by one byte each.
    let remembered = [&b"\x88\x40\x01a\x7f\xa1\x1e"[..], &[b'v'; 4_000]].concat();
    let named = [0xbe; 10_000];
    let bomb = [
        frame(HEADERS, 0, OUR_STREAM, &[&remembered[..], &named].concat()),
        frame(CONTINUATION, END_HEADERS, OUR_STREAM, &named),
    ];
    let sent = ask(Abuse::once(bomb.concat())).await;
    assert_unreachable(&sent, ErrorClass::Protocol, "HTTP/2: ");
}

#[tokio::test]
async fn what_breaks_the_rules_is_a_protocol_error() {
    let promise = frame(PUSH_PROMISE, END_HEADERS, OUR_STREAM, &[&[0, 0, 0, 2][..], STATUS_200].concat());
    for broken in [
        promise,
        frame(DATA, 0, 0, b"x"),
        frame(DATA, END_STREAM, OUR_STREAM, b"a body without a head"),
        frame(SETTINGS, 0, 0, &[0; 5]),
        frame(SETTINGS, 0, 0, &setting(INITIAL_WINDOW_SIZE, u32::MAX)),
        frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
        frame(CONTINUATION, END_HEADERS, OUR_STREAM, STATUS_200),
        frame(UNKNOWN, 0, OUR_STREAM, &[0; 17 * 1024]),
        head(b"\xff\xff\xff\xff\xff\xff"),
    ] {
        let sent = ask(Abuse::once(broken.clone())).await;
        assert_unreachable(&sent, ErrorClass::Protocol, "HTTP/2: ");
    }
}

fn floods() -> [Vec<u8>; 7] {
    [
        frame(SETTINGS, 0, 0, &[]),
        frame(SETTINGS, 0, 0, &setting(INITIAL_WINDOW_SIZE, 1)),
        frame(PING, 0, 0, &[0; 8]),
        frame(WINDOW_UPDATE, 0, OUR_STREAM, &1_u32.to_be_bytes()),
        frame(PRIORITY, 0, OUR_STREAM, &[0, 0, 0, 0, 1]),
        frame(UNKNOWN, 0, 0, &[0; 1024]),
        frame(HEADERS, END_HEADERS, OUR_STREAM, STATUS_100),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_instead_of_an_answer_ends_at_the_timeout_or_before() {
    let timeout = TIMEOUT * 3;
    for flood in floods() {
        let kind = flood[3];
        let (receiver, client, mut endings) = start(Abuse::endlessly(vec![], flood.repeat(100))).await;
        let client = client.timeout(timeout);
        let began = Instant::now();

        let sent = client.post(&url(&receiver)).await;

        let allowed = [ErrorClass::Timeout, ErrorClass::Protocol].map(Outcome::Unreachable);
        assert!(allowed.contains(&sent.outcome), "frames of kind {kind}: {sent:?}");
        assert!(began.elapsed() < timeout * 6, "frames of kind {kind}: {:?}", began.elapsed());
        // The sender lives on, and yet nobody reads the flood any more.
        endings.recv().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_after_the_answer_ends_though_nobody_asks_any_more() {
    let answer = frame(HEADERS, END_HEADERS | END_STREAM, OUR_STREAM, STATUS_200);
    for flood in [frame(SETTINGS, 0, 0, &[]), frame(PING, 0, 0, &[0; 8]), frame(UNKNOWN, 0, 0, &[0; 1024])] {
        let (receiver, client, mut endings) =
            start(Abuse::endlessly(answer.clone(), flood.repeat(100))).await;
        assert_eq!(status(&client.post(&url(&receiver)).await), 200);
        let ended = tokio::time::timeout(PATIENCE, endings.recv()).await;
        ended.expect("the sender closes a connection that it does not need");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_after_the_head_ends_with_the_grace() {
    for flood in [
        frame(DATA, 0, OUR_STREAM, &[]),
        frame(DATA, 8, OUR_STREAM, &[255; 256]),
        frame(PING, 0, 0, &[0; 8]),
        frame(DATA, 0, OUR_STREAM, &[b'b'; 16 * 1024]),
    ] {
        let (receiver, client, mut endings) =
            start(Abuse::endlessly(head(STATUS_200), flood.repeat(10))).await;
        let began = Instant::now();
        let sent = client.post(&url(&receiver)).await;
        assert_eq!(status(&sent), 200);
        assert!(sent.response_body.len() <= 1024);
        assert!(began.elapsed() < TIMEOUT * 20, "{:?}", began.elapsed());
        drop(client);
        endings.recv().await.unwrap();
    }
}

#[tokio::test]
async fn a_window_that_never_opens_ends_at_the_timeout() {
    let (receiver, client, mut endings) = start(Abuse::settings(INITIAL_WINDOW_SIZE, 0)).await;
    let client = client.timeout(TIMEOUT * 2);
    let mut request = client.request(&url(&receiver));
    request.body = vec![b'p'; 4 * 1024 * 1024].into();

    let sent = client.sender.send(request).await;

    assert_unreachable(&sent, ErrorClass::Timeout, "no answer within 400ms");
    endings.recv().await.unwrap();
}

#[tokio::test]
async fn a_receiver_that_takes_no_stream_ends_at_the_timeout() {
    let (receiver, client, mut endings) = start(Abuse::settings(MAX_CONCURRENT_STREAMS, 0)).await;
    let client = client.timeout(TIMEOUT * 2);
    for connections in 1..=2 {
        let sent = client.post(&url(&receiver)).await;
        assert_unreachable(&sent, ErrorClass::Timeout, "no answer within 400ms");
        assert_eq!(receiver.connections(), connections);
        endings.recv().await.unwrap();
    }
}
