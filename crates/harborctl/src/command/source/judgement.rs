//! What a source would make of a request: all that can be said without helping to forge one.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use harbor_signature::source::{Handshake, Judged, Rejection, Request, SIGNED_TEXT_KEPT_MAX, Verifier};
use harbor_wire::source::PayloadEncoding;
use serde::Serialize;

/// More than two days: no source lets a timestamp be more than one day away in either direction.
const FAR_SECS: i64 = 3 * 24 * 60 * 60;

/// What a source would make of a request.
#[derive(Serialize)]
pub(super) struct Judgement {
    pub(super) verdict: Verdict,
    pub(super) timestamp_age_s: Option<i64>,
    /// What the provider calls the type of the event.
    pub(super) event_type: Option<String>,
    /// What the provider calls the event.
    pub(super) event_id: Option<String>,
    /// The kind of reason why it is refused.
    pub(super) code: Option<&'static str>,
    pub(super) message: Option<String>,
    pub(super) header: Option<String>,
    /// The text over which a signature was expected.
    pub(super) signed_text: Option<String>,
    pub(super) signed_text_encoding: Option<PayloadEncoding>,
    pub(super) signed_text_cut: bool,
    /// What ends a handshake.
    pub(super) answer: Option<Answer>,
}

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Verified,
    Handshake,
    Refused,
}

/// What ends a handshake.
#[derive(Serialize)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: Option<&'static str>,
    pub(super) body: String,
    pub(super) body_encoding: PayloadEncoding,
}

/// Judges a request as a source does.
pub(super) fn judge(
    verifier: &Verifier,
    request: &Request<'_>,
    secrets: &[&str],
    now_secs: i64,
) -> Judgement {
    let age = || age_of_verified(verifier, request, secrets, now_secs);
    match verifier.judge(request, secrets, now_secs) {
        Err(rejection) => refused(rejection),
        Ok(Judged::UnsignedHandshake(handshake)) => answered(handshake),
        Ok(Judged::SignedHandshake(handshake)) => Judgement { timestamp_age_s: age(), ..answered(handshake) },
        Ok(Judged::OtherMethod) => {
            let message = Some("events come by POST".to_owned());
            Judgement { code: Some("method_not_allowed"), message, ..bare(Verdict::Refused) }
        }
        Ok(Judged::Event) => Judgement {
            timestamp_age_s: age(),
            event_type: verifier.event_type(request),
            event_id: verifier.event_id(request),
            ..bare(Verdict::Verified)
        },
    }
}

/// How old the timestamp of a verified request is. Verifiers tell the age of what they refuse, so this asks once
/// more, as of a time that is too far from any timestamp that could have passed.
fn age_of_verified(
    verifier: &Verifier,
    request: &Request<'_>,
    secrets: &[&str],
    now_secs: i64,
) -> Option<i64> {
    let rejection = verifier.verify(request, secrets, now_secs.saturating_add(FAR_SECS)).err()?;
    rejection.timestamp_age_s.map(|age_s| age_s.saturating_sub(FAR_SECS))
}

fn answered(handshake: Handshake) -> Judgement {
    let (body, body_encoding) = written(handshake.body);
    let Handshake { status, content_type, .. } = handshake;
    let answer = Answer { status, content_type, body, body_encoding };
    Judgement { answer: Some(answer), ..bare(Verdict::Handshake) }
}

fn refused(rejection: Rejection) -> Judgement {
    let Rejection { reason, signed_text, timestamp_age_s } = rejection;
    let signed_text_cut = signed_text.as_deref().is_some_and(is_cut);
    let signed_text = signed_text.map(written);
    let (signed_text, signed_text_encoding) = signed_text.unzip();
    Judgement {
        timestamp_age_s,
        code: Some(reason.code()),
        message: Some(reason.to_string()),
        header: reason.header().map(str::to_owned),
        signed_text,
        signed_text_encoding,
        signed_text_cut,
        ..bare(Verdict::Refused)
    }
}

fn bare(verdict: Verdict) -> Judgement {
    Judgement {
        verdict,
        timestamp_age_s: None,
        event_type: None,
        event_id: None,
        code: None,
        message: None,
        header: None,
        signed_text: None,
        signed_text_encoding: None,
        signed_text_cut: false,
        answer: None,
    }
}

/// Whether more of a signed text may have been there than is kept: up to the last character that was whole.
fn is_cut(text: &[u8]) -> bool {
    text.len() + char::MAX.len_utf8() > SIGNED_TEXT_KEPT_MAX
}

/// Bytes as a text, or in base64 where they are none.
fn written(bytes: Vec<u8>) -> (String, PayloadEncoding) {
    match String::from_utf8(bytes) {
        Ok(text) => (text, PayloadEncoding::Text),
        Err(error) => (BASE64_STANDARD.encode(error.as_bytes()), PayloadEncoding::Base64),
    }
}
