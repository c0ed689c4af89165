//! What a connection is doing, so that one that does nothing, or only pretends to, can be closed.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// What one connection is doing.
pub(super) struct Activity {
    began: Instant,
    /// Requests whose head was read and whose answer has not begun.
    requests: AtomicU32,
    /// Milliseconds after `began` at which the last request ended or a byte of an answer was last taken.
    quiet_since_ms: AtomicU64,
    /// Milliseconds after `began` at which the first byte came after that; [`NOTHING`] for none.
    head_since_ms: AtomicU64,
    is_http2: AtomicBool,
}

/// No byte has come.
const NOTHING: u64 = u64::MAX;

impl Default for Activity {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            requests: AtomicU32::new(0),
            quiet_since_ms: AtomicU64::new(0),
            head_since_ms: AtomicU64::new(NOTHING),
            is_http2: AtomicBool::new(false),
        }
    }
}

impl Activity {
    fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis().try_into().unwrap_or(NOTHING - 1)
    }

    /// Notes that a request's head is here. Its answer has begun when the guard is dropped.
    pub(super) fn begin_request(activity: &Arc<Self>) -> Busy {
        activity.requests.fetch_add(1, Ordering::Relaxed);
        activity.head_since_ms.store(NOTHING, Ordering::Relaxed);
        Busy(Arc::clone(activity))
    }

    fn note_read(&self, bytes: &[u8]) {
        if self.requests.load(Ordering::Relaxed) > 0 || self.head_since_ms.load(Ordering::Relaxed) != NOTHING
        {
            return;
        }
        // The preface of HTTP/2. Its frames between requests are not the beginning of a head.
        if bytes.starts_with(b"PRI") {
            self.is_http2.store(true, Ordering::Relaxed);
        }
        if !self.is_http2.load(Ordering::Relaxed) {
            self.head_since_ms.store(self.now_ms(), Ordering::Relaxed);
        }
    }

    fn note_written(&self) {
        self.quiet_since_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// Whether the head of a request began that long ago and is not complete.
    pub(super) fn is_head_late(&self, timeout: Duration) -> bool {
        let since = self.head_since_ms.load(Ordering::Relaxed);
        since != NOTHING && self.requests.load(Ordering::Relaxed) == 0 && self.is_over(since, timeout)
    }

    /// Whether there was no request, and nothing was taken of an answer, for that long.
    pub(super) fn is_idle_for(&self, timeout: Duration) -> bool {
        self.requests.load(Ordering::Relaxed) == 0
            && self.head_since_ms.load(Ordering::Relaxed) == NOTHING
            && self.is_over(self.quiet_since_ms.load(Ordering::Relaxed), timeout)
    }

    fn is_over(&self, since_ms: u64, timeout: Duration) -> bool {
        u128::from(self.now_ms().saturating_sub(since_ms)) >= timeout.as_millis()
    }
}

/// A request under way.
pub(super) struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.quiet_since_ms.store(self.0.now_ms(), Ordering::Relaxed);
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream that notes what is read from it.
pub(super) struct Watched {
    stream: TcpStream,
    activity: Arc<Activity>,
}

impl Watched {
    pub(super) fn new(stream: TcpStream, activity: Arc<Activity>) -> Self {
        Self { stream, activity }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let read = &buffer.filled()[before..];
        if !read.is_empty() {
            self.activity.note_read(read);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.activity.note_written();
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, slices))?;
        self.activity.note_written();
        Poll::Ready(Ok(written))
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
