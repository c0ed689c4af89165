//! Every error that a caller can see, and what each error of the engine becomes.

use axum::response::{IntoResponse, Response};
use harbor_auth::authenticator::CredentialError;
use harbor_auth::permit::PermitError;
use harbor_ingest::publish::PublishRefusal;
use harbor_ingest::quota::QuotaStanding;
use harbor_ingest::receive::ReceiveRefusal;
use harbor_model::invalid::FieldError;
use harbor_model::port::Fault;
use harbor_recover::dead_letters::{DiscardRefusal, ReplayRefusal};
use harbor_recover::interventions::{ExpungeRefusal, InterventionRefusal, ReleaseRefusal};
use harbor_recover::jobs::{StartRefusal, StopRefusal};
use harbor_recover::tenants::DeleteRefusal;
use harbor_signature::source::Reason;
use harbor_wire::problem::Problem;
use http::StatusCode;
use tracing::error;

/// Lists the kinds of problems: each with its status, its stable code and its title.
macro_rules! problems {
    ($($name:ident $status:ident $code:literal $title:literal;)*) => {
        /// A kind of problem.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Kind {
            $(#[doc = $title] $name,)*
        }

        impl Kind {
            /// Every one, in the order of their statuses.
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            /// The HTTP status that it is answered with.
            pub(crate) fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            /// Its stable name.
            pub(crate) fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// What it is, in one line.
            pub(crate) fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

problems! {
    InvalidJson BAD_REQUEST "invalid_json" "The body is not valid JSON";
    IncompleteBody BAD_REQUEST "incomplete_body" "The body ended before it was complete";
    TenantRequired BAD_REQUEST "tenant_required" "The credential belongs to the instance, so the path must name a tenant";
    Unauthorized UNAUTHORIZED "unauthorized" "There is no valid credential";
    InvalidSignature UNAUTHORIZED "invalid_signature" "The request does not prove that the source's provider sent it";
    StaleTimestamp UNAUTHORIZED "stale_timestamp" "The request was signed too long ago, or in the future";
    Forbidden FORBIDDEN "forbidden" "The role of the credential does not allow this";
    TenantMismatch FORBIDDEN "tenant_mismatch" "The credential belongs to another tenant";
    AddressNotAllowed FORBIDDEN "address_not_allowed" "The source takes no requests from this address";
    RouteNotFound NOT_FOUND "route_not_found" "There is nothing at this path";
    TenantNotFound NOT_FOUND "tenant_not_found" "There is no such tenant";
    EndpointNotFound NOT_FOUND "endpoint_not_found" "There is no such endpoint";
    SourceNotFound NOT_FOUND "source_not_found" "There is no such source";
    SubscriptionNotFound NOT_FOUND "subscription_not_found" "There is no such subscription";
    EventNotFound NOT_FOUND "event_not_found" "There is no such event";
    DeliveryNotFound NOT_FOUND "delivery_not_found" "There is no such delivery";
    DeadLetterNotFound NOT_FOUND "dead_letter_not_found" "There is no such dead letter";
    LaneNotFound NOT_FOUND "lane_not_found" "Nobody is in such a lane";
    ReplayNotFound NOT_FOUND "replay_not_found" "There is no such replay";
    JobNotFound NOT_FOUND "job_not_found" "There is no such job";
    ApiKeyNotFound NOT_FOUND "api_key_not_found" "There is no such API key";
    MethodNotAllowed METHOD_NOT_ALLOWED "method_not_allowed" "This path does not take this method";
    BodyTimeout REQUEST_TIMEOUT "body_timeout" "The body did not arrive in time";
    TenantExists CONFLICT "tenant_exists" "The tenant id is taken, or its last bearer is still being removed";
    EndpointExists CONFLICT "endpoint_exists" "The endpoint is there already";
    SourceExists CONFLICT "source_exists" "The source is there already";
    SubscriptionExists CONFLICT "subscription_exists" "The endpoint already has a subscription with this event type";
    ApiKeyExists CONFLICT "api_key_exists" "The API key is there already";
    LimitReached CONFLICT "limit_reached" "There are as many as there may be";
    IdempotencyKeyReused CONFLICT "idempotency_key_reused" "The idempotency key was used for a different request";
    EndpointDisabled CONFLICT "endpoint_disabled" "The endpoint is disabled";
    EndpointUnavailable CONFLICT "endpoint_unavailable" "The endpoint of the delivery is deleted or disabled";
    DeliveryNotFinal CONFLICT "delivery_not_final" "The delivery has not ended yet";
    DeliveryFinal CONFLICT "delivery_final" "The delivery has ended";
    DeliveryBehind CONFLICT "delivery_behind" "The delivery waits behind another one in its ordered lane";
    ReplayOpen CONFLICT "replay_open" "A replay of the delivery has not ended yet";
    DeadLetterReplayed CONFLICT "dead_letter_replayed" "The dead letter was replayed";
    JobFinal CONFLICT "job_final" "The job has ended";
    ChangedMeanwhile CONFLICT "changed_meanwhile" "The thing was changed by others again and again";
    EventExpired GONE "event_expired" "The payload of the event is no longer kept";
    PreconditionFailed PRECONDITION_FAILED "precondition_failed" "The thing is not the one that If-Match names";
    PayloadTooLarge PAYLOAD_TOO_LARGE "payload_too_large" "The body is too large";
    UnsupportedMediaType UNSUPPORTED_MEDIA_TYPE "unsupported_media_type" "The body is not JSON";
    ValidationFailed UNPROCESSABLE_ENTITY "validation_failed" "The request is well-formed, but a field is wrong";
    FanOutTooLarge UNPROCESSABLE_ENTITY "fan_out_too_large" "More endpoints want the event than one event may go to";
    TenantCrowded TOO_MANY_REQUESTS "tenant_crowded" "The tenant has more events waiting to be stored than its share";
    RateLimited TOO_MANY_REQUESTS "rate_limited" "The source takes no more requests for now";
    QuotaExceeded TOO_MANY_REQUESTS "quota_exceeded" "The tenant has published as much as its quota allows";
    Internal INTERNAL_SERVER_ERROR "internal_error" "The server has a bug";
    StorageUnavailable SERVICE_UNAVAILABLE "storage_unavailable" "The store is not available";
    NotReady SERVICE_UNAVAILABLE "not_ready" "What the server needs is not reachable";
    Overloaded SERVICE_UNAVAILABLE "overloaded" "Too many bodies are being read at once";
    Timeout SERVICE_UNAVAILABLE "timeout" "The server did not answer in time";
}

/// An answer that says no. As a response it is finished by the envelope, which knows the request's id.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) kind: Kind,
    detail: String,
    errors: Vec<FieldError>,
    fault: Option<Fault>,
    /// The methods that the path takes, where the router does not know them.
    pub(crate) allow: Option<&'static str>,
    /// How the tenant stands with its quota, where that is what says no.
    pub(crate) quota: Option<Box<QuotaStanding>>,
}

/// What a handler answers with.
pub(crate) type Result<T, E = Refusal> = std::result::Result<T, E>;

impl Refusal {
    /// A problem of this kind, with what was wrong this time.
    pub(crate) fn new(kind: Kind, detail: impl ToString) -> Self {
        Self { kind, detail: detail.to_string(), errors: Vec::new(), fault: None, allow: None, quota: None }
    }

    /// A problem of this kind about which there is nothing more to say.
    pub(crate) fn bare(kind: Kind) -> Self {
        Self::new(kind, kind.title())
    }

    /// Says that the path takes these methods alone.
    pub(crate) fn method_not_allowed(allow: &'static str) -> Self {
        Self { allow: Some(allow), ..Self::bare(Kind::MethodNotAllowed) }
    }

    /// Says which fields are wrong.
    pub(crate) fn invalid(errors: Vec<FieldError>) -> Self {
        let fields: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
        let detail = match fields.as_slice() {
            [one] => format!("1 field is wrong: {one}"),
            many => format!("{} fields are wrong: {}", many.len(), many.join(", ")),
        };
        Self { errors, ..Self::new(Kind::ValidationFailed, detail) }
    }

    /// Says that one field is wrong.
    pub(crate) fn field(field: &str, message: impl ToString) -> Self {
        Self::invalid(vec![FieldError::new(field, message)])
    }

    /// The problem as it is written, and a line in the log where something of ours has failed.
    pub(crate) fn to_problem(&self, request_id: &str) -> Problem {
        if let Some(fault) = &self.fault {
            error!(request_id, %fault, code = self.kind.code(), "request {request_id} failed: {fault}");
        }
        let wire = |error: &FieldError| harbor_wire::problem::FieldError {
            field: error.field.clone(),
            message: error.message.clone(),
        };
        Problem {
            kind: format!("/docs#problem-{}", self.kind.code()),
            title: self.kind.title().to_owned(),
            status: self.kind.status().as_u16(),
            detail: self.detail.clone(),
            code: self.kind.code().to_owned(),
            request_id: Some(request_id.to_owned()),
            errors: self.errors.iter().map(wire).collect(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = self.kind.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self { fault: Some(fault), ..Self::bare(Kind::StorageUnavailable) }
    }
}

impl From<Vec<FieldError>> for Refusal {
    fn from(errors: Vec<FieldError>) -> Self {
        Self::invalid(errors)
    }
}

impl From<FieldError> for Refusal {
    fn from(error: FieldError) -> Self {
        Self::invalid(vec![error])
    }
}

impl From<CredentialError> for Refusal {
    fn from(error: CredentialError) -> Self {
        match error {
            CredentialError::Missing | CredentialError::Invalid | CredentialError::Expired => {
                Self::new(Kind::Unauthorized, error)
            }
            CredentialError::Fault(fault) => fault.into(),
        }
    }
}

impl From<PermitError> for Refusal {
    fn from(error: PermitError) -> Self {
        match error {
            PermitError::Forbidden { .. } => Self::new(Kind::Forbidden, error),
            PermitError::TenantMismatch => Self::new(Kind::TenantMismatch, error),
            PermitError::TenantRequired => Self::new(Kind::TenantRequired, error),
            PermitError::TenantNotFound => Self::new(Kind::TenantNotFound, error),
            PermitError::RoleNotForOwner { .. } => Self::field("role", error),
        }
    }
}

impl From<PublishRefusal> for Refusal {
    fn from(refusal: PublishRefusal) -> Self {
        match refusal {
            PublishRefusal::Invalid(errors) => errors.into(),
            PublishRefusal::TooLarge { .. } => Self::new(Kind::PayloadTooLarge, refusal),
            PublishRefusal::FanOutTooLarge { .. } => Self::new(Kind::FanOutTooLarge, refusal),
            PublishRefusal::KeyReused => Self::new(Kind::IdempotencyKeyReused, refusal),
            PublishRefusal::NoTenant => Self::new(Kind::TenantNotFound, refusal),
            PublishRefusal::NoEndpoint => Self::new(Kind::EndpointNotFound, refusal),
            PublishRefusal::EndpointDisabled => Self::new(Kind::EndpointDisabled, refusal),
            PublishRefusal::QuotaExceeded(standing) => {
                Self { quota: Some(Box::new(standing)), ..Self::new(Kind::QuotaExceeded, refusal) }
            }
            PublishRefusal::Crowded => Self::new(Kind::TenantCrowded, refusal),
            PublishRefusal::Fault(fault) => fault.into(),
        }
    }
}

impl From<ReceiveRefusal> for Refusal {
    fn from(refusal: ReceiveRefusal) -> Self {
        match refusal {
            ReceiveRefusal::NoSource => Self::new(Kind::SourceNotFound, refusal),
            ReceiveRefusal::ForeignAddress(_) => Self::new(Kind::AddressNotAllowed, refusal),
            ReceiveRefusal::Method => {
                Self { detail: refusal.to_string(), ..Self::method_not_allowed("POST") }
            }
            ReceiveRefusal::TooLarge(_) => Self::new(Kind::PayloadTooLarge, refusal),
            ReceiveRefusal::Unverified(rejection) => match rejection.reason {
                Reason::StaleTimestamp { .. } => Self::new(Kind::StaleTimestamp, rejection),
                Reason::MissingHeader { .. }
                | Reason::DuplicateHeader { .. }
                | Reason::MalformedHeader { .. }
                | Reason::MalformedRequest { .. }
                | Reason::SignatureMismatch
                | Reason::CredentialMismatch => Self::new(Kind::InvalidSignature, rejection),
            },
            ReceiveRefusal::OverRate(standing) => {
                Self { quota: Some(Box::new(standing)), ..Self::new(Kind::RateLimited, refusal) }
            }
            ReceiveRefusal::Publish(refusal) => refusal.into(),
        }
    }
}

impl From<ReplayRefusal> for Refusal {
    fn from(refusal: ReplayRefusal) -> Self {
        match refusal {
            ReplayRefusal::Invalid(errors) => errors.into(),
            ReplayRefusal::NotFound => Self::new(Kind::DeliveryNotFound, refusal),
            ReplayRefusal::Open { .. } => Self::new(Kind::ReplayOpen, refusal),
            ReplayRefusal::NotFinal => Self::new(Kind::DeliveryNotFinal, refusal),
            ReplayRefusal::Expired => Self::new(Kind::EventExpired, refusal),
            ReplayRefusal::NoEndpoint => Self::new(Kind::EndpointUnavailable, refusal),
            ReplayRefusal::KeyReused => Self::new(Kind::IdempotencyKeyReused, refusal),
            ReplayRefusal::Fault(fault) => fault.into(),
        }
    }
}

impl From<DiscardRefusal> for Refusal {
    fn from(refusal: DiscardRefusal) -> Self {
        match refusal {
            DiscardRefusal::NotFound => Self::new(Kind::DeadLetterNotFound, refusal),
            DiscardRefusal::Replayed => Self::new(Kind::DeadLetterReplayed, refusal),
            DiscardRefusal::Fault(fault) => fault.into(),
        }
    }
}

impl From<InterventionRefusal> for Refusal {
    fn from(refusal: InterventionRefusal) -> Self {
        match refusal {
            InterventionRefusal::NotFound => Self::new(Kind::DeliveryNotFound, refusal),
            InterventionRefusal::Final(_) => Self::new(Kind::DeliveryFinal, refusal),
            InterventionRefusal::Behind => Self::new(Kind::DeliveryBehind, refusal),
            InterventionRefusal::Fault(fault) => fault.into(),
        }
    }
}

impl From<ReleaseRefusal> for Refusal {
    fn from(refusal: ReleaseRefusal) -> Self {
        match refusal {
            ReleaseRefusal::NotFound => Self::new(Kind::LaneNotFound, refusal),
            ReleaseRefusal::Expired => Self::new(Kind::EventExpired, refusal),
            ReleaseRefusal::NoEndpoint => Self::new(Kind::EndpointUnavailable, refusal),
            ReleaseRefusal::Fault(fault) => fault.into(),
        }
    }
}

impl From<ExpungeRefusal> for Refusal {
    fn from(refusal: ExpungeRefusal) -> Self {
        match refusal {
            ExpungeRefusal::NotFound => Self::new(Kind::EventNotFound, refusal),
            ExpungeRefusal::Fault(fault) => fault.into(),
        }
    }
}

impl From<StartRefusal> for Refusal {
    fn from(refusal: StartRefusal) -> Self {
        match refusal {
            StartRefusal::Invalid(errors) => errors.into(),
            StartRefusal::NoTenant => Self::new(Kind::TenantNotFound, refusal),
            StartRefusal::TooMany { .. } => Self::new(Kind::LimitReached, refusal),
            StartRefusal::KeyReused => Self::new(Kind::IdempotencyKeyReused, refusal),
            StartRefusal::Fault(fault) => fault.into(),
        }
    }
}

impl From<StopRefusal> for Refusal {
    fn from(refusal: StopRefusal) -> Self {
        match refusal {
            StopRefusal::NotFound => Self::new(Kind::JobNotFound, refusal),
            StopRefusal::Final(_) => Self::new(Kind::JobFinal, refusal),
            StopRefusal::Fault(fault) => fault.into(),
        }
    }
}

impl From<DeleteRefusal> for Refusal {
    fn from(refusal: DeleteRefusal) -> Self {
        match refusal {
            DeleteRefusal::NotFound => Self::new(Kind::TenantNotFound, refusal),
            DeleteRefusal::Fault(fault) => fault.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use harbor_ingest::quota::QuotaWindow;

    use super::*;

    #[test]
    fn codes_are_unique_snake_case_and_none_is_a_success() {
        let codes: HashSet<_> = Kind::ALL.iter().map(|kind| kind.code()).collect();
        assert_eq!(codes.len(), Kind::ALL.len());
        for kind in Kind::ALL {
            assert!(kind.code().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{kind:?}");
            assert!(kind.status().is_client_error() || kind.status().is_server_error(), "{kind:?}");
        }
        assert!(Kind::ALL.is_sorted_by_key(|kind| kind.status()));
    }

    #[test]
    fn a_fault_is_not_shown_to_the_caller() {
        let problem = Refusal::from(Fault::new("publishing", "disk sda1 is on fire")).to_problem("req_1");
        let text = serde_json::to_string(&problem).unwrap();
        assert_eq!((problem.status, problem.code.as_str()), (503, "storage_unavailable"));
        assert!(!text.contains("sda1") && text.contains("req_1"), "{text}");
    }

    #[test]
    fn a_tenant_over_its_share_is_told_to_wait() {
        let problem = Refusal::from(PublishRefusal::Crowded).to_problem("req_1");
        assert_eq!((problem.status, problem.code.as_str()), (429, "tenant_crowded"));
    }

    #[test]
    fn a_tenant_over_its_quota_is_told_of_it() {
        let standing = QuotaStanding {
            window: QuotaWindow::Day,
            limit: 9,
            remaining: 0,
            reset: Duration::from_secs(60),
        };
        let problem = Refusal::from(PublishRefusal::QuotaExceeded(standing)).to_problem("req_1");
        assert_eq!((problem.status, problem.code.as_str()), (429, "quota_exceeded"));
        assert_eq!(problem.detail, "the quota of 9 events per day is used up");
    }

    #[test]
    fn wrong_fields_are_counted_and_named() {
        let problem = Refusal::field("url", "must begin with https://").to_problem("req_1");
        assert_eq!(problem.detail, "1 field is wrong: url");
        let two = vec![FieldError::new("a", "x"), FieldError::new("b", "y")];
        assert_eq!(Refusal::invalid(two).to_problem("req_1").detail, "2 fields are wrong: a, b");
    }
}
