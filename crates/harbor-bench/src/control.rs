//! Single requests beside the load: setting up the server, asking the receiver.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::Full;
use serde_json::Value;

use crate::connection::Connection;

/// Gets a text.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Result<String> {
    let request = request(address, Method::GET, path, None, Bytes::new())?;
    let body = successful(exchange(address, request).await?, &format!("GET {path}"))?;
    String::from_utf8(body.into()).with_context(|| format!("the answer to GET {path} is not text"))
}

/// Returns whether a path is answered with success; `false` while nothing listens.
pub(crate) async fn is_ok(address: SocketAddr, path: &str) -> bool {
    get(address, path).await.is_ok()
}

/// Posts JSON with a credential and returns the JSON of the answer.
pub(crate) async fn post_json(address: SocketAddr, path: &str, key: &str, body: &Value) -> Result<Value> {
    let answer = post(address, path, Some(key), Bytes::from(serde_json::to_vec(body)?)).await?;
    serde_json::from_slice(&answer).with_context(|| format!("the answer to POST {path} is not JSON"))
}

/// Posts bytes and returns those of the answer.
pub(crate) async fn post(address: SocketAddr, path: &str, key: Option<&str>, body: Bytes) -> Result<Bytes> {
    let request = request(address, Method::POST, path, key, body)?;
    successful(exchange(address, request).await?, &format!("POST {path}"))
}

/// Returns the body of an answer, if it is one of success.
pub(crate) fn successful(answer: Response<Bytes>, what: &str) -> Result<Bytes> {
    let status = answer.status();
    let body = answer.into_body();
    ensure!(status.is_success(), "{what} was answered {status}: {}", String::from_utf8_lossy(&body));
    Ok(body)
}

/// Makes a request with a JSON body.
pub(crate) fn request(
    address: SocketAddr,
    method: Method,
    path: &str,
    key: Option<&str>,
    body: Bytes,
) -> Result<Request<Full<Bytes>>> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, address.to_string())
        .header(header::CONTENT_TYPE, "application/json");
    if let Some(key) = key {
        request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
    }
    Ok(request.body(Full::new(body))?)
}

async fn exchange(address: SocketAddr, request: Request<Full<Bytes>>) -> Result<Response<Bytes>> {
    Connection::open(address).await?.send(request).await
}
