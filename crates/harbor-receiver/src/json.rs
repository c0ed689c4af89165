//! How requests look as JSON.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::HeaderMap;
use serde::Serialize;

use crate::journal::Journal;
use crate::request::Request;

#[derive(Serialize)]
struct ListJson<'a> {
    data: Vec<RequestJson<'a>>,
    /// More than are listed when older ones were dropped.
    total: u64,
}

#[derive(Serialize)]
struct RequestJson<'a> {
    received_at: String,
    method: &'a str,
    path: &'a str,
    headers: BTreeMap<&'a str, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
    /// Only of a body that is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
    status: Option<u16>,
    standard_signature: &'static str,
    harborhook_signature: &'static str,
}

impl<'a> From<&'a Request> for RequestJson<'a> {
    fn from(request: &'a Request) -> RequestJson<'a> {
        let body = str::from_utf8(&request.body).ok();
        RequestJson {
            received_at: format!("{:.3}", request.received_at),
            method: request.method.as_str(),
            path: &request.path,
            headers: headers_json(&request.headers),
            body,
            body_base64: body.is_none().then(|| BASE64_STANDARD.encode(&request.body)),
            status: request.status.map(|status| status.as_u16()),
            standard_signature: request.signatures.standard.as_str(),
            harborhook_signature: request.signatures.harborhook.as_str(),
        }
    }
}

/// Writes the kept requests, newest first.
pub(crate) fn list(journal: &Journal) -> Vec<u8> {
    let requests = journal.requests();
    let data = requests.iter().rev().map(|request| RequestJson::from(&**request)).collect();
    to_bytes(&ListJson { data, total: journal.total() })
}

/// Writes one request on one line.
pub(crate) fn line(request: &Request) -> Vec<u8> {
    to_bytes(&RequestJson::from(request))
}

/// A header that came several times is one value here, with commas, as HTTP reads it.
fn headers_json(headers: &HeaderMap) -> BTreeMap<&str, String> {
    let values = |name| headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
    headers
        .keys()
        .map(|name| (name.as_str(), values(name).collect::<Vec<Cow<'_, str>>>().join(", ")))
        .collect()
}

fn to_bytes(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("strings and numbers always serialize")
}
