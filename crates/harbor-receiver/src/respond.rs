//! From a request to its answer.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;

use crate::answer::{Answer, Manner};
use crate::body::AnswerBody;
use crate::connection::Conduct;
use crate::json;
use crate::receiver::State;
use crate::request::Request;
use crate::verdict::Verdicts;

/// Headers of this many values of 64 KiB are more than any client reads.
const HUGE_HEADERS: usize = 160;
const HUGE_HEADER: HeaderName = HeaderName::from_static("x-huge");

/// Tells hyper to close the connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is closed without an answer")]
pub(crate) struct Hangup;

/// Answers one request: about ourselves, or as a webhook.
pub(crate) async fn respond(
    state: Arc<State>,
    conduct: Arc<Conduct>,
    request: http::Request<Incoming>,
) -> Result<Response<AnswerBody>, Hangup> {
    if let Some(response) = find_own_page(&state, &request) {
        return Ok(response);
    }
    let mut request = match read(&state, request).await {
        Ok(request) => request,
        Err(Unread::TooLarge) => return Ok(plain(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large\n")),
        Err(Unread::Broken) => return Err(Hangup),
    };
    let answer = choose(&state, &request);
    request.status = answer.status_sent();
    if let Some(observer) = &state.observer {
        observer(&request);
    }
    state.journal.record(request);
    perform(answer, &conduct).await
}

/// The pages that the receiver has beside taking webhooks.
fn find_own_page(state: &State, request: &http::Request<Incoming>) -> Option<Response<AnswerBody>> {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/healthz") => Some(json_page(&br#"{"status":"ok"}"#[..])),
        (&Method::GET, "/requests") => Some(json_page(json::list(&state.journal))),
        (&Method::DELETE, "/requests") => {
            state.journal.clear();
            Some(plain(StatusCode::NO_CONTENT, ""))
        }
        _ => None,
    }
}

enum Unread {
    TooLarge,
    Broken,
}

async fn read(state: &State, request: http::Request<Incoming>) -> Result<Request, Unread> {
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, state.body_bytes_max).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(Unread::TooLarge),
        Err(_) => return Err(Unread::Broken),
    };
    let received_at = (state.clock)();
    let signatures = Verdicts::of(&state.keys, &head.headers, &body, received_at.as_second());
    Ok(Request {
        received_at,
        method: head.method,
        path: head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        headers: head.headers,
        body,
        signatures,
        status: None,
    })
}

/// Only a webhook with a good signature takes a step of the script.
fn choose(state: &State, request: &Request) -> Answer {
    if request.method != Method::POST {
        return Answer::status(StatusCode::METHOD_NOT_ALLOWED)
            .header(ALLOW.as_str(), "POST")
            .body("webhooks come by POST; GET /requests lists those that came\n");
    }
    if !request.signatures.accept() {
        let Verdicts { standard, harborhook } = request.signatures;
        return Answer::status(StatusCode::UNAUTHORIZED)
            .body(format!("standard signature: {standard}\nharborhook signature: {harborhook}\n"));
    }
    state.script().choose(request)
}

async fn perform(answer: Answer, conduct: &Conduct) -> Result<Response<AnswerBody>, Hangup> {
    let Answer { status, headers, body, delay, manner } = answer;
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    if manner != Manner::Polite {
        conduct.turn_hostile();
    }

    let mut response = Response::new(AnswerBody::whole(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    match manner {
        Manner::Polite => {}
        Manner::NeverAnswer => std::future::pending().await,
        Manner::CloseEarly => return Err(Hangup),
        Manner::TrickleHeaders { every } => {
            conduct.trickle(every);
            add_huge_headers(&mut response);
        }
        Manner::TrickleBody { every } => *response.body_mut() = AnswerBody::trickle(every),
        Manner::EndlessBody => *response.body_mut() = AnswerBody::Endless,
        Manner::HugeHeaders => add_huge_headers(&mut response),
    }
    Ok(response)
}

/// Adds 10 MiB of headers.
fn add_huge_headers(response: &mut Response<AnswerBody>) {
    let value = HeaderValue::try_from("x".repeat(64 * 1024)).expect("x may stand in a header");
    for _ in 0..HUGE_HEADERS {
        response.headers_mut().append(HUGE_HEADER, value.clone());
    }
}

fn json_page(body: impl Into<Bytes>) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::whole(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A short answer before the body was read, so the connection cannot be used again.
fn plain(status: StatusCode, body: &'static str) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::whole(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
