//! HTTP/1.1 connections.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use crate::send::connection::{Answer, Message, Rest, Unanswered};
use crate::send::failure::Failure;
use crate::send::settings::SendSettings;
use crate::send::stream::{Allowance, Metered, Stream};
use crate::send::target::Route;

/// An HTTP/1.1 connection. It has no task: whoever waits for something on it drives it.
///
/// That saves two switches between tasks for each request, and a request that is given up
/// takes its connection with it.
pub(super) struct Http1 {
    /// The other end.
    pub(super) remote: SocketAddr,
    /// When it was opened.
    pub(super) born: Instant,
    sender: http1::SendRequest<Full<Bytes>>,
    driver: http1::Connection<TokioIo<Metered>, Full<Bytes>>,
    allowance: Arc<Allowance>,
    is_over: bool,
}

impl Http1 {
    /// Begins to speak HTTP/1.1; nothing is sent yet.
    pub(super) async fn open(
        stream: Stream,
        remote: SocketAddr,
        settings: &SendSettings,
    ) -> Result<Box<Self>, Failure> {
        let allowance = Allowance::new(settings);
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(settings.response_head_bytes_max)
            .handshake(TokioIo::new(Metered::new(stream, allowance.clone())))
            .await
            .map_err(|error| Failure::of_http1(&error))?;
        Ok(Box::new(Self { remote, born: Instant::now(), sender, driver, allowance, is_over: false }))
    }

    /// Sends `message` and waits for the head of the answer.
    pub(super) async fn ask(
        mut self: Box<Self>,
        route: &Route,
        message: Message,
    ) -> Result<Answer, Unanswered> {
        let body = message.body;
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = route.path.clone();
        *request.headers_mut() = message.headers;
        request.headers_mut().insert(header::HOST, route.host.clone());
        if body.is_empty() {
            // Hyper writes the length of every other body, but some servers insist on this one too.
            request.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }

        self.allowance.grant();
        let response = self.sender.try_send_request(request);
        match self.drive(response).await {
            Ok(response) => {
                let (head, body) = response.into_parts();
                let rest = Rest::Http1 { connection: self, body };
                Ok(Answer { status: head.status, headers: head.headers, rest })
            }
            Err(mut error) => {
                // Hyper gives the request back only if it has not begun to write it.
                let unsent = error.take_message().map(|mut request| {
                    let headers = std::mem::take(request.headers_mut());
                    Box::new(Message::new(headers, body))
                });
                Err(Unanswered { failure: Failure::of_http1(&error.into_error()), unsent })
            }
        }
    }

    /// The next part of the answer's body; none at its end.
    pub(super) async fn next_chunk(&mut self, body: &mut Incoming) -> Option<Result<Bytes, hyper::Error>> {
        loop {
            if body.is_end_stream() {
                return None;
            }
            match self.drive(body.frame()).await? {
                Ok(frame) => match frame.into_data() {
                    Ok(chunk) => return Some(Ok(chunk)),
                    // Trailers; nobody asked for them.
                    Err(_) => continue,
                },
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Whether the connection is open and has nothing left to do.
    ///
    /// Leaves no trace of the task that asks: a connection that waits in the pool wakes nobody.
    pub(super) fn is_idle(&mut self) -> bool {
        self.poll(&mut Context::from_waker(Waker::noop()));
        !self.is_over && self.sender.is_ready()
    }

    /// Waits for `future`, which needs the connection to move on.
    async fn drive<F: Future>(&mut self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|cx| {
            // What it asks of the connection first, then what the connection has done for it.
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(output);
            }
            self.poll(cx);
            future.as_mut().poll(cx)
        })
        .await
    }

    fn poll(&mut self, cx: &mut Context<'_>) {
        if !self.is_over {
            // An error reaches whoever waits for the answer or its body.
            self.is_over = Pin::new(&mut self.driver).poll(cx).is_ready();
        }
    }
}
