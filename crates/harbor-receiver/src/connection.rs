//! One connection: its conduct, and the stream that can be made to trickle.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::receiver::State;
use crate::respond::respond;

/// So long may answers that are on their way take once the receiver is told to stop.
const GRACE: Duration = Duration::from_secs(2);

/// Is what the answers on one connection have agreed with its stream.
#[derive(Debug, Default)]
pub(crate) struct Conduct {
    hostile: AtomicBool,
    trickle_every: OnceLock<Duration>,
}

impl Conduct {
    /// Nobody needs to wait for this connection when the receiver stops.
    pub(crate) fn turn_hostile(&self) {
        self.hostile.store(true, Ordering::Relaxed);
    }

    /// From now on the connection sends one byte at a time.
    pub(crate) fn trickle(&self, every: Duration) {
        self.trickle_every.get_or_init(|| every);
    }
}

/// Serves one connection until its client, or the receiver, ends it.
pub(crate) async fn serve(stream: TcpStream, state: Arc<State>, stop: CancellationToken, tasks: TaskTracker) {
    let conduct = Arc::new(Conduct::default());
    let wire = TokioIo::new(Wire { stream, conduct: conduct.clone(), pause: None });
    let service = service_fn(|request| respond(state.clone(), conduct.clone(), request));
    let builder = auto::Builder::new(Tracked(tasks));
    let mut connection = std::pin::pin!(builder.serve_connection(wire, service));

    // How a connection ends is the client's affair: every error here is one that it saw or made.
    tokio::select! {
        _ended = connection.as_mut() => return,
        () = stop.cancelled() => {}
    }
    if conduct.hostile.load(Ordering::Relaxed) {
        return;
    }
    connection.as_mut().graceful_shutdown();
    let _ended_or_late = tokio::time::timeout(GRACE, connection).await;
}

/// Spawns the streams of an HTTP/2 connection under the tracker of the receiver.
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

/// Is the stream under a connection; writes byte by byte when its conduct says so.
struct Wire {
    stream: TcpStream,
    conduct: Arc<Conduct>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Wire {
    fn poll_trickle(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
        every: Duration,
    ) -> Poll<io::Result<usize>> {
        let pause = self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(every)));
        ready!(pause.as_mut().poll(context));
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, &bytes[..bytes.len().min(1)]))?;
        pause.as_mut().reset(Instant::now() + every);
        Poll::Ready(Ok(written))
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.conduct.trickle_every.get().copied() {
            Some(every) => self.poll_trickle(context, bytes, every),
            None => Pin::new(&mut self.stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(every) = self.conduct.trickle_every.get().copied() {
            let first = slices.iter().find(|slice| !slice.is_empty()).map_or(&[][..], |slice| slice);
            return self.poll_trickle(context, first, every);
        }
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
