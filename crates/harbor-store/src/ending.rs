//! How open deliveries end without an attempt, whatever store they are in.

use harbor_model::delivery::{Cause, DeadLetterState, DeliveryStatus};
use harbor_model::time::Timestamp;

/// How an open delivery ends without an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Cancelled,
    Dead(Cause),
}

/// What the row of a delivery says of its end.
pub(crate) struct EndColumns {
    pub(crate) status: &'static str,
    pub(crate) cause: Option<&'static str>,
    pub(crate) dead_at: Option<i64>,
    pub(crate) dlq_state: Option<&'static str>,
}

impl End {
    /// What the row says of an end at `now`.
    pub(crate) fn columns(self, now: Timestamp) -> EndColumns {
        match self {
            Self::Cancelled => EndColumns {
                status: DeliveryStatus::Cancelled.as_str(),
                cause: None,
                dead_at: None,
                dlq_state: None,
            },
            Self::Dead(cause) => EndColumns {
                status: DeliveryStatus::Dead.as_str(),
                cause: Some(cause.as_str()),
                dead_at: Some(now.unix_ms()),
                dlq_state: Some(DeadLetterState::Open.as_str()),
            },
        }
    }
}
