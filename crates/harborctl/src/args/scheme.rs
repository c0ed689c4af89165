//! How the requests of a source are verified: the flags that making, changing and verifying share.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use harbor_model::secret::Secret;
use harbor_model::source::{self as model, Provider, SourceOptions};
use harbor_model::text::parse_duration;
use harbor_wire::source::{Algorithm, Encoding};

use crate::args::word;
use crate::failure::Failure;

/// What a source sets for its provider's scheme.
#[derive(Args, Clone, Default)]
#[command(next_help_heading = "Scheme (most providers leave nothing open)")]
pub(crate) struct SchemeArgs {
    /// generic-hmac: hash [default: sha256]
    #[arg(long, value_name = "HASH", value_parser = word::parser::<Algorithm>(word::ALGORITHMS))]
    pub(crate) algorithm: Option<Algorithm>,

    /// Header with the signature (generic-hmac: X-Signature unless set) or the key (api-key: X-API-Key)
    #[arg(long, value_name = "NAME")]
    pub(crate) header: Option<String>,

    /// generic-hmac: how the signature is written [default: hex]
    #[arg(long, value_name = "ENCODING", value_parser = word::parser::<Encoding>(word::ENCODINGS))]
    pub(crate) encoding: Option<Encoding>,

    /// generic-hmac: signed text, of {body}, {timestamp}, {method}, {url}, {header:NAME} [default: {body}]
    #[arg(long, value_name = "TEXT")]
    pub(crate) template: Option<String>,

    /// generic-hmac: what must stand before the signature [default: the hash's name and = may]
    #[arg(long, value_name = "TEXT")]
    pub(crate) prefix: Option<String>,

    /// generic-hmac: header with the time, in unix seconds or milliseconds
    #[arg(long, value_name = "NAME")]
    pub(crate) timestamp_header: Option<String>,

    /// basic: name that goes with the password
    #[arg(long, value_name = "NAME")]
    pub(crate) username: Option<String>,

    /// meta: token that the handshake must name [default: the secret]
    #[arg(long, value_name = "TOKEN")]
    pub(crate) verify_token: Option<String>,

    /// generic-hmac, basic, api-key, none: header with the event's type
    #[arg(long, value_name = "NAME")]
    pub(crate) event_type_header: Option<String>,

    /// generic-hmac, basic, api-key, none: header that names the event, the same over its retries
    #[arg(long, value_name = "NAME")]
    pub(crate) event_id_header: Option<String>,

    /// How far from now a signed time may be, at most 24h [default: 5m]
    #[arg(long, value_name = "DURATION")]
    pub(crate) timestamp_tolerance: Option<String>,
}

impl SchemeArgs {
    /// The same for a verifier.
    ///
    /// # Errors
    /// The tolerance is no duration.
    pub(crate) fn into_options(self) -> Result<SourceOptions, Failure> {
        let tolerance = self.timestamp_tolerance.as_deref().map(parse_duration).transpose();
        Ok(SourceOptions {
            algorithm: self.algorithm.map(algorithm),
            header: self.header,
            encoding: self.encoding.map(encoding),
            template: self.template,
            prefix: self.prefix,
            timestamp_header: self.timestamp_header,
            username: self.username,
            verify_token: self.verify_token.map(Secret::new),
            event_type_header: self.event_type_header,
            event_id_header: self.event_id_header,
            timestamp_tolerance: tolerance
                .map_err(|error| Failure::Usage(format!("--timestamp-tolerance {error}")))?,
        })
    }
}

/// Reads the name of a provider.
pub(crate) fn provider() -> impl TypedValueParser<Value = Provider> {
    PossibleValuesParser::new(Provider::ALL.iter().map(|provider| provider.as_str()))
        .map(|name| Provider::from_name(&name).expect("only names of providers pass"))
}

fn algorithm(algorithm: Algorithm) -> model::Algorithm {
    match algorithm {
        Algorithm::Sha1 => model::Algorithm::Sha1,
        Algorithm::Sha256 => model::Algorithm::Sha256,
        Algorithm::Sha384 => model::Algorithm::Sha384,
        Algorithm::Sha512 => model::Algorithm::Sha512,
    }
}

fn encoding(encoding: Encoding) -> model::Encoding {
    match encoding {
        Encoding::Hex => model::Encoding::Hex,
        Encoding::Base64 => model::Encoding::Base64,
    }
}
