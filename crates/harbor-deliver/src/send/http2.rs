//! HTTP/2 connections.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderValue, Method, Request, Version, header};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::debug;

use crate::send::connection::{Answer, Message, Rest, Unanswered};
use crate::send::failure::Failure;
use crate::send::settings::SendSettings;
use crate::send::stream::{Allowance, Metered, Stream};
use crate::send::target::Route;

/// How much of one answer may lie unread; more than what is read of a body, so that nobody waits for a window.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;

/// How much of all answers of one connection may lie unread.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// An HTTP/2 connection, shared by the requests that are on it. The last one to go closes it.
pub(super) struct Http2 {
    /// The other end.
    pub(super) remote: SocketAddr,
    /// When it was opened.
    pub(super) born: Instant,
    sender: SendRequest<Bytes>,
    allowance: Arc<Allowance>,
    /// Moves the bytes; a set, so that it ends with the connection.
    _driver: JoinSet<()>,
}

impl Http2 {
    /// Begins to speak HTTP/2.
    pub(super) async fn open(
        stream: Stream,
        remote: SocketAddr,
        settings: &SendSettings,
    ) -> Result<Arc<Self>, Failure> {
        let head_bytes_max = u32::try_from(settings.response_head_bytes_max).unwrap_or(u32::MAX);
        let allowance = Allowance::new(settings);
        let (sender, connection) = h2::client::Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_header_list_size(head_bytes_max)
            .handshake(Metered::new(stream, allowance.clone()))
            .await
            .map_err(|error| Failure::of_http2(&error))?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // Whoever waits for an answer hears of the error too.
            if let Err(error) = connection.await {
                debug!(error = %error, "an HTTP/2 connection to {remote} ended: {error}");
            }
        });
        Ok(Arc::new(Self { remote, born: Instant::now(), sender, allowance, _driver: driver }))
    }

    /// Whether new requests may be sent.
    pub(super) fn is_open(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        matches!(self.sender.clone().poll_ready(&mut cx), Poll::Ready(Ok(())))
    }

    /// Sends `message` and waits for the head of the answer.
    pub(super) async fn ask(
        self: Arc<Self>,
        route: &Route,
        message: Message,
        was_used: bool,
    ) -> Result<Answer, Unanswered> {
        // On a new connection a refusal is final, so no copy is needed to ask again.
        let copy = was_used.then(|| message.headers.clone());
        let body = message.body.clone();
        match self.exchange(route, message).await {
            Ok((head, body)) => {
                let (head, ()) = head.into_parts();
                let rest = Rest::Http2 { body, _connection: self };
                Ok(Answer { status: head.status, headers: head.headers, rest })
            }
            Err(error) => {
                let unsent =
                    copy.filter(|_| was_refused(&error)).map(|headers| Box::new(Message::new(headers, body)));
                Err(Unanswered { failure: Failure::of_http2(&error), unsent })
            }
        }
    }

    async fn exchange(
        &self,
        route: &Route,
        message: Message,
    ) -> Result<(http::Response<()>, h2::RecvStream), h2::Error> {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = route.whole.clone();
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = message.headers;
        request.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(message.body.len()));

        let mut sender = self.sender.clone();
        poll_fn(|cx| sender.poll_ready(cx)).await?;
        self.allowance.grant();
        let is_empty = message.body.is_empty();
        let (answer, mut outgoing) = sender.send_request(request, is_empty)?;
        if !is_empty {
            // The bytes are shared, not copied, so that waiting for the receiver's window would save nothing.
            outgoing.send_data(message.body, true)?;
        }
        Ok(answer.await?.into_parts()).map(|(head, body)| (http::Response::from_parts(head, ()), body))
    }
}

/// Whether the receiver has promised that it has processed nothing of the request (RFC 9113, 6.8 and 8.7):
/// it said goodbye before the request came, or refused the stream.
fn was_refused(error: &h2::Error) -> bool {
    let is_goodbye = error.is_go_away();
    let is_refusal = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    error.is_remote() && (is_goodbye || is_refusal)
}
