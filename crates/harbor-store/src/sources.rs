//! Sources and the requests that they refused, the way stores keep them.

use std::net::IpAddr;
use std::time::Duration;

use harbor_model::id::{RejectionId, SourceId, TenantId};
use harbor_model::secret::{Secret, TimedSecret};
use harbor_model::source::{
    Algorithm, Encoding, Provider, Rejected, Source, SourceName, SourceOptions, SourceResponse,
};
use harbor_model::time::Timestamp;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::damaged::Damaged;
use crate::keyring::SecretJson;
use crate::layers::RateLimitJson;

/// What a row says of a source.
pub(crate) struct SourceRow {
    pub(crate) id: SourceId,
    pub(crate) settings: String,
    /// What [`secrets_of`] wrote.
    pub(crate) secrets: Zeroizing<Vec<u8>>,
    pub(crate) rejected_count: u64,
    pub(crate) version: u64,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

impl SourceRow {
    /// The source that it stands for.
    pub(crate) fn into_source(self, tenant_id: &TenantId) -> Result<Source, Damaged> {
        let settings: SettingsJson =
            serde_json::from_str(&self.settings).map_err(|error| Damaged::new("source", error))?;
        let secrets: SecretsJson =
            serde_json::from_slice(&self.secrets).map_err(|error| Damaged::new("secrets", error))?;
        let (secrets, verify_token) = secrets.into_parts();
        let SettingsJson { name, provider, options, endpoint_id, rate_limit, allowed_ips, response } =
            settings;
        let endpoint_id = endpoint_id.map(|id| id.parse()).transpose();
        Ok(Source {
            id: self.id,
            tenant_id: tenant_id.clone(),
            name: SourceName::new(&name).map_err(|error| Damaged::new("name of a source", error))?,
            provider: known("provider", &provider, Provider::from_name)?,
            options: options.into_options(verify_token)?,
            secrets,
            endpoint_id: endpoint_id.map_err(|error| Damaged::new("endpoint of a source", error))?,
            rate_limit: rate_limit.map(Into::into),
            allowed_ips: allowed_ips.into(),
            response: response.map(ResponseJson::into_response),
            rejected_count: self.rejected_count,
            version: self.version,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

/// Writes what of a source is no secret.
pub(crate) fn settings_of(source: &Source) -> String {
    let Source { name, provider, options, endpoint_id, rate_limit, allowed_ips, response, .. } = source;
    let json = SettingsJson {
        name: name.as_str().to_owned(),
        provider: provider.as_str().to_owned(),
        options: OptionsJson::of(options),
        endpoint_id: endpoint_id.map(|id| id.to_string()),
        rate_limit: rate_limit.map(Into::into),
        allowed_ips: allowed_ips.to_vec(),
        response: response.clone().map(ResponseJson::of),
    };
    serde_json::to_string(&json).expect("settings have only text keys")
}

/// Writes the secrets of a source as the text that is sealed.
pub(crate) fn secrets_of(source: &Source) -> Zeroizing<Vec<u8>> {
    let verify_token = source.options.verify_token.as_ref().map(|token| token.expose().to_owned());
    let json = SecretsJson { secrets: source.secrets.iter().map(SecretJson::of).collect(), verify_token };
    Zeroizing::new(serde_json::to_vec(&json).expect("texts make JSON"))
}

#[derive(Serialize, Deserialize)]
struct SettingsJson {
    name: String,
    provider: String,
    #[serde(default)]
    options: OptionsJson,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    endpoint_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rate_limit: Option<RateLimitJson>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    allowed_ips: Vec<IpNet>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    response: Option<ResponseJson>,
}

#[derive(Serialize, Deserialize)]
struct SecretsJson {
    secrets: Vec<SecretJson>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verify_token: Option<String>,
}

impl SecretsJson {
    fn into_parts(mut self) -> (Vec<TimedSecret>, Option<Secret>) {
        let secrets = std::mem::take(&mut self.secrets).into_iter().map(SecretJson::into_secret).collect();
        (secrets, self.verify_token.take().map(Secret::new))
    }
}

impl Drop for SecretsJson {
    fn drop(&mut self) {
        self.verify_token.zeroize();
    }
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct OptionsJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    algorithm: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    header: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    template: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp_header: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_type_header: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id_header: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp_tolerance_ms: Option<u64>,
}

impl OptionsJson {
    /// All but the token, which is sealed.
    fn of(options: &SourceOptions) -> Self {
        let options = options.clone();
        Self {
            algorithm: options.algorithm.map(|algorithm| algorithm.as_str().to_owned()),
            header: options.header,
            encoding: options.encoding.map(|encoding| encoding.as_str().to_owned()),
            template: options.template,
            prefix: options.prefix,
            timestamp_header: options.timestamp_header,
            username: options.username,
            event_type_header: options.event_type_header,
            event_id_header: options.event_id_header,
            timestamp_tolerance_ms: options
                .timestamp_tolerance
                .map(|tolerance| u64::try_from(tolerance.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    fn into_options(self, verify_token: Option<Secret>) -> Result<SourceOptions, Damaged> {
        let algorithm =
            self.algorithm.map(|name| known("algorithm", &name, Algorithm::from_name)).transpose()?;
        let encoding = self.encoding.map(|name| known("encoding", &name, Encoding::from_name)).transpose()?;
        Ok(SourceOptions {
            algorithm,
            header: self.header,
            encoding,
            template: self.template,
            prefix: self.prefix,
            timestamp_header: self.timestamp_header,
            username: self.username,
            verify_token,
            event_type_header: self.event_type_header,
            event_id_header: self.event_id_header,
            timestamp_tolerance: self.timestamp_tolerance_ms.map(Duration::from_millis),
        })
    }
}

#[derive(Serialize, Deserialize)]
struct ResponseJson {
    status: u16,
    body: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
}

impl ResponseJson {
    fn of(response: SourceResponse) -> Self {
        let SourceResponse { status, body, content_type } = response;
        Self { status, body, content_type }
    }

    fn into_response(self) -> SourceResponse {
        let Self { status, body, content_type } = self;
        SourceResponse { status, body, content_type }
    }
}

fn known<T>(what: &'static str, name: &str, from_name: impl FnOnce(&str) -> Option<T>) -> Result<T, Damaged> {
    from_name(name).ok_or_else(|| Damaged::new(what, format!("unknown: {name}")))
}

/// What of a refused request is kept as JSON: all but the text that was to be signed.
#[derive(Serialize, Deserialize)]
struct RejectedJson {
    code: String,
    message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    header: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timestamp_age_s: Option<i64>,
    method: String,
    remote_address: IpAddr,
    body_bytes: u64,
}

/// Writes a refused request, without the text that was to be signed.
pub(crate) fn rejected_to_json(rejected: &Rejected) -> String {
    let json = RejectedJson {
        code: rejected.code.clone(),
        message: rejected.message.clone(),
        header: rejected.header.clone(),
        timestamp_age_s: rejected.timestamp_age_s,
        method: rejected.method.clone(),
        remote_address: rejected.remote_address,
        body_bytes: rejected.body_bytes,
    };
    serde_json::to_string(&json).expect("texts and numbers make JSON")
}

/// Reads what [`rejected_to_json`] wrote.
pub(crate) fn rejected_from_json(
    key: (RejectionId, &TenantId, SourceId),
    json: &str,
    signed_text: Option<Vec<u8>>,
) -> Result<Rejected, Damaged> {
    let json: RejectedJson =
        serde_json::from_str(json).map_err(|error| Damaged::new("refused request", error))?;
    let (id, tenant_id, source_id) = key;
    Ok(Rejected {
        id,
        tenant_id: tenant_id.clone(),
        source_id,
        code: json.code,
        message: json.message,
        header: json.header,
        signed_text,
        timestamp_age_s: json.timestamp_age_s,
        method: json.method,
        remote_address: json.remote_address,
        body_bytes: json.body_bytes,
    })
}
