//! The rules of what the owner of a source may set for its scheme.

use harbor_model::source::{Provider, SourceOptions};

use crate::source::preset::Preset;
use crate::verify::TOLERANCE_SECS;

/// At most this many bytes may a template of the signed text have.
pub const TEMPLATE_BYTES_MAX: usize = 1024;

/// Says which option of a source is wrong, and the rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {rule}")]
pub struct OptionError {
    /// The option.
    pub field: &'static str,
    /// The rule that it breaks, as `must …`.
    pub rule: String,
}

impl OptionError {
    pub(crate) fn new(field: &'static str, rule: impl Into<String>) -> Self {
        Self { field, rule: rule.into() }
    }
}

/// Refuses what this provider has no use for, a setting that changes nothing would deceive; and names of headers
/// that are none.
pub(crate) fn check(options: &SourceOptions, provider: Provider) -> Result<(), OptionError> {
    let SourceOptions {
        algorithm,
        header,
        encoding,
        template,
        prefix,
        timestamp_header,
        username,
        verify_token,
        event_type_header,
        event_id_header,
        // Whether it is of use depends on more than the provider; see `tolerance_secs`.
        timestamp_tolerance: _,
    } = options;
    let is_generic = provider.is_generic();
    let is_hmac = provider == Provider::GenericHmac;
    let uses = [
        ("algorithm", algorithm.is_some(), is_hmac),
        ("header", header.is_some(), is_hmac || provider == Provider::ApiKey),
        ("encoding", encoding.is_some(), is_hmac),
        ("template", template.is_some(), is_hmac),
        ("prefix", prefix.is_some(), is_hmac),
        ("timestamp_header", timestamp_header.is_some(), is_hmac),
        ("username", username.is_some(), provider == Provider::Basic),
        ("verify_token", verify_token.is_some(), provider == Provider::Meta),
        ("event_type_header", event_type_header.is_some(), is_generic),
        ("event_id_header", event_id_header.is_some(), is_generic),
    ];
    match uses.into_iter().find(|(_, is_set, is_used)| *is_set && !is_used) {
        Some((field, _, _)) => {
            Err(OptionError::new(field, format!("must not be set for the provider {provider}")))
        }
        None => check_headers(options),
    }
}

fn check_headers(options: &SourceOptions) -> Result<(), OptionError> {
    let names = [
        ("header", &options.header),
        ("timestamp_header", &options.timestamp_header),
        ("event_type_header", &options.event_type_header),
        ("event_id_header", &options.event_id_header),
    ];
    for (field, name) in names {
        let Some(name) = name else { continue };
        if name.len() > HEADER_NAME_BYTES_MAX || name.parse::<http::HeaderName>().is_err() {
            return Err(OptionError::new(field, "must be a header's name of 1 to 128 characters"));
        }
    }
    Ok(())
}

/// How far from now a timestamp may be.
pub(crate) fn tolerance_secs(options: &SourceOptions, preset: &dyn Preset) -> Result<i64, OptionError> {
    const FIELD: &str = "timestamp_tolerance";
    let Some(tolerance) = options.timestamp_tolerance else { return Ok(TOLERANCE_SECS) };
    if !preset.has_timestamp() {
        return Err(OptionError::new(
            FIELD,
            "must not be set where requests hold no timestamp that is signed",
        ));
    }
    let secs = i64::try_from(tolerance.as_secs()).unwrap_or(i64::MAX);
    if !(1..=TIMESTAMP_TOLERANCE_SECS_MAX).contains(&secs) {
        return Err(OptionError::new(FIELD, "must be 1s to 24h"));
    }
    Ok(secs)
}

/// A source may let timestamps pass that are this many seconds away, for providers that retry with the timestamp
/// of their first try.
const TIMESTAMP_TOLERANCE_SECS_MAX: i64 = 24 * 60 * 60;

const HEADER_NAME_BYTES_MAX: usize = 128;
