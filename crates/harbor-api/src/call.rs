//! One request: who calls, what the path names, and what the query says.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequestParts, RawPathParams};
use bytes::Bytes;
use harbor_auth::caller::Caller;
use harbor_auth::permit::{Action, permit_instance, permit_owner, permit_tenant};
use harbor_model::directory::TenantSnapshot;
use harbor_model::event::trace::TraceContext;
use harbor_model::id::TenantId;
use harbor_model::invalid::FieldError;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, Uri};
use serde::de::DeserializeOwned;

use crate::envelope::RequestId;
use crate::json::{self, BodyLimits};
use crate::problem::{Kind, Refusal, Result};
use crate::query;
use crate::router::Api;

/// The header that names an idempotency key.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// A request without its body. Handlers take it, say with it who may, and read the rest.
pub(crate) struct Call {
    pub(crate) headers: HeaderMap,
    pub(crate) request_id: RequestId,
    uri: Uri,
    params: Vec<(String, String)>,
}

impl FromRequestParts<Arc<Api>> for Call {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<Api>) -> Result<Self> {
        let params = RawPathParams::from_request_parts(parts, state).await;
        let params = params.map_err(|_| Refusal::bare(Kind::RouteNotFound))?;
        Ok(Self {
            params: params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            request_id: RequestId::of(&parts.extensions),
            uri: parts.uri.clone(),
            // Nobody reads the head after its handler.
            headers: std::mem::take(&mut parts.headers),
        })
    }
}

impl Call {
    /// Finds out who is calling.
    pub(crate) async fn caller(&self, api: &Api) -> Result<Caller> {
        let authorization = self.header_text(AUTHORIZATION.as_str());
        Ok(api.deps.authenticator.authenticate(authorization).await?)
    }

    /// Whether the caller shows a credential at all.
    pub(crate) fn has_credential(&self) -> bool {
        self.headers.contains_key(AUTHORIZATION)
    }

    /// Permits `action` on what belongs to the instance.
    pub(crate) async fn instance(&self, api: &Api, action: Action) -> Result<()> {
        Ok(permit_instance(&self.caller(api).await?, action)?)
    }

    /// Permits `action` on what belongs to the tenant that the path names, or to the caller's own.
    pub(crate) async fn tenant(&self, api: &Api, action: Action) -> Result<TenantId> {
        let caller = self.caller(api).await?;
        let tenant = permit_tenant(&caller, action, self.param("tenant_id"))?;
        if caller.tenant.is_none() {
            api.snapshot(&tenant).await?;
        }
        Ok(tenant)
    }

    /// As [`Call::tenant`], with what is known of the tenant.
    pub(crate) async fn tenant_snapshot(&self, api: &Api, action: Action) -> Result<Arc<TenantSnapshot>> {
        let caller = self.caller(api).await?;
        let tenant = permit_tenant(&caller, action, self.param("tenant_id"))?;
        api.snapshot(&tenant).await
    }

    /// Permits `action` on what belongs to a tenant or, where neither the path nor the caller has one, to
    /// the instance.
    pub(crate) async fn owner(&self, api: &Api, action: Action) -> Result<(Caller, Option<TenantId>)> {
        let caller = self.caller(api).await?;
        let owner = permit_owner(&caller, action, self.param("tenant_id"))?;
        if let (None, Some(tenant)) = (&caller.tenant, &owner) {
            api.snapshot(tenant).await?;
        }
        Ok((caller, owner))
    }

    /// A part of the path.
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The id in the path; what cannot be one names nothing.
    pub(crate) fn id<T: std::str::FromStr>(&self, missing: Kind) -> Result<T> {
        parse_id(self.param("id").unwrap_or_default(), missing)
    }

    /// The id and the verb of a path that ends in `{id}:verb`.
    pub(crate) fn id_and_verb(&self) -> Option<(&str, &str)> {
        self.param("id")?.rsplit_once(':')
    }

    /// The fields of the query.
    pub(crate) fn query<T: DeserializeOwned>(&self) -> Result<T> {
        let query = self.uri.query().unwrap_or_default();
        query::parse(query)
    }

    /// Reads a body to its end.
    pub(crate) async fn body(&self, body: Body, limits: BodyLimits) -> Result<Bytes> {
        json::read(&self.headers, body, limits).await
    }

    /// The idempotency key of the header and that of the body, which must agree.
    pub(crate) fn idempotency_key(
        &self,
        of_body: Option<String>,
    ) -> std::result::Result<Option<String>, FieldError> {
        let Some(value) = self.headers.get(IDEMPOTENCY_KEY) else { return Ok(of_body) };
        let of_header = value.to_str().map_err(|_| {
            FieldError::new("Idempotency-Key", "must be visible ASCII; other keys go into the body")
        })?;
        match of_body {
            Some(of_body) if of_body != of_header => {
                Err(FieldError::new("idempotency_key", "differs from the header `Idempotency-Key`"))
            }
            Some(_) | None => Ok(Some(of_header.to_owned())),
        }
    }

    /// The caller's trace, if it has one.
    pub(crate) fn trace(&self) -> Option<TraceContext> {
        TraceContext::parse(self.header_text("traceparent")?, self.header_text("tracestate"))
    }

    fn header_text(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Reads an id; what cannot be one names nothing.
pub(crate) fn parse_id<T: std::str::FromStr>(text: &str, missing: Kind) -> Result<T> {
    text.parse().map_err(|_| Refusal::bare(missing))
}
