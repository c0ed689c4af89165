//! Around every request: its id, its deadline, and the finish of its answer.

use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use harbor_model::chance::Rng;
use harbor_model::id::EventId;
use harbor_model::time::Clock;
use harbor_wire::problem::PROBLEM_MEDIA_TYPE;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, StatusCode};
use tracing::error;

use crate::problem::{Kind, Refusal};
use crate::quota;

/// Names a request, in its answer and in the logs.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The most characters of a request id that a caller chose.
const REQUEST_ID_CHARS_MAX: usize = 128;

/// The statuses of what passes by itself.
pub(crate) const PASSING: [StatusCode; 2] = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];

/// When to come back after something that passes.
const RETRY_AFTER_SECS: HeaderValue = HeaderValue::from_static("1");

/// What the envelope needs.
#[derive(Clone)]
pub(crate) struct Envelope {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rng: Arc<dyn Rng>,
}

/// The id of a request.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(HeaderValue);

impl RequestId {
    /// The id that the envelope gave to this request.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get::<Self>().cloned().expect("the envelope gives every request an id")
    }

    /// Takes the caller's id if it is sane, or makes one.
    fn choose(headers: &HeaderMap, envelope: &Envelope) -> Self {
        let is_sane = |value: &&HeaderValue| {
            let fits = |b: &u8| b.is_ascii_alphanumeric() || b"-_.:".contains(b);
            (1..=REQUEST_ID_CHARS_MAX).contains(&value.len()) && value.as_bytes().iter().all(fits)
        };
        if let Some(value) = headers.get(REQUEST_ID).filter(is_sane) {
            return Self(value.clone());
        }
        let made = EventId::new(envelope.clock.now(), &*envelope.rng).to_string();
        let made = made.replacen(EventId::PREFIX, "req_", 1);
        Self(HeaderValue::from_str(&made).expect("an id is ASCII"))
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().expect("a request id is visible ASCII")
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Gives the request an id and finishes its answer.
pub(crate) async fn wrap(State(envelope): State<Envelope>, mut request: Request, next: Next) -> Response {
    let id = RequestId::choose(request.headers(), &envelope);
    request.extensions_mut().insert(id.clone());
    let answer = survive(next.run(request)).await;
    finish(answer, id)
}

/// Answers with a problem where a handler panics: one request fails, the server goes on.
async fn survive(answer: impl Future<Output = Response>) -> Response {
    let mut answer = Box::pin(answer);
    let caught = poll_fn(move |context| {
        // What the panic left half done is dropped with the future and never looked at again.
        match catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(context))) {
            Ok(Poll::Ready(response)) => Poll::Ready(Ok(response)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(panic) => Poll::Ready(Err(panic)),
        }
    });
    caught.await.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        let mut response = Refusal::bare(Kind::Internal).into_response();
        response.extensions_mut().insert(Panicked(text));
        response
    })
}

/// What a panic said, for the log.
#[derive(Clone)]
struct Panicked(String);

/// Writes out the problem, if it is one, and names the request.
fn finish(mut answer: Response, id: RequestId) -> Response {
    if let Some(Panicked(text)) = answer.extensions_mut().remove() {
        error!(request_id = %id, panic = text, "request {id} panicked: {text}");
    }
    if let Some(refusal) = answer.extensions_mut().remove::<Refusal>() {
        write_problem(&mut answer, &refusal, &id);
    }
    answer.headers_mut().insert(REQUEST_ID, id.0);
    answer
}

fn write_problem(answer: &mut Response, refusal: &Refusal, id: &RequestId) {
    let problem = refusal.to_problem(id.as_str());
    let bytes = serde_json::to_vec(&problem).expect("a problem has only text keys");
    let headers = answer.headers_mut();
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_MEDIA_TYPE));
    if let Some(methods) = refusal.allow {
        headers.insert(ALLOW, HeaderValue::from_static(methods));
    }
    let status = refusal.kind.status();
    if status == StatusCode::UNAUTHORIZED {
        let scheme = if refusal.kind == Kind::Unauthorized { "Bearer" } else { "Webhook-Signature" };
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
    }
    if PASSING.contains(&status) {
        headers.insert(RETRY_AFTER, RETRY_AFTER_SECS);
    }
    if let Some(standing) = &refusal.quota {
        quota::tell_refused(**standing, headers);
    }
    *answer.body_mut() = Body::from(bytes);
}

#[cfg(test)]
mod tests {
    use harbor_model::chance::SeededRng;
    use harbor_model::time::Timestamp;
    use std::time::Duration;

    use super::*;

    struct StillClock;

    #[async_trait::async_trait]
    impl Clock for StillClock {
        fn now(&self) -> Timestamp {
            Timestamp::from_unix_ms(1_700_000_000_000)
        }

        fn elapsed(&self) -> Duration {
            Duration::ZERO
        }

        async fn sleep_until(&self, _: Timestamp) {
            unreachable!("the envelope does not wait")
        }
    }

    #[test]
    fn a_sane_request_id_is_kept_and_another_replaced() {
        let envelope = Envelope { clock: Arc::new(StillClock), rng: Arc::new(SeededRng::new(1)) };
        let choose = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(text.as_bytes()).unwrap());
            RequestId::choose(&headers, &envelope).to_string()
        };
        assert_eq!(choose("order-7:a.b_c"), "order-7:a.b_c");
        let longest = "x".repeat(128);
        assert_eq!(choose(&longest), longest);
        for odd in ["", "a b", "<script>", "é", &"x".repeat(129)] {
            assert!(choose(odd).starts_with("req_"), "{odd}");
        }
    }

    #[tokio::test]
    async fn a_panic_becomes_a_problem() {
        let answer = survive(async { panic!("out of cheese") }).await;
        let answer = finish(answer, RequestId(HeaderValue::from_static("req_1")));
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(answer.headers()[CONTENT_TYPE], PROBLEM_MEDIA_TYPE);
        let body = axum::body::to_bytes(answer.into_body(), 4096).await.unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(body.contains("internal_error") && !body.contains("cheese"), "{body}");
    }
}
