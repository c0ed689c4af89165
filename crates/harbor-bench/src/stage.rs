//! What the server has to know before a load: a tenant, its API key, its endpoints, its source.

use anyhow::{Context, Result};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use url::Url;

use crate::control;
use crate::provider::Signing;
use crate::server::Site;
use crate::settings::Settings;

/// The type that the endpoints subscribe to.
pub(crate) const EVENT_TYPE: &str = "bench.measured";
/// A type that nobody subscribes to.
pub(crate) const EVENT_TYPE_UNROUTED: &str = "bench.unrouted";
/// The secret of all endpoints; it protects nothing.
pub(crate) const SECRET: &str = "whsec_aGFyYm9yaG9vay1iZW5jaG1hcmstc2VjcmV0LTAwMDE=";

/// The secret of all sources, whatever their provider; it protects nothing either.
pub(crate) const SOURCE_SECRET: &str = "whsec_harbor0bench0source0secret0001";

/// A tenant that was set up.
#[derive(Clone, Debug)]
pub(crate) struct Tenant {
    pub(crate) id: String,
    /// The key of its admin.
    pub(crate) api_key: String,
    pub(crate) endpoint_ids: Vec<String>,
}

/// Creates a tenant with an endpoint at each of these URLs.
pub(crate) async fn set(
    site: &Site,
    settings: &Settings,
    tenant_id: &str,
    urls: &[String],
) -> Result<Tenant> {
    let operator = site.operator_key.as_str();
    let tenant = merged(json!({"id": tenant_id, "name": "Benchmark"}), &settings.tenant)?;
    control::post_json(site.api, "/v1/tenants", operator, &tenant).await?;

    let path = format!("/v1/tenants/{tenant_id}/api-keys");
    let key = json!({"name": "bench", "role": "admin"});
    let answer = control::post_json(site.api, &path, operator, &key).await?;
    let api_key = answer["key"].as_str().context("the new API key is not in the answer")?.to_owned();

    let path = format!("/v1/tenants/{tenant_id}/endpoints");
    let mut endpoint_ids = Vec::new();
    for url in urls {
        let endpoint = json!({"url": url, "secret": SECRET, "event_types": [EVENT_TYPE]});
        let endpoint = merged(endpoint, &settings.endpoint)?;
        let answer = control::post_json(site.api, &path, &api_key, &endpoint).await?;
        let id = answer["id"].as_str().context("the new endpoint's id is not in the answer")?;
        endpoint_ids.push(id.to_owned());
    }
    Ok(Tenant { id: tenant_id.to_owned(), api_key, endpoint_ids })
}

/// Creates a source that relays straight to the first endpoint of a tenant, and returns its path.
pub(crate) async fn open_source(
    site: &Site,
    settings: &Settings,
    tenant: &Tenant,
    signing: &Signing,
) -> Result<String> {
    let path = format!("/v1/tenants/{}/sources", tenant.id);
    let source = json!({
        "name": "bench",
        "provider": signing.provider,
        "secret": signing.secret,
        "endpoint_id": tenant.endpoint_ids.first().context("a source without an endpoint")?,
    });
    let source = merged(source, &settings.source)?;
    let answer = control::post_json(site.api, &path, &tenant.api_key, &source).await?;
    let url = answer["ingest_url"].as_str().context("the new source's address is not in the answer")?;
    Ok(Url::parse(url).with_context(|| format!("{url:?} is no address"))?.path().to_owned())
}

/// Pauses an endpoint: new deliveries wait.
pub(crate) async fn pause(site: &Site, tenant: &Tenant, endpoint_id: &str) -> Result<()> {
    let path = format!("/v1/tenants/{}/endpoints/{endpoint_id}:pause", tenant.id);
    control::post(site.api, &path, Some(&tenant.api_key), Bytes::new()).await?;
    Ok(())
}

/// Adds settings to a request; the settings win.
fn merged(request: Value, settings: &toml::Table) -> Result<Value> {
    let mut fields: Map<String, Value> = serde_json::from_value(request)?;
    for (name, value) in settings {
        fields.insert(name.clone(), serde_json::to_value(value)?);
    }
    Ok(Value::Object(fields))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_added_to_a_request() {
        let settings =
            toml::from_str("max_in_flight = 1000\nrate_limit = { per_second = 5, burst = 9 }").unwrap();
        assert_eq!(
            merged(json!({"url": "http://a"}), &settings).unwrap(),
            json!({"url": "http://a", "max_in_flight": 1000, "rate_limit": {"per_second": 5, "burst": 9}})
        );
    }

    #[test]
    fn an_independent_library_accepts_the_secret() {
        standardwebhooks::Webhook::new(SECRET).unwrap();
    }
}
