//! The byte stream under a connection: TCP, with or without TLS, and how much may come over it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::send::settings::SendSettings;

/// The byte stream under a connection.
pub(super) enum Stream {
    /// For `http`.
    Plain(TcpStream),
    /// For `https`.
    Tls(Box<TlsStream<TcpStream>>),
}

/// A byte stream that ends with an error when more comes than its [`Allowance`].
pub(super) struct Metered {
    stream: Stream,
    allowance: Arc<Allowance>,
}

/// How many more bytes a receiver may send.
///
/// Heads, bodies and windows have limits of their own; this one is for what has none: interim answers,
/// pings, settings, frames that nobody knows. Without it a receiver could keep us reading, also while
/// nobody asks it anything.
pub(super) struct Allowance {
    left: AtomicU64,
    by_request: u64,
}

/// The kind of error of a receiver that has used up its allowance; sockets never give it.
/// A kind, because of an error's own type HTTP/2 keeps nothing.
pub(super) const ALLOWANCE_EXCEEDED: io::ErrorKind = io::ErrorKind::QuotaExceeded;

/// What a request's answer may take besides its head and its body.
const SLACK_BYTES: u64 = 1024 * 1024;

/// How many requests' allowances may be saved up, for those that share a connection.
const REQUESTS_SAVED_MAX: u64 = 64;

/// What ALPN calls HTTP/2.
pub(super) const ALPN_HTTP2: &[u8] = b"h2";

impl Stream {
    /// Whether both sides agreed on HTTP/2.
    pub(super) fn is_http2(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => tls.get_ref().1.alpn_protocol() == Some(ALPN_HTTP2),
        }
    }
}

impl Allowance {
    /// The allowance of a connection that nothing was asked on yet.
    pub(super) fn new(settings: &SendSettings) -> Arc<Self> {
        let asked_for = settings.response_head_bytes_max + settings.response_body_bytes_max;
        Arc::new(Self { left: AtomicU64::new(SLACK_BYTES), by_request: asked_for as u64 + SLACK_BYTES })
    }

    /// Grants what one more answer may take.
    pub(super) fn grant(&self) {
        let more = |left: u64| Some((left + self.by_request).min(self.by_request * REQUESTS_SAVED_MAX));
        // Never refused: `more` always gives a value.
        let _ = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// Takes `count` bytes off, if they are left.
    fn take(&self, count: usize) -> bool {
        let less = |left: u64| left.checked_sub(count as u64);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

impl Metered {
    pub(super) fn new(stream: Stream, allowance: Arc<Allowance>) -> Self {
        Self { stream, allowance }
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if self.allowance.take(buffer.filled().len() - before) {
            Poll::Ready(Ok(()))
        } else {
            Poll::Ready(Err(ALLOWANCE_EXCEEDED.into()))
        }
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            Self::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(tcp) => tcp.is_write_vectored(),
            Self::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
