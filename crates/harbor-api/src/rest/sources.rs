//! Sources: make, read, change and remove them, and see what they refused.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use harbor_auth::permit::Action;
use harbor_model::id::{SourceId, TenantId};
use harbor_model::secret::{Secret, TimedSecret};
use harbor_model::source::Source;
use harbor_model::time::Timestamp;
use harbor_signature::source::{SecretUse, Verifier};
use harbor_wire::endpoint::RotatedSecret;
use harbor_wire::list::{List, ListPage};
use harbor_wire::source as wire;
use http::StatusCode;
use serde_json::{Map, Value};

use crate::answer;
use crate::call::Call;
use crate::convert;
use crate::convert::checks::Checks;
use crate::convert::source::{SourceFields, check_secret};
use crate::etag;
use crate::json;
use crate::list::{Listing, owner_name};
use crate::merge::merge;
use crate::problem::{Kind, Refusal, Result};
use crate::rest::change::{Kinds, ROUNDS_MAX, settle, settle_update};
use crate::rest::endpoints;
use crate::rest::rotation::{Rotation, read_overlap};
use crate::router::Api;

const KINDS: Kinds = Kinds { missing: Kind::SourceNotFound, exists: Kind::SourceExists };

/// Makes a source: an address for the webhooks of one provider.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant_id}/sources", tag = "sources", operation_id = "create_source",
    request_body = wire::CreateSource,
    responses(
        (status = 201, description = "The source with its secret, which is never shown again.", body = wire::Source),
        (status = 404, description = "`endpoint_not_found`."),
        (status = 409, description = "`limit_reached`."),
    ),
)]
pub(crate) async fn create(State(api): State<Arc<Api>>, call: Call, body: Body) -> Result<Response> {
    let tenant = call.tenant(&api, Action::Change).await?;
    let body = call.body(body, api.settings().body_limits()).await?;
    let fields = convert::source::read(json::parse(&body)?)?;
    let secret = match fields.secret.clone() {
        Some(secret) => Some(secret),
        None => made_secret(&api, &fields.verifier)?,
    };
    if let Some(endpoint_id) = fields.endpoint_id {
        endpoints::must_exist(&api, &tenant, endpoint_id).await?;
    }
    let source = made(&api, tenant, fields, secret.clone(), api.deps.clock.now());

    let max = api.settings().sources_max;
    let source = settle(api.deps.sources.create_source(source, max).await?, KINDS)?;

    let secret = secret.map(|secret| secret.expose().to_owned());
    let shown = wire::Source { secret, ..convert::source::write(&source, &api.deps.base_url) };
    let response = answer::versioned(answer::json(StatusCode::CREATED, &shown), source.version);
    Ok(answer::secret(response))
}

/// Makes the secret of a source whose owner gave none; none for a scheme that uses none.
fn made_secret(api: &Api, verifier: &Verifier) -> Result<Option<Secret>> {
    match verifier.secret_use() {
        SecretUse::None => Ok(None),
        SecretUse::FromProvider => Err(Refusal::field("secret", "must be set: the provider shows it")),
        SecretUse::FromOwner => {
            let mut random = [0; 32];
            api.deps.rng.fill_secret(&mut random);
            Ok(Some(Secret::new(verifier.generate_secret(&random))))
        }
    }
}

fn made(
    api: &Api,
    tenant_id: TenantId,
    fields: SourceFields,
    secret: Option<Secret>,
    now: Timestamp,
) -> Source {
    Source {
        id: SourceId::new(now, &*api.deps.rng),
        tenant_id,
        name: fields.name,
        provider: fields.provider,
        options: fields.options,
        secrets: secret.map(TimedSecret::lasting).into_iter().collect(),
        endpoint_id: fields.endpoint_id,
        rate_limit: fields.rate_limit,
        allowed_ips: fields.allowed_ips,
        response: fields.response,
        rejected_count: 0,
        version: 1,
        created_at: now,
        updated_at: now,
    }
}

/// Lists sources, newest first.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/sources", tag = "sources", operation_id = "list_sources",
    params(ListPage),
    responses((status = 200, description = "A page of sources.", body = List<wire::Source>)),
)]
pub(crate) async fn list(State(api): State<Arc<Api>>, call: Call) -> Result<Response> {
    let tenant = call.tenant(&api, Action::Read).await?;
    let mut query: ListPage = call.query()?;
    let owner = owner_name(Some(&tenant));
    let listing = Listing::new(&api.cursors, api.settings(), "sources", owner, &mut query)?;
    let page = api.deps.sources.sources(&tenant, listing.ask).await?;
    let base_url = &api.deps.base_url;
    Ok(listing.answer(&api.cursors, page, |source| convert::source::write(&source, base_url)))
}

/// Reads a source.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/sources/{id}", tag = "sources", operation_id = "get_source",
    responses((status = 200, description = "The source.", body = wire::Source)),
)]
pub(crate) async fn find(State(api): State<Arc<Api>>, call: Call) -> Result<Response> {
    let tenant = call.tenant(&api, Action::Read).await?;
    let source = load(&api, &tenant, call.id(Kind::SourceNotFound)?).await?;
    Ok(show(&api, &source))
}

/// Changes a source by a JSON merge patch.
#[utoipa::path(
    patch, path = "/v1/tenants/{tenant_id}/sources/{id}", tag = "sources", operation_id = "update_source",
    request_body(content((wire::UpdateSource = "application/merge-patch+json"),
        (wire::UpdateSource = "application/json"))),
    responses((status = 200, description = "The source.", body = wire::Source)),
)]
pub(crate) async fn update(State(api): State<Arc<Api>>, call: Call, body: Body) -> Result<Response> {
    let tenant = call.tenant(&api, Action::Change).await?;
    let id: SourceId = call.id(Kind::SourceNotFound)?;
    let body = call.body(body, api.settings().body_limits()).await?;
    let patch = json::parse_patch(&body)?;
    if patch.contains_key("secret") {
        return Err(Refusal::field("secret", "cannot be changed so; use rotate-secret"));
    }
    for _ in 0..ROUNDS_MAX {
        let former = load(&api, &tenant, id).await?;
        etag::check(&call.headers, former.version)?;
        let source = patched(&former, patch.clone())?;
        if source == former {
            return Ok(show(&api, &former));
        }
        if let Some(endpoint_id) = source.endpoint_id.filter(|id| former.endpoint_id != Some(*id)) {
            endpoints::must_exist(&api, &tenant, endpoint_id).await?;
        }
        if let Some(source) = put(&api, &call, source).await? {
            return Ok(show(&api, &source));
        }
    }
    Err(Refusal::bare(Kind::ChangedMeanwhile))
}

fn patched(former: &Source, patch: Map<String, Value>) -> Result<Source> {
    let document = json::document(&convert::source::write_fields(former));
    let fields = convert::source::read(json::parse_document(merge(document, patch))?)?;
    if fields.provider != former.provider {
        return Err(Refusal::field("provider", "cannot be changed; make another source"));
    }
    Ok(Source {
        name: fields.name,
        options: fields.options,
        endpoint_id: fields.endpoint_id,
        rate_limit: fields.rate_limit,
        allowed_ips: fields.allowed_ips,
        response: fields.response,
        ..former.clone()
    })
}

/// Puts a changed source back; none where somebody else was faster.
async fn put(api: &Api, call: &Call, source: Source) -> Result<Option<Source>> {
    let source = Source { updated_at: api.deps.clock.now(), ..source };
    settle_update(api.deps.sources.update_source(source).await?, &call.headers, KINDS)
}

/// Removes a source, with what is kept of the requests that it refused. Its events stay.
#[utoipa::path(
    delete, path = "/v1/tenants/{tenant_id}/sources/{id}", tag = "sources", operation_id = "delete_source",
    responses((status = 204, description = "It is gone.")),
)]
pub(crate) async fn delete(State(api): State<Arc<Api>>, call: Call) -> Result<Response> {
    let tenant = call.tenant(&api, Action::Change).await?;
    let id: SourceId = call.id(Kind::SourceNotFound)?;
    let stored = async { Ok(load(&api, &tenant, id).await?.version) };
    let version = etag::meant(&call.headers, stored).await?;
    let change = api.deps.sources.delete_source(&tenant, id, version).await?;
    settle_update(change, &call.headers, KINDS)?;
    Ok(answer::gone())
}

/// Gives the source a new secret; the old one verifies as well for a while.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant_id}/sources/{id}/rotate-secret", tag = "sources",
    operation_id = "rotate_source_secret",
    request_body = Option<wire::RotateSourceSecret>,
    responses((status = 200, description = "The new secret, which is never shown again.", body = RotatedSecret)),
)]
pub(crate) async fn rotate_secret(State(api): State<Arc<Api>>, call: Call, body: Body) -> Result<Response> {
    let tenant = call.tenant(&api, Action::Change).await?;
    let id: SourceId = call.id(Kind::SourceNotFound)?;
    let body = call.body(body, api.settings().body_limits()).await?;
    let asked: wire::RotateSourceSecret = json::parse_optional(&body)?;
    for _ in 0..ROUNDS_MAX {
        let former = load(&api, &tenant, id).await?;
        etag::check(&call.headers, former.version)?;
        let rotation = read_rotation(&api, &former, &asked)?;
        let secrets = rotation.of(&former.secrets);
        if put(&api, &call, Source { secrets, ..former }).await?.is_some() {
            return Ok(answer::secret(answer::ok(&RotatedSecret {
                id: id.to_string(),
                secret: rotation.secret.expose().to_owned(),
                previous_secret_expires_at: rotation.old_ends_at.to_string(),
            })));
        }
    }
    Err(Refusal::bare(Kind::ChangedMeanwhile))
}

fn read_rotation(api: &Api, source: &Source, asked: &wire::RotateSourceSecret) -> Result<Rotation> {
    let verifier = verifier_of(source)?;
    let mut checks = Checks::default();
    let overlap = read_overlap(asked.overlap.as_deref(), api.settings(), &mut checks);
    let secret = asked.secret.clone().map(Secret::new);
    if let Some(secret) = &secret {
        check_secret(&verifier, secret, &mut checks);
    }
    checks.finish()?;
    let secret = match secret {
        Some(secret) => secret,
        None => made_secret(api, &verifier)?
            .ok_or_else(|| Refusal::field("secret", "is not used by the provider of this source"))?,
    };
    let now = api.deps.clock.now();
    Ok(Rotation { secret, now, old_ends_at: now + overlap, secrets_max: api.settings().secrets_max })
}

/// The verifier of a source, whose options were checked when they were written.
fn verifier_of(source: &Source) -> Result<Verifier> {
    let verifier = Verifier::new(source.provider, &source.options);
    verifier.map_err(|error| Refusal::field(error.field, error.rule))
}

/// Lists the last requests that the source refused, newest first: at most 20.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/sources/{id}/rejections", tag = "sources",
    operation_id = "list_rejections",
    params(ListPage),
    responses((status = 200, description = "A page of refused requests.", body = List<wire::Rejection>)),
)]
pub(crate) async fn rejections(State(api): State<Arc<Api>>, call: Call) -> Result<Response> {
    let tenant = call.tenant(&api, Action::Read).await?;
    let id: SourceId = call.id(Kind::SourceNotFound)?;
    let mut query: ListPage = call.query()?;
    let owner = format!("{tenant}/{id}");
    let listing = Listing::new(&api.cursors, api.settings(), "rejections", owner, &mut query)?;
    let page = api.deps.inlet.rejections().of_source(&tenant, id, listing.ask).await?;
    // Only an empty list raises the question whether the source is there at all.
    if page.items.is_empty() {
        load(&api, &tenant, id).await?;
    }
    Ok(listing.answer(&api.cursors, page, convert::source::write_rejection))
}

async fn load(api: &Api, tenant: &TenantId, id: SourceId) -> Result<Source> {
    let found = api.deps.sources.find_source(tenant, id).await?;
    found.ok_or_else(|| Refusal::bare(Kind::SourceNotFound))
}

fn show(api: &Api, source: &Source) -> Response {
    let shown = convert::source::write(source, &api.deps.base_url);
    answer::versioned(answer::ok(&shown), source.version)
}
