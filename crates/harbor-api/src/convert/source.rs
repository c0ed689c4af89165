//! Sources, and what they refused.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use harbor_ingest::receive::Received;
use harbor_model::id::{EndpointId, SourceId};
use harbor_model::invalid::FieldError;
use harbor_model::policy::{PolicyLayer, RateLimit};
use harbor_model::secret::Secret;
use harbor_model::source::{
    Algorithm, Encoding, Provider, RESPONSE_BODY_BYTES_MAX, Rejected, Source, SourceName, SourceOptions,
    SourceResponse,
};
use harbor_model::text::print_duration;
use harbor_signature::source::{SecretUse, Verifier};
use harbor_wire::source as wire;
use http::HeaderValue;
use ipnet::IpNet;

use crate::convert::checks::Checks;
use crate::convert::policy::{PolicyFields, read_duration, read_layer, write_layer};

/// The most entries of a list of allowed addresses.
const ALLOWED_IPS_MAX: usize = 100;

/// The longest media type of a response.
const CONTENT_TYPE_BYTES_MAX: usize = 128;

/// What a caller says of a source.
pub(crate) struct SourceFields {
    pub(crate) name: SourceName,
    pub(crate) provider: Provider,
    pub(crate) options: SourceOptions,
    pub(crate) secret: Option<Secret>,
    pub(crate) endpoint_id: Option<EndpointId>,
    pub(crate) rate_limit: Option<RateLimit>,
    pub(crate) allowed_ips: Arc<[IpNet]>,
    pub(crate) response: Option<SourceResponse>,
    pub(crate) verifier: Verifier,
}

/// Reads what a caller says of a source.
pub(crate) fn read(source: wire::CreateSource) -> Result<SourceFields, Vec<FieldError>> {
    let mut checks = Checks::default();
    let name = checks.ok("name", SourceName::new(&source.name));
    let provider = checks.ok("provider", read_provider(&source.provider));
    let endpoint_id = checks.parse("endpoint_id", source.endpoint_id.as_deref());
    let layer = PolicyFields { rate_limit: source.rate_limit, ..PolicyFields::default() };
    let rate_limit = read_layer(layer, &mut checks).and_then(|layer| layer.rate_limit);
    let allowed_ips = read_allowed_ips(&source.allowed_ips.unwrap_or_default(), &mut checks);
    let response = source.response.and_then(|response| read_response(response, &mut checks));
    let options = SourceOptions {
        algorithm: source.algorithm.map(read_algorithm),
        header: source.header,
        encoding: source.encoding.map(read_encoding),
        template: source.template,
        prefix: source.prefix,
        timestamp_header: source.timestamp_header,
        username: source.username,
        verify_token: source.verify_token.map(Secret::new),
        event_type_header: source.event_type_header,
        event_id_header: source.event_id_header,
        timestamp_tolerance: read_duration(
            "timestamp_tolerance",
            source.timestamp_tolerance.as_deref(),
            &mut checks,
        ),
    };
    let verifier = provider.and_then(|provider| read_verifier(provider, &options, &mut checks));
    let secret = source.secret.map(Secret::new);
    if let (Some(verifier), Some(secret)) = (&verifier, &secret) {
        check_secret(verifier, secret, &mut checks);
    }
    checks.finish()?;
    Ok(SourceFields {
        name: name.expect("a name that is not there was refused"),
        provider: provider.expect("a provider that is not there was refused"),
        options,
        secret,
        endpoint_id,
        rate_limit,
        allowed_ips,
        response,
        verifier: verifier.expect("options that break a rule were refused"),
    })
}

fn read_provider(name: &str) -> Result<Provider, String> {
    if let Some(provider) = Provider::from_name(name) {
        return Ok(provider);
    }
    if name == "paypal" {
        let rule =
            "is not `paypal`: its signatures can only be verified with a certificate that is fetched for it";
        return Err(rule.to_owned());
    }
    let names: Vec<_> = Provider::ALL.iter().map(|provider| provider.as_str()).collect();
    Err(format!("must be one of {}", names.join(", ")))
}

fn read_verifier(provider: Provider, options: &SourceOptions, checks: &mut Checks) -> Option<Verifier> {
    Verifier::new(provider, options).map_err(|error| checks.refuse(error.field, error.rule)).ok()
}

/// Notes what is wrong with a secret that a caller chose.
pub(crate) fn check_secret(verifier: &Verifier, secret: &Secret, checks: &mut Checks) {
    match verifier.secret_use() {
        SecretUse::None => checks.refuse("secret", "must not be set for the provider none"),
        SecretUse::FromProvider | SecretUse::FromOwner => {
            if let Err(rule) = verifier.check_secret(secret.expose()) {
                checks.refuse("secret", rule);
            }
        }
    }
}

fn read_allowed_ips(texts: &[String], checks: &mut Checks) -> Arc<[IpNet]> {
    if texts.len() > ALLOWED_IPS_MAX {
        checks.refuse("allowed_ips", format!("must have at most {ALLOWED_IPS_MAX} entries"));
        return Arc::default();
    }
    let read = |(n, text): (usize, &String)| {
        let subnet = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        let subnet =
            subnet.map_err(|_| "must be an address like 203.0.113.7 or a subnet like 203.0.113.0/24");
        Some(checks.ok(&format!("allowed_ips[{n}]"), subnet)?.trunc())
    };
    texts.iter().enumerate().filter_map(read).collect()
}

fn read_response(response: wire::SourceResponse, checks: &mut Checks) -> Option<SourceResponse> {
    let wire::SourceResponse { status, body, content_type } = response;
    let (status, body) = (status.unwrap_or(200), body.unwrap_or_default());
    let is_media_type = |text: &String| {
        !text.is_empty() && text.len() <= CONTENT_TYPE_BYTES_MAX && HeaderValue::from_str(text).is_ok()
    };
    let mut is_fine = true;
    let mut must = |holds: bool, field: &str, rule: String| {
        if !holds {
            checks.refuse(field, rule);
            is_fine = false;
        }
    };
    must((200..300).contains(&status), "response.status", "must be 200 to 299".to_owned());
    must(
        body.len() <= RESPONSE_BODY_BYTES_MAX,
        "response.body",
        format!("must be at most {RESPONSE_BODY_BYTES_MAX} bytes"),
    );
    // These statuses end with their headers: HTTP allows them no body.
    must(
        body.is_empty() || !matches!(status, 204 | 205),
        "response.body",
        format!("must be empty with {status}"),
    );
    must(
        content_type.as_ref().is_none_or(is_media_type),
        "response.content_type",
        format!("must be a media type of at most {CONTENT_TYPE_BYTES_MAX} characters"),
    );
    is_fine.then_some(SourceResponse { status, body, content_type })
}

fn read_algorithm(algorithm: wire::Algorithm) -> Algorithm {
    match algorithm {
        wire::Algorithm::Sha1 => Algorithm::Sha1,
        wire::Algorithm::Sha256 => Algorithm::Sha256,
        wire::Algorithm::Sha384 => Algorithm::Sha384,
        wire::Algorithm::Sha512 => Algorithm::Sha512,
    }
}

fn write_algorithm(algorithm: Algorithm) -> wire::Algorithm {
    match algorithm {
        Algorithm::Sha1 => wire::Algorithm::Sha1,
        Algorithm::Sha256 => wire::Algorithm::Sha256,
        Algorithm::Sha384 => wire::Algorithm::Sha384,
        Algorithm::Sha512 => wire::Algorithm::Sha512,
    }
}

fn read_encoding(encoding: wire::Encoding) -> Encoding {
    match encoding {
        wire::Encoding::Hex => Encoding::Hex,
        wire::Encoding::Base64 => Encoding::Base64,
    }
}

fn write_encoding(encoding: Encoding) -> wire::Encoding {
    match encoding {
        Encoding::Hex => wire::Encoding::Hex,
        Encoding::Base64 => wire::Encoding::Base64,
    }
}

/// Writes out what may be changed of a source, as [`read`] reads it. Holds a token that opens a door, so it must
/// not be shown.
pub(crate) fn write_fields(source: &Source) -> wire::CreateSource {
    let options = source.options.clone();
    wire::CreateSource {
        name: source.name.as_str().to_owned(),
        provider: source.provider.to_string(),
        secret: None,
        endpoint_id: source.endpoint_id.map(|id| id.to_string()),
        rate_limit: write_rate_limit(source.rate_limit),
        allowed_ips: Some(source.allowed_ips.iter().map(ToString::to_string).collect()),
        response: source.response.clone().map(write_response),
        algorithm: options.algorithm.map(write_algorithm),
        header: options.header,
        encoding: options.encoding.map(write_encoding),
        template: options.template,
        prefix: options.prefix,
        timestamp_header: options.timestamp_header,
        username: options.username,
        verify_token: options.verify_token.map(|token| token.expose().to_owned()),
        event_type_header: options.event_type_header,
        event_id_header: options.event_id_header,
        timestamp_tolerance: options.timestamp_tolerance.map(print_duration),
    }
}

/// Writes out a source, without its secrets. `base_url` is where providers reach us.
pub(crate) fn write(source: &Source, base_url: &str) -> wire::Source {
    let fields = write_fields(source);
    wire::Source {
        id: source.id.to_string(),
        ingest_url: format!("{base_url}{}", ingest_path(source.id)),
        name: fields.name,
        provider: fields.provider,
        secret: None,
        endpoint_id: fields.endpoint_id,
        rate_limit: fields.rate_limit,
        allowed_ips: fields.allowed_ips.unwrap_or_default(),
        response: fields.response,
        algorithm: fields.algorithm,
        header: fields.header,
        encoding: fields.encoding,
        template: fields.template,
        prefix: fields.prefix,
        timestamp_header: fields.timestamp_header,
        username: fields.username,
        event_type_header: fields.event_type_header,
        event_id_header: fields.event_id_header,
        timestamp_tolerance: fields.timestamp_tolerance,
        rejected_count: source.rejected_count,
        created_at: source.created_at.to_string(),
        updated_at: source.updated_at.to_string(),
    }
}

fn ingest_path(id: SourceId) -> String {
    format!("/ingest/{id}")
}

fn write_rate_limit(rate_limit: Option<RateLimit>) -> Option<harbor_wire::policy::RateLimit> {
    write_layer(&PolicyLayer { rate_limit, ..PolicyLayer::default() }).rate_limit
}

fn write_response(response: SourceResponse) -> wire::SourceResponse {
    let SourceResponse { status, body, content_type } = response;
    wire::SourceResponse { status: Some(status), body: Some(body), content_type }
}

/// Writes out a request that a source refused.
pub(crate) fn write_rejection(rejected: Rejected) -> wire::Rejection {
    let (signed_text, signed_text_encoding) = match rejected.signed_text.map(String::from_utf8) {
        None => (None, None),
        Some(Ok(text)) => (Some(text), Some(wire::PayloadEncoding::Text)),
        Some(Err(bytes)) => {
            (Some(BASE64_STANDARD.encode(bytes.as_bytes())), Some(wire::PayloadEncoding::Base64))
        }
    };
    wire::Rejection {
        id: rejected.id.to_string(),
        at: rejected.id.made_at().to_string(),
        code: rejected.code,
        message: rejected.message,
        header: rejected.header,
        signed_text,
        signed_text_encoding,
        timestamp_age_s: rejected.timestamp_age_s,
        method: rejected.method,
        remote_address: rejected.remote_address.to_string(),
        body_bytes: rejected.body_bytes,
    }
}

/// Writes out what came of a request; none for a handshake, which has an answer of its own.
pub(crate) fn write_received(received: &Received) -> Option<wire::ReceivedEvent> {
    let (event_id, delivery_id, is_duplicate, status) = match received {
        Received::Stored { event_id, delivery_id } => (event_id, delivery_id, false, None),
        Received::Duplicate { event_id, delivery_id, status } => (event_id, delivery_id, true, *status),
        Received::Handshake(_) => return None,
    };
    Some(wire::ReceivedEvent {
        event_id: event_id.to_string(),
        delivery_id: delivery_id.map(|id| id.to_string()),
        duplicate: is_duplicate,
        status: status.map(|status| status.as_str().to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wrong(source: serde_json::Value) -> Vec<String> {
        let source = serde_json::from_value(source).unwrap();
        let errors = read(source).err().unwrap_or_default();
        errors.into_iter().map(|error| format!("{} {}", error.field, error.message)).collect()
    }

    #[test]
    fn every_field_that_is_wrong_is_named_with_its_rule() {
        let check = |source: serde_json::Value, expected: &[&str]| {
            let found = wrong(source.clone());
            assert_eq!(found.len(), expected.len(), "{source}: {found:?}");
            for (found, expected) in found.iter().zip(expected) {
                assert!(found.starts_with(expected), "{source}: {found}");
            }
        };
        check(json!({"name": "stripe", "provider": "stripe", "secret": "whsec_x"}), &[]);
        check(
            json!({"name": "", "provider": "stripy"}),
            &["name must be 1", "provider must be one of stripe, "],
        );
        check(json!({"name": "pay", "provider": "paypal"}), &["provider is not `paypal`"]);
        check(json!({"name": "n", "provider": "none", "secret": "s"}), &["secret must not be set"]);
        check(json!({"name": "d", "provider": "discord", "secret": "not hex"}), &["secret must be"]);
        check(
            json!({"name": "g", "provider": "github", "template": "{body}"}),
            &["template must not be set"],
        );
        check(json!({"name": "b", "provider": "basic"}), &["username must be set"]);
        check(json!({"name": "g", "provider": "github", "endpoint_id": "x"}), &["endpoint_id must begin"]);
        check(
            json!({"name": "g", "provider": "github", "rate_limit": {"per_second": 0}}),
            &["rate_limit.per_second must be"],
        );
        check(
            json!({"name": "g", "provider": "github", "allowed_ips": ["10.0.0.0/8", "x"]}),
            &["allowed_ips[1] must be an address"],
        );
        check(
            json!({"name": "g", "provider": "github", "response": {"status": 302, "content_type": "a\nb"}}),
            &["response.status must be 200", "response.content_type must be"],
        );
        check(
            json!({"name": "g", "provider": "github", "response": {"status": 204, "body": "x"}}),
            &["response.body must be empty"],
        );
        check(
            json!({"name": "s", "provider": "stripe", "timestamp_tolerance": "2d"}),
            &["timestamp_tolerance must be 1s to 24h"],
        );
    }

    #[test]
    fn what_is_read_is_written_again() {
        let source = json!({
            "name": "acme", "provider": "generic-hmac", "secret": "s", "algorithm": "sha512",
            "header": "X-Acme", "encoding": "base64", "template": "{timestamp}{body}", "prefix": "v1=",
            "timestamp_header": "X-Time", "event_type_header": "X-Type", "event_id_header": "X-Id",
            "timestamp_tolerance": "10m", "rate_limit": {"per_second": 5, "burst": 7},
            "allowed_ips": ["203.0.113.7/32"],
            "response": {"status": 202, "body": "ok", "content_type": "text/plain"},
        });
        let SourceFields { name, provider, options, rate_limit, allowed_ips, response, .. } =
            read(serde_json::from_value(source.clone()).unwrap()).unwrap();
        let now = harbor_model::time::Timestamp::from_unix_ms(0);
        let read = Source {
            id: SourceId::from_number(1),
            tenant_id: "shop".parse().unwrap(),
            name,
            provider,
            options,
            secrets: Vec::new(),
            endpoint_id: None,
            rate_limit,
            allowed_ips,
            response,
            rejected_count: 0,
            version: 1,
            created_at: now,
            updated_at: now,
        };
        let mut expected = source;
        expected.as_object_mut().unwrap().remove("secret");
        assert_eq!(serde_json::to_value(write_fields(&read)).unwrap(), expected);
        let shown = write(&read, "https://hooks.example.com");
        assert_eq!(shown.ingest_url, format!("https://hooks.example.com/ingest/{}", read.id));
    }
}
