//! Why a request was refused, for the owner of the source.

/// At most this many bytes of the signed text are kept for its owner to look at.
pub const SIGNED_TEXT_KEPT_MAX: usize = 4096;

/// Says why a request is not to be trusted. Never holds a secret, nor a signature that would pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Rejection {
    /// Why.
    pub reason: Reason,
    /// The text over which we expected a signature, cut after [`SIGNED_TEXT_KEPT_MAX`] bytes; none where the
    /// request did not come so far, or the scheme signs nothing.
    pub signed_text: Option<Vec<u8>>,
    /// How old the request's timestamp is in seconds, below zero when it lies in the future; none where it has
    /// none.
    pub timestamp_age_s: Option<i64>,
}

impl Rejection {
    /// Adds how old the timestamp is.
    pub(crate) fn aged(self, age_s: i64) -> Self {
        Self { timestamp_age_s: Some(age_s), ..self }
    }
}

impl From<Reason> for Rejection {
    fn from(reason: Reason) -> Self {
        let timestamp_age_s = match &reason {
            Reason::StaleTimestamp { age_s } => Some(*age_s),
            _ => None,
        };
        Self { reason, signed_text: None, timestamp_age_s }
    }
}

/// The reason of a [`Rejection`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// A header that the scheme needs is not there.
    #[error("header {name} is missing")]
    MissingHeader {
        /// Its name.
        name: String,
    },
    /// A header that the scheme needs is there more than once.
    #[error("header {name} is there more than once")]
    DuplicateHeader {
        /// Its name.
        name: String,
    },
    /// A header that the scheme needs does not have its form.
    #[error("header {name} {rule}")]
    MalformedHeader {
        /// Its name.
        name: String,
        /// The rule, as `must …`.
        rule: &'static str,
    },
    /// The body, or the query, does not hold what the scheme needs.
    #[error("the request {rule}")]
    MalformedRequest {
        /// The rule, as `must …`.
        rule: &'static str,
    },
    /// The timestamp is too far away from now.
    #[error("timestamp is {age_s} s old, which is too far from now")]
    StaleTimestamp {
        /// How old it is in seconds; below zero when it lies in the future.
        age_s: i64,
    },
    /// None of the signatures was made with one of the secrets over this request.
    #[error("no signature matches")]
    SignatureMismatch,
    /// The token, the key or the password is not the one that was agreed on.
    #[error("the credential is wrong")]
    CredentialMismatch,
}

impl Reason {
    pub(crate) fn malformed(name: &str, rule: &'static str) -> Self {
        Self::MalformedHeader { name: name.to_owned(), rule }
    }

    /// The stable name of the kind of reason.
    pub fn code(&self) -> &'static str {
        match self {
            Self::MissingHeader { .. } => "missing_header",
            Self::DuplicateHeader { .. } => "duplicate_header",
            Self::MalformedHeader { .. } => "malformed_header",
            Self::MalformedRequest { .. } => "malformed_request",
            Self::StaleTimestamp { .. } => "stale_timestamp",
            Self::SignatureMismatch => "signature_mismatch",
            Self::CredentialMismatch => "credential_mismatch",
        }
    }

    /// The header that it is about, if it is about one.
    pub fn header(&self) -> Option<&str> {
        match self {
            Self::MissingHeader { name }
            | Self::DuplicateHeader { name }
            | Self::MalformedHeader { name, .. } => Some(name),
            Self::MalformedRequest { .. }
            | Self::StaleTimestamp { .. }
            | Self::SignatureMismatch
            | Self::CredentialMismatch => None,
        }
    }
}
