//! Errors, as RFC 9457 tells them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The media type of a [`Problem`].
pub const PROBLEM_MEDIA_TYPE: &str = "application/problem+json";

/// An error (RFC 9457). Programs act on `code`, people read `detail`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "type": "/docs#problem-validation_failed",
    "title": "The request is well-formed JSON, but a field is wrong",
    "status": 422,
    "detail": "1 field is wrong: url",
    "code": "validation_failed",
    "request_id": "req_01jd3x7m2rexample0000000000",
    "errors": [{"field": "url", "message": "must begin with https://"}],
}))]
pub struct Problem {
    /// Where this kind of problem is explained; relative to the server.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem in one line; the same each time.
    pub title: String,
    /// The HTTP status of the answer.
    pub status: u16,
    /// What was wrong this time.
    pub detail: String,
    /// The kind of problem for programs; stable.
    pub code: String,
    /// Names the request in the server's logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Which fields are wrong, for `validation_failed`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

/// What is wrong with one field of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// The field: its path in the body (`retry.schedule[2]`), a query parameter or a header.
    /// `body` is the body as a whole.
    #[schema(example = "retry.max_attempts")]
    pub field: String,
    /// What is wrong with it.
    #[schema(example = "must be at least 1")]
    pub message: String,
}
