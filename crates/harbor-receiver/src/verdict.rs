//! Whether the signatures of a request are right.

use std::fmt;

use http::HeaderMap;

use harbor_signature::{SigningKey, VerifyError, harborhook, standard};

/// Says what one scheme makes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A signature was made by one of the secrets, and lately.
    Valid,
    /// The headers are there and do not fit.
    Invalid(VerifyError),
    /// A header of the scheme is absent or is not text.
    Missing,
    /// The receiver has no secret to check with.
    Unchecked,
}

/// Holds what both schemes make of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdicts {
    /// What Standard Webhooks makes of it.
    pub standard: Verdict,
    /// What our own scheme makes of it.
    pub harborhook: Verdict,
}

impl Verdict {
    /// This verdict in one word, without the reason.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Valid => "valid",
            Verdict::Invalid(_) => "invalid",
            Verdict::Missing => "missing",
            Verdict::Unchecked => "unchecked",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Invalid(reason) => write!(f, "invalid ({reason})"),
            Verdict::Valid | Verdict::Missing | Verdict::Unchecked => f.write_str(self.as_str()),
        }
    }
}

impl From<Result<(), VerifyError>> for Verdict {
    fn from(checked: Result<(), VerifyError>) -> Verdict {
        match checked {
            Ok(()) => Verdict::Valid,
            Err(reason) => Verdict::Invalid(reason),
        }
    }
}

impl Verdicts {
    /// Whether the request may pass.
    ///
    /// An endpoint may be signed for by one scheme only, so one valid signature is enough;
    /// but a signature that is there must be right.
    pub fn accept(self) -> bool {
        match (self.standard, self.harborhook) {
            (Verdict::Invalid(_), _) | (_, Verdict::Invalid(_)) => false,
            (Verdict::Missing, Verdict::Missing) => false,
            (Verdict::Valid | Verdict::Unchecked, _) | (_, Verdict::Valid | Verdict::Unchecked) => true,
        }
    }

    /// Checks a request against all secrets.
    pub(crate) fn of(keys: &[SigningKey], headers: &HeaderMap, body: &[u8], now_secs: i64) -> Verdicts {
        if keys.is_empty() {
            return Verdicts { standard: Verdict::Unchecked, harborhook: Verdict::Unchecked };
        }
        let standard = standard_headers(headers)
            .map_or(Verdict::Missing, |signed| standard::verify(keys, signed, body, now_secs).into());
        let harborhook = harborhook_headers(headers)
            .map_or(Verdict::Missing, |signed| harborhook::verify(keys, signed, body, now_secs).into());
        Verdicts { standard, harborhook }
    }
}

fn standard_headers(headers: &HeaderMap) -> Option<standard::Headers<'_>> {
    Some(standard::Headers {
        webhook_id: find_text(headers, standard::ID_HEADER)?,
        timestamp: find_text(headers, standard::TIMESTAMP_HEADER)?,
        signature: find_text(headers, standard::SIGNATURE_HEADER)?,
    })
}

fn harborhook_headers(headers: &HeaderMap) -> Option<harborhook::Headers<'_>> {
    Some(harborhook::Headers {
        timestamp: find_text(headers, harborhook::TIMESTAMP_HEADER)?,
        signature: find_text(headers, harborhook::SIGNATURE_HEADER)?,
    })
}

/// The value of a header, if it is there and is text.
pub(crate) fn find_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests;
