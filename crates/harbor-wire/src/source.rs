//! Sources: inbound doors, each for the requests of one provider.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::debug::opaque_debug;
use crate::object;
use crate::patch::Patch;
use crate::policy::RateLimit;

/// A source to be made.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "name": "stripe",
    "provider": "stripe",
    "secret": "whsec_wRNftLajMZNeslQOP6vEPm4iVx5NlZ6z",
    "endpoint_id": "ep_01jd3x7m2r8v4q6t0w9y1z3b5d",
}))]
pub struct CreateSource {
    /// What the types of its events begin with: an `invoice.paid` of Stripe becomes `stripe.invoice.paid`.
    #[schema(min_length = 1, max_length = 64)]
    pub name: String,
    /// Whose requests it takes, like `stripe`, `github` or `generic-hmac`.
    #[schema(example = "stripe")]
    pub provider: String,
    /// What requests are verified with, as the provider shows it. Made unless given, where it is the owner who
    /// chooses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 4096)]
    pub secret: Option<String>,
    /// The endpoint that all events go to; subscriptions choose unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_id: Option<String>,
    /// The most verified requests per second; no limit unless set.
    #[serde(default, deserialize_with = "object::only", skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// The addresses and subnets that requests may come from; all unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 100, example = json!(["203.0.113.7", "2001:db8::/32"]))]
    pub allowed_ips: Option<Vec<String>>,
    /// What is answered to a request that was taken, instead of the event's id.
    #[serde(default, deserialize_with = "object::only", skip_serializing_if = "Option::is_none")]
    pub response: Option<SourceResponse>,
    /// `generic-hmac`: the hash; `sha256` unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Algorithm>,
    /// `generic-hmac`: the header with the signature, `X-Signature` unless set. `api-key`: the header with the
    /// key, `X-API-Key` unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// `generic-hmac`: how the signature is written; `hex` unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
    /// `generic-hmac`: the text that is signed, with `{body}`, `{timestamp}`, `{method}`, `{url}` and
    /// `{header:NAME}` for parts of the request; `{body}` unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 1024, example = "{timestamp}.{body}")]
    pub template: Option<String>,
    /// `generic-hmac`: what stands before the signature. Unless set, the hash's name and `=` may stand there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 64)]
    pub prefix: Option<String>,
    /// `generic-hmac`: the header with the time at which the request was signed, in unix seconds or, with 13
    /// digits, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp_header: Option<String>,
    /// `basic`: the user's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255)]
    pub username: Option<String>,
    /// `meta`: the token that the subscription's handshake must name; the secret unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255)]
    pub verify_token: Option<String>,
    /// `generic-hmac`, `basic`, `api-key`, `none`: the header with the event's type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_type_header: Option<String>,
    /// `generic-hmac`, `basic`, `api-key`, `none`: the header that names the event, the same over its retries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id_header: Option<String>,
    /// Where requests hold a timestamp: how far from now it may be; `5m` unless set, at most `24h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "5m")]
    pub timestamp_tolerance: Option<String>,
}

/// A change of a source: a JSON merge patch. Its provider cannot be changed, its secret is rotated.
#[derive(Clone, Default, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({"endpoint_id": null, "rate_limit": {"per_second": 100}}))]
pub struct UpdateSource {
    /// What the types of its events begin with.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = String, required = false)]
    pub name: Patch<String>,
    /// The endpoint that all events go to; null lets subscriptions choose.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = Option<String>, required = false)]
    pub endpoint_id: Patch<String>,
    /// The most verified requests per second.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = Option<RateLimit>, required = false)]
    pub rate_limit: Patch<RateLimit>,
    /// The addresses and subnets that requests may come from.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = Option<Vec<String>>, required = false)]
    pub allowed_ips: Patch<Vec<String>>,
    /// What is answered to a request that was taken.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = Option<SourceResponse>, required = false)]
    pub response: Patch<SourceResponse>,
    /// `generic-hmac`: the hash.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = Option<Algorithm>, required = false)]
    pub algorithm: Patch<Algorithm>,
    /// `generic-hmac`: the header with the signature. `api-key`: the header with the key.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = Option<String>, required = false)]
    pub header: Patch<String>,
    /// `generic-hmac`: how the signature is written.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = Option<Encoding>, required = false)]
    pub encoding: Patch<Encoding>,
    /// `generic-hmac`: the text that is signed.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = Option<String>, required = false)]
    pub template: Patch<String>,
    /// `generic-hmac`: what stands before the signature.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = Option<String>, required = false)]
    pub prefix: Patch<String>,
    /// `generic-hmac`: the header with the time at which the request was signed.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = Option<String>, required = false)]
    pub timestamp_header: Patch<String>,
    /// `basic`: the user's name.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = Option<String>, required = false)]
    pub username: Patch<String>,
    /// `meta`: the token that the subscription's handshake must name.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = Option<String>, required = false)]
    pub verify_token: Patch<String>,
    /// Generic schemes: the header with the event's type.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = Option<String>, required = false)]
    pub event_type_header: Patch<String>,
    /// Generic schemes: the header that names the event.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = Option<String>, required = false)]
    pub event_id_header: Patch<String>,
    /// Where requests hold a timestamp: how far from now it may be.
    #[serde(skip_serializing_if = "Patch::is_kept")]
    #[schema(value_type = Option<String>, required = false)]
    pub timestamp_tolerance: Patch<String>,
}

/// A source.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Source {
    /// Names it.
    #[schema(example = "src_01jd3x7m2r8v4q6t0w9y1z3b5d")]
    pub id: String,
    /// The address to give to the provider.
    #[schema(example = "https://hooks.example.com/ingest/src_01jd3x7m2r8v4q6t0w9y1z3b5d")]
    pub ingest_url: String,
    /// What the types of its events begin with.
    #[schema(example = "stripe")]
    pub name: String,
    /// Whose requests it takes.
    #[schema(example = "stripe")]
    pub provider: String,
    /// What requests are verified with. Only in the answer that made the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "whsec_wRNftLajMZNeslQOP6vEPm4iVx5NlZ6z")]
    pub secret: Option<String>,
    /// The endpoint that all events go to; null where subscriptions choose.
    #[schema(required)]
    pub endpoint_id: Option<String>,
    /// The most verified requests per second; null for no limit.
    #[schema(required)]
    pub rate_limit: Option<RateLimit>,
    /// The addresses and subnets that requests may come from; empty for all.
    #[schema(example = json!(["203.0.113.7/32"]))]
    pub allowed_ips: Vec<String>,
    /// What is answered to a request that was taken; null for the event's id.
    #[schema(required)]
    pub response: Option<SourceResponse>,
    /// See [`CreateSource::algorithm`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Algorithm>,
    /// See [`CreateSource::header`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// See [`CreateSource::encoding`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
    /// See [`CreateSource::template`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// See [`CreateSource::prefix`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// See [`CreateSource::timestamp_header`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp_header: Option<String>,
    /// See [`CreateSource::username`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// See [`CreateSource::event_type_header`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_type_header: Option<String>,
    /// See [`CreateSource::event_id_header`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id_header: Option<String>,
    /// See [`CreateSource::timestamp_tolerance`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp_tolerance: Option<String>,
    /// How many requests it refused, as far as it was counted.
    #[schema(example = 0)]
    pub rejected_count: u64,
    /// When it was made.
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub created_at: String,
    /// When it last changed.
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    pub updated_at: String,
}

/// A hash that HMAC is used with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// HMAC-SHA1.
    Sha1,
    /// HMAC-SHA256.
    Sha256,
    /// HMAC-SHA384.
    Sha384,
    /// HMAC-SHA512.
    Sha512,
}

/// How a signature is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// Lower-case hex.
    Hex,
    /// Standard base64 with padding.
    Base64,
}

/// What is answered to a request that was taken. The header `x-harborhook-event-id` names the event besides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"status": 200, "body": "ok", "content_type": "text/plain"}))]
pub struct SourceResponse {
    /// 200 to 299; 200 unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 200, maximum = 299)]
    pub status: Option<u16>,
    /// The body; none unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4096)]
    pub body: Option<String>,
    /// The media type of the body; `text/plain; charset=utf-8` unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 128)]
    pub content_type: Option<String>,
}

/// A change of what requests are verified with.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"secret": "whsec_0Dd9PlDzoXSxMdqAbPCQqQKqZsEwaJ7B", "overlap": "24h"}))]
pub struct RotateSourceSecret {
    /// The new secret. Made unless given, where it is the owner who chooses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 4096)]
    pub secret: Option<String>,
    /// How long the old secret verifies as well: `24h` unless set, at most `30d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<String>,
}

/// What came of a request to a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "event_id": "evt_01jd3x7m2r8v4q6t0w9y1z3b5d",
    "delivery_id": "dlv_01jd3x7m2r8v4q6t0w9y1z3b5d",
    "duplicate": false,
}))]
pub struct ReceivedEvent {
    /// The event; of a duplicate, the first one.
    pub event_id: String,
    /// Its delivery, where it has exactly one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery_id: Option<String>,
    /// Whether it was received before: nothing was stored.
    pub duplicate: bool,
    /// Of a duplicate: how its delivery stands; of several, the one that is furthest from its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

/// A request that a source refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "id": "rej_01jd3x7m2r8v4q6t0w9y1z3b5d",
    "at": "2026-01-31T12:00:00.000Z",
    "code": "signature_mismatch",
    "message": "no signature matches",
    "header": null,
    "signed_text": "1769860800.{\"id\":\"evt_1\"}",
    "signed_text_encoding": "text",
    "timestamp_age_s": 2,
    "method": "POST",
    "remote_address": "203.0.113.7",
    "body_bytes": 14,
}))]
pub struct Rejection {
    /// Names it.
    pub id: String,
    /// When it came.
    pub at: String,
    /// The kind of reason: `missing_header`, `duplicate_header`, `malformed_header`, `malformed_request`,
    /// `stale_timestamp`, `signature_mismatch`, `credential_mismatch`, `address_not_allowed`, `too_large`,
    /// `rate_limited`, `quota_exceeded`, `fan_out_too_large`.
    pub code: String,
    /// Why, with the values that made it so.
    pub message: String,
    /// The header that it is about, if it is about one.
    #[schema(required)]
    pub header: Option<String>,
    /// The text over which a signature was expected, its first 4 KiB; null where the request did not come so far,
    /// or the scheme signs nothing.
    #[schema(required)]
    pub signed_text: Option<String>,
    /// How `signed_text` is written: `text`, or `base64` where it is no text; null without it.
    #[schema(required)]
    pub signed_text_encoding: Option<PayloadEncoding>,
    /// How old the request's timestamp was in seconds, below zero for one in the future; null where it has none.
    #[schema(required)]
    pub timestamp_age_s: Option<i64>,
    /// The method of the request.
    pub method: String,
    /// Where it came from.
    pub remote_address: String,
    /// The bytes of its body, as far as they were read.
    pub body_bytes: u64,
}

pub use crate::event::PayloadEncoding;

opaque_debug!(CreateSource UpdateSource Source RotateSourceSecret);
