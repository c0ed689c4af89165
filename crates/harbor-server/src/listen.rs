//! Listening: accepts connections, holds them to limits, serves a router on each, and stops gently.

mod activity;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use harbor_api::peer::Peer;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service;
use tracing::{debug, warn};

use crate::listen::activity::{Activity, Watched};

/// What one listener allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The most connections; further ones wait to be accepted.
    pub(crate) connections_max: usize,
    /// The most bytes in a request's line and headers.
    pub(crate) head_bytes_max: usize,
    /// How long a request's line and headers may take to arrive.
    pub(crate) head_timeout: Duration,
    /// How long a connection without a request is kept. Longer than the 60 seconds for which common
    /// proxies keep one, so that it is they who close it.
    pub(crate) idle_timeout: Duration,
    /// The most requests at a time on one HTTP/2 connection.
    pub(crate) streams_max: u32,
}

impl Settings {
    /// Often enough for the shortest of the timeouts.
    fn look_interval(&self) -> Duration {
        (self.head_timeout.min(self.idle_timeout) / 4).clamp(Duration::from_millis(5), LOOK_INTERVAL_MAX)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            head_bytes_max: 64 * 1024,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            streams_max: 250,
        }
    }
}

/// After a failed accept, mostly for want of file descriptors, so long is waited for some to become free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How often a connection is looked after, at most: a timer for each request would cost more.
const LOOK_INTERVAL_MAX: Duration = Duration::from_secs(1);

/// Says that an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    /// Somebody else has it.
    #[error("cannot listen on {address} (--{flag}): another program listens there")]
    Taken { flag: &'static str, address: SocketAddr },
    /// Something else.
    #[error("cannot listen on {address} (--{flag}): {source}")]
    Other { flag: &'static str, address: SocketAddr, source: io::Error },
}

/// An address that is listened on, before anything is served there.
pub(crate) struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Takes the address that `flag` sets.
    pub(crate) async fn bind(address: SocketAddr, flag: &'static str) -> Result<Self, ListenError> {
        let refuse = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => ListenError::Taken { flag, address },
            _ => ListenError::Other { flag, address, source },
        };
        let socket = TcpListener::bind(address).await.map_err(refuse)?;
        let address = socket.local_addr().map_err(refuse)?;
        Ok(Self { socket, address })
    }

    /// The address with its real port.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Begins to serve.
    pub(crate) fn serve(self, router: Router, settings: Settings) -> Server {
        let tasks = TaskTracker::new();
        let (stop, abort) = (CancellationToken::new(), CancellationToken::new());
        let shared = Arc::new(Shared {
            router,
            connections: Arc::new(Semaphore::new(settings.connections_max)),
            settings,
            stop: stop.clone(),
            abort: abort.clone(),
            tasks: tasks.clone(),
        });
        tasks.spawn(accept(self.socket, shared));
        Server { stop, abort, tasks }
    }
}

/// A running server.
pub(crate) struct Server {
    stop: CancellationToken,
    abort: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    /// Accepts nothing more, lets requests under way finish within `grace`, and closes every connection.
    pub(crate) async fn stop(self, grace: Duration) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_err() {
            warn!(connections = self.tasks.len(), "requests are cut off: they outlasted the grace");
            self.abort.cancel();
            self.tasks.wait().await;
        }
    }
}

/// What all connections of a listener share.
struct Shared {
    router: Router,
    settings: Settings,
    connections: Arc<Semaphore>,
    stop: CancellationToken,
    abort: CancellationToken,
    tasks: TaskTracker,
}

async fn accept(socket: TcpListener, shared: Arc<Shared>) {
    loop {
        let connected = tokio::select! {
            connected = connect(&socket, &shared.connections) => connected,
            () = shared.stop.cancelled() => return,
        };
        match connected {
            Ok((stream, peer, place)) => {
                shared.tasks.spawn(converse(stream, peer, place, Arc::clone(&shared)));
            }
            Err(error) => {
                warn!(%error, "a connection could not be accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connect(
    socket: &TcpListener,
    connections: &Arc<Semaphore>,
) -> io::Result<(TcpStream, Peer, OwnedSemaphorePermit)> {
    let place = Arc::clone(connections).acquire_owned().await.expect("the semaphore is never closed");
    let (stream, address) = socket.accept().await?;
    // It fails only where the client has gone already, which the first read will tell.
    let _ = stream.set_nodelay(true);
    Ok((stream, Peer(address.ip()), place))
}

/// Serves one connection until its client ends it, its time is over, or the server stops.
async fn converse(stream: TcpStream, peer: Peer, _place: OwnedSemaphorePermit, shared: Arc<Shared>) {
    let Shared { settings, stop, abort, tasks, .. } = &*shared;
    let activity = Arc::new(Activity::default());
    let service = service_fn(|mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        let busy = Activity::begin_request(&activity);
        let answer = shared.router.clone().call(request);
        async move {
            let answer = answer.await;
            drop(busy);
            answer
        }
    });
    let builder = builder(settings, tasks);
    let wire = TokioIo::new(Watched::new(stream, Arc::clone(&activity)));
    let mut connection = pin!(builder.serve_connection(wire, service));
    let mut look = tokio::time::interval(settings.look_interval());
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut is_stopping = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    debug!(%error, "a connection ended: {error}");
                }
                return;
            }
            () = abort.cancelled() => return,
            () = stop.cancelled(), if !is_stopping => {
                is_stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            _ = look.tick() => {
                if activity.is_head_late(settings.head_timeout) {
                    debug!("a connection is closed: the head of a request took too long");
                    return;
                }
                // A client that does not take its answer does not take a goodbye either.
                if activity.is_idle_for(2 * settings.idle_timeout) {
                    debug!("a connection is closed: its client takes nothing");
                    return;
                }
                if !is_stopping && activity.is_idle_for(settings.idle_timeout) {
                    is_stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

fn builder(settings: &Settings, tasks: &TaskTracker) -> auto::Builder<Tracked> {
    let mut builder = auto::Builder::new(Tracked(tasks.clone()));
    // Heads and idle connections are timed by `Activity`: hyper's timer counts the quiet time between two
    // requests as part of the second one's head, and costs an allocation for each.
    builder.http1().max_buf_size(settings.head_bytes_max).header_read_timeout(None);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(settings.head_bytes_max.try_into().unwrap_or(u32::MAX))
        .max_concurrent_streams(settings.streams_max);
    builder
}

/// Spawns the streams of an HTTP/2 connection under the tracker of the server.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, stream: F) {
        self.0.spawn(stream);
    }
}

#[cfg(test)]
mod tests;
