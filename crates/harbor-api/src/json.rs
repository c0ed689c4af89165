//! Bodies: read with a limit, parsed fast, and explained when they are wrong.

pub(crate) mod explain;

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::budget::BodyShare;
use crate::json::explain::{Mistake, explain};
use crate::problem::{Kind, Refusal, Result};

/// How much of a body that is too large is read and thrown away. A caller who is still writing would
/// otherwise see a broken connection instead of the answer.
const DRAINED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The body of an action that takes no fields: empty, or an empty object.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoFields {}

/// What JSON allows between its parts.
const JSON_BLANKS: [char; 4] = [' ', '\t', '\n', '\r'];

/// The limits of one body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimits {
    pub(crate) bytes_max: usize,
    pub(crate) timeout: Duration,
}

/// Reads a JSON body to its end.
pub(crate) async fn read(headers: &HeaderMap, body: Body, limits: BodyLimits) -> Result<Bytes> {
    check_content_type(headers)?;
    within(limits.timeout, collect(headers, body, limits.bytes_max, |_| Ok(()))).await
}

/// Reads a body of any media type to its end, out of a share of memory.
pub(crate) async fn read_any(
    headers: &HeaderMap,
    body: Body,
    limits: BodyLimits,
    share: &BodyShare,
) -> Result<Bytes> {
    within(limits.timeout, collect(headers, body, limits.bytes_max, |bytes| share.take(bytes))).await
}

async fn within(timeout: Duration, read: impl Future<Output = Result<Bytes>>) -> Result<Bytes> {
    match tokio::time::timeout(timeout, read).await {
        Ok(read) => read,
        Err(_) => Err(Refusal::bare(Kind::BodyTimeout)),
    }
}

/// Reads a body. `admit` is asked about the bytes of each frame that has come.
async fn collect(
    headers: &HeaderMap,
    mut body: Body,
    bytes_max: usize,
    admit: impl Fn(usize) -> Result<()>,
) -> Result<Bytes> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|bytes| bytes > bytes_max) {
        drain(body).await;
        return Err(too_large(bytes_max));
    }
    let (mut frames, mut bytes) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Refusal::new(Kind::IncompleteBody, error))?;
        // What is no data is a trailer, which says nothing to us.
        let Ok(data) = frame.into_data() else { continue };
        bytes += data.len();
        if bytes > bytes_max {
            drain(body).await;
            return Err(too_large(bytes_max));
        }
        admit(data.len())?;
        frames.push(data);
    }
    // Nearly every body is one frame: it is taken as it is, without a copy.
    if frames.len() == 1 {
        return Ok(frames.pop().expect("there is one"));
    }
    Ok(frames.concat().into())
}

fn too_large(bytes_max: usize) -> Refusal {
    Refusal::new(Kind::PayloadTooLarge, format!("the body may have at most {bytes_max} bytes"))
}

/// Reads on until the body ends or [`DRAINED_BYTES_MAX`] are read.
async fn drain(mut body: Body) {
    let mut left = DRAINED_BYTES_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        if bytes > left {
            return;
        }
        left -= bytes;
    }
}

/// Refuses what is plainly something else. A missing or vague type is taken for JSON: the body tells.
fn check_content_type(headers: &HeaderMap) -> Result<()> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let text = value.to_str().unwrap_or("?").to_ascii_lowercase();
    let essence = text.split(';').next().unwrap_or_default().trim();
    // A form is what `curl -d` claims to send unless told otherwise. No request of ours is one, so its body
    // is JSON, or is refused for not being JSON.
    let vague = ["", "text/plain", "application/octet-stream", "*/*", "application/x-www-form-urlencoded"];
    if essence.ends_with("json") || vague.contains(&essence) {
        return Ok(());
    }
    let detail = format!("`{essence}` is not JSON; send `content-type: application/json`");
    Err(Refusal::new(Kind::UnsupportedMediaType, detail))
}

/// Reads a value that borrows nothing.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    let text = text(body)?;
    parse_borrowed(text, |text| attempt::<T>(text).map(drop))
}

/// Reads a value that borrows from the body. `check` reads the same type from a text of any lifetime; it
/// is asked only to explain what is wrong.
pub(crate) fn parse_borrowed<'a, T: Deserialize<'a>>(
    text: &'a str,
    check: impl Fn(&str) -> Result<(), Mistake>,
) -> Result<T> {
    // Left to itself, serde takes an array for the fields of a struct in their order.
    if !text.trim_start_matches(JSON_BLANKS).starts_with('{') {
        return Err(explain::not_an_object(text));
    }
    serde_json::from_str(text).map_err(|_| explain(text, check))
}

/// Reads a value that has a default where there is no body.
pub(crate) fn parse_optional<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T> {
    if body.is_empty() { Ok(T::default()) } else { parse(body) }
}

/// Reads a merge patch: an object.
pub(crate) fn parse_patch(body: &[u8]) -> Result<Map<String, Value>> {
    parse(body)
}

/// Writes a value as a document that a patch can be merged into.
pub(crate) fn document(value: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) | Err(_) => unreachable!("what can be patched is a struct with text keys"),
    }
}

/// Reads a value from a document that was put together here.
pub(crate) fn parse_document<T: DeserializeOwned>(document: Map<String, Value>) -> Result<T> {
    let text = serde_json::to_string(&Value::Object(document)).expect("a document has only text keys");
    parse(text.as_bytes())
}

/// The body as text.
pub(crate) fn text(body: &[u8]) -> Result<&str> {
    std::str::from_utf8(body).map_err(|error| {
        let detail = format!("the body is not UTF-8 after its first {} bytes", error.valid_up_to());
        Refusal::new(Kind::InvalidJson, detail)
    })
}

/// Reads a value and says where it is wrong.
pub(crate) fn attempt<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Mistake> {
    let mut json = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut json).map_err(Mistake::from)
}

#[cfg(test)]
mod tests;
