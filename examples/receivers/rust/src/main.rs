//! Receives webhooks from Harborhook, verifies both signature schemes and prints each event once.

use std::collections::{HashSet, VecDeque};
use std::env;
use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use standardwebhooks::{Webhook, WebhookError};
use tokio::net::TcpListener;

const TOLERANCE_SECS: u64 = 5 * 60;
const BODY_BYTES_MAX: usize = 1024 * 1024;
const IDS_KEPT_MAX: usize = 10_000;

/// Tells whether a request was signed with the endpoint's secret.
struct Verifier {
    secret: String,
    standard: Webhook,
}

impl Verifier {
    fn new(secret: String) -> Result<Self, WebhookError> {
        // Without `whsec_` the secret is its own bytes; `Webhook::new` would read it as base64.
        let standard = match secret.starts_with("whsec_") {
            true => Webhook::new(&secret)?,
            false => Webhook::from_bytes(secret.clone().into_bytes())?,
        };
        Ok(Self { secret, standard })
    }

    /// At least one scheme must have signed, and each that did must be right.
    fn is_genuine(&self, headers: &HeaderMap, body: &[u8]) -> bool {
        let has_standard = headers.contains_key("webhook-signature");
        let has_harborhook = headers.contains_key("x-harborhook-signature");
        (has_standard || has_harborhook)
            && (!has_standard || self.standard.verify(body, headers).is_ok())
            && (!has_harborhook || self.is_genuine_harborhook(headers, body))
    }

    fn is_genuine_harborhook(&self, headers: &HeaderMap, body: &[u8]) -> bool {
        let (Some(timestamp), Some(signatures)) =
            (text(headers, "x-harborhook-timestamp"), text(headers, "x-harborhook-signature"))
        else {
            return false;
        };
        if !is_fresh(timestamp) {
            return false;
        }
        let mut mac =
            Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()).expect("HMAC takes a key of any length");
        mac.update(body);
        mac.update(timestamp.as_bytes());
        // While a secret is rotated there is one signature for each valid secret.
        signatures.split(',').any(|one| {
            let tag = one.trim().strip_prefix("sha256=").and_then(|tag| hex::decode(tag).ok());
            // Compares in constant time.
            tag.is_some_and(|tag| mac.clone().verify_slice(&tag).is_ok())
        })
    }
}

/// Whether a timestamp is near now, in plain decimal digits.
///
/// No leading zeros: the timestamp follows the body without a separator, so a zero could be the body's.
fn is_fresh(timestamp: &str) -> bool {
    let is_canonical = timestamp.bytes().all(|byte| byte.is_ascii_digit()) && !timestamp.starts_with('0');
    let Some(sent) = timestamp.parse::<u64>().ok().filter(|_| is_canonical) else { return false };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_secs();
    now.abs_diff(sent) <= TOLERANCE_SECS
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Remembers the last ids. A real service stores the id in the transaction that handles the event.
#[derive(Default)]
struct SeenIds {
    known: HashSet<String>,
    order: VecDeque<String>,
}

impl SeenIds {
    /// Remembers an id; false if it was known.
    fn add(&mut self, id: &str) -> bool {
        if !self.known.insert(id.to_owned()) {
            return false;
        }
        self.order.push_back(id.to_owned());
        if self.order.len() > IDS_KEPT_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

struct Receiver {
    verifier: Verifier,
    seen: Mutex<SeenIds>,
}

/// Takes the body as bytes: parsing and printing it again would change what was signed.
async fn receive(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let id = text(&headers, "webhook-id").unwrap_or_default();
    if id.is_empty() || !receiver.verifier.is_genuine(&headers, &body) {
        return StatusCode::UNAUTHORIZED;
    }
    if receiver.seen.lock().expect("no holder panics").add(id) {
        let event_type = text(&headers, "x-harborhook-event-type").unwrap_or("-");
        println!("{event_type} {id} {}", String::from_utf8_lossy(&body));
    }
    StatusCode::NO_CONTENT
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let secret =
        env::var("ENDPOINT_SECRET").map_err(|_| "set ENDPOINT_SECRET to the secret of the endpoint")?;
    let port = env::var("PORT").unwrap_or_else(|_| "8081".to_owned());
    let receiver = Receiver { verifier: Verifier::new(secret)?, seen: Mutex::default() };
    let routes = Router::new()
        .route("/", post(receive))
        .route("/{*path}", post(receive))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(Arc::new(receiver));

    let listener = TcpListener::bind(("127.0.0.1", port.parse::<u16>()?)).await?;
    eprintln!("receiving on http://127.0.0.1:{port}/");
    axum::serve(listener, routes).await?;
    Ok(())
}
