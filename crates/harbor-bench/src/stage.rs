//! What the server has to know before a load: a tenant, its API key, its endpoints.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use crate::control;
use crate::server::Site;
use crate::settings::Settings;

/// The type that the endpoints subscribe to.
pub(crate) const EVENT_TYPE: &str = "bench.measured";
/// A type that nobody subscribes to.
pub(crate) const EVENT_TYPE_UNROUTED: &str = "bench.unrouted";
/// The secret of all endpoints; it protects nothing.
pub(crate) const SECRET: &str = "whsec_aGFyYm9yaG9vay1iZW5jaG1hcmstc2VjcmV0LTAwMDE=";

const TENANT: &str = "bench";

/// Creates a tenant with so many endpoints at the receiver and returns the key of its admin.
pub(crate) async fn set(
    site: &Site,
    settings: &Settings,
    receiver: SocketAddr,
    endpoints: u64,
) -> Result<String> {
    let operator = site.operator_key.as_str();
    let tenant = merged(json!({"id": TENANT, "name": "Benchmark"}), &settings.tenant)?;
    control::post_json(site.api, "/v1/tenants", operator, &tenant).await?;

    let path = format!("/v1/tenants/{TENANT}/api-keys");
    let key = json!({"name": "bench", "role": "admin"});
    let answer = control::post_json(site.api, &path, operator, &key).await?;
    let key = answer["key"].as_str().context("the new API key is not in the answer")?;

    let path = format!("/v1/tenants/{TENANT}/endpoints");
    for number in 0..endpoints {
        let endpoint = json!({
            "url": format!("http://{receiver}/endpoint/{number}"),
            "secret": SECRET,
            "event_types": [EVENT_TYPE],
        });
        control::post_json(site.api, &path, key, &merged(endpoint, &settings.endpoint)?).await?;
    }
    Ok(key.to_owned())
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
