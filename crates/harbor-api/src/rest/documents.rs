//! The API's own description: the OpenAPI document, and a page made from it.

use std::sync::LazyLock;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderValue;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};

use crate::docs::{self, Page};
use crate::openapi;

static OPENAPI: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(openapi::json()));

static DOCS: LazyLock<Page> = LazyLock::new(|| docs::page(&openapi::document()));

/// The OpenAPI document.
pub(crate) async fn openapi() -> Response {
    typed(OPENAPI.clone(), "application/json")
}

/// The page that people read.
pub(crate) async fn docs() -> Response {
    let mut response = typed(DOCS.html.clone(), "text/html; charset=utf-8");
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, DOCS.security_policy.clone());
    response
}

fn typed(bytes: Bytes, media_type: &'static str) -> Response {
    let mut response = Response::new(Body::from(bytes));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
