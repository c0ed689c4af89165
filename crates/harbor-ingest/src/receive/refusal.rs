//! Why a request to a source was not taken.

use std::net::IpAddr;

use harbor_model::port::Fault;
use harbor_model::port::observer::ReceiveResult;
use harbor_signature::source::Rejection;

use crate::publish::PublishRefusal;
use crate::quota::QuotaStanding;

/// Says why a request was not taken.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReceiveRefusal {
    /// There is no such source.
    #[error("the source does not exist")]
    NoSource,
    /// The source takes no requests from this address.
    #[error("the source takes no requests from {0}")]
    ForeignAddress(IpAddr),
    /// Nothing but a handshake comes by this method.
    #[error("events come by POST")]
    Method,
    /// The body is too large.
    #[error("the body may have at most {0} bytes")]
    TooLarge(usize),
    /// It is not to be trusted.
    #[error(transparent)]
    Unverified(#[from] Rejection),
    /// The source has taken all that its rate allows for now.
    #[error("the source takes {} requests per second", .0.limit)]
    OverRate(QuotaStanding),
    /// It was verified, and could not be published.
    #[error(transparent)]
    Publish(#[from] PublishRefusal),
}

impl ReceiveRefusal {
    /// Its stable name, for the owner of the source; none for what the owner can do nothing about.
    pub(super) fn code(&self) -> Option<&'static str> {
        match self {
            Self::ForeignAddress(_) => Some("address_not_allowed"),
            Self::TooLarge(_) => Some("too_large"),
            Self::Unverified(rejection) => Some(rejection.reason.code()),
            Self::OverRate(_) => Some("rate_limited"),
            Self::Publish(PublishRefusal::QuotaExceeded(_)) => Some("quota_exceeded"),
            Self::Publish(PublishRefusal::FanOutTooLarge { .. }) => Some("fan_out_too_large"),
            Self::NoSource | Self::Method | Self::Publish(_) => None,
        }
    }

    pub(super) fn result(&self) -> ReceiveResult {
        match self {
            Self::ForeignAddress(_) => ReceiveResult::ForeignAddress,
            Self::TooLarge(_) => ReceiveResult::BadBody,
            Self::Unverified(_) => ReceiveResult::Unverified,
            Self::OverRate(_) | Self::Publish(PublishRefusal::QuotaExceeded(_)) => ReceiveResult::OverRate,
            Self::Publish(PublishRefusal::Fault(_)) => ReceiveResult::Fault,
            Self::NoSource | Self::Method | Self::Publish(_) => ReceiveResult::Refused,
        }
    }
}

impl From<Fault> for ReceiveRefusal {
    fn from(fault: Fault) -> Self {
        Self::Publish(fault.into())
    }
}
