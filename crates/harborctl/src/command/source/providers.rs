//! `harborctl source providers`

use harbor_model::source::{Provider, SourceOptions};
use harbor_signature::source::{SecretUse, Verifier};
use harbor_wire::list::List;
use serde::Serialize;

use crate::command::show_list;
use crate::failure::Failure;
use crate::output::Output;
use crate::output::table::{Cell, Column};

/// A provider, and what its scheme wants a secret for.
#[derive(Serialize)]
struct Known {
    provider: &'static str,
    secret_from: SecretFrom,
    secret: &'static str,
}

/// Who says what the secret is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum SecretFrom {
    Provider,
    Owner,
    Nobody,
}

const COLUMNS: &[Column<Known>] = &[
    Column::new("PROVIDER", |known, _| Cell::new(known.provider)),
    Column::new("SECRET FROM", |known, _| {
        Cell::new(match known.secret_from {
            SecretFrom::Provider => "the provider",
            SecretFrom::Owner => "you",
            SecretFrom::Nobody => "-",
        })
    }),
    Column::flexible("SECRET", |known, _| Cell::new(known.secret)),
];

/// Writes all providers that are known here.
pub(super) fn list(output: &Output) -> Result<(), Failure> {
    let data = Provider::ALL.iter().copied().map(known).collect();
    show_list(output, &List { data, next_cursor: None }, COLUMNS, "providers")?;
    output.hint("what is yours to choose is made unless you give it");
    Ok(())
}

fn known(provider: Provider) -> Known {
    let username = (provider == Provider::Basic).then(|| "anybody".to_owned());
    let verifier = Verifier::new(provider, &SourceOptions { username, ..SourceOptions::default() });
    let secret_from = match verifier.expect("basic alone has an option that must be set").secret_use() {
        SecretUse::FromProvider => SecretFrom::Provider,
        SecretUse::FromOwner => SecretFrom::Owner,
        SecretUse::None => SecretFrom::Nobody,
    };
    Known { provider: provider.as_str(), secret_from, secret: secret_of(provider) }
}

/// What the provider calls the secret.
fn secret_of(provider: Provider) -> &'static str {
    match provider {
        Provider::Stripe => "signing secret of the endpoint, whsec_…",
        Provider::Github | Provider::Bitbucket | Provider::Typeform | Provider::Woocommerce => {
            "secret of the webhook"
        }
        Provider::Gitlab => "signing token of the webhook, whsec_…, or its secret token",
        Provider::Shopify => "client secret of the app, or the key of the shop's own webhooks",
        Provider::Slack => "signing secret of the app",
        Provider::Twilio => "auth token of the account",
        Provider::StandardWebhooks => "secret of the endpoint: whsec_ and base64, or the key itself",
        Provider::Svix => "signing secret of the endpoint, whsec_…",
        Provider::Paddle => "secret key of the notification destination",
        Provider::Square => "signature key of the webhook subscription",
        Provider::Zoom => "secret token of the app",
        Provider::Discord => "public key of the application, 64 hex digits",
        Provider::Linear | Provider::Pagerduty => "signing secret of the webhook",
        Provider::Sentry => "client secret of the integration",
        Provider::Intercom | Provider::Hubspot => "client secret of the app",
        Provider::Docusign => "HMAC key of the account",
        Provider::Mailgun => "HTTP webhook signing key",
        Provider::Sendgrid => "verification key of the webhook, MFkw…",
        Provider::Dropbox => "secret of the app",
        Provider::Meta => "secret of the app; --verify-token for the handshake, if it is another",
        Provider::GenericHmac => "key that the sender signs with",
        Provider::Basic => "password; --username names who has it",
        Provider::ApiKey => "key that the sender puts into a header",
        Provider::None => "none: nothing is verified",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_provider_says_who_makes_its_secret() {
        let of = |provider| known(provider).secret_from;
        assert_eq!(of(Provider::Stripe), SecretFrom::Provider);
        assert_eq!(of(Provider::Github), SecretFrom::Owner);
        assert_eq!(of(Provider::None), SecretFrom::Nobody);
        assert!(Provider::ALL.iter().all(|provider| !known(*provider).secret.is_empty()));
    }
}
