//! Which preset verifies for which provider.

use harbor_model::source::{Provider, SourceOptions};

use crate::source::options::OptionError;
use crate::source::preset::{self, Preset};

/// Makes the preset, with what the source sets for it.
pub(crate) fn preset_of(provider: Provider, options: &SourceOptions) -> Result<Box<dyn Preset>, OptionError> {
    Ok(match provider {
        Provider::Stripe => Box::new(preset::stripe::Stripe),
        Provider::Github => Box::new(preset::github::Github),
        Provider::Gitlab => Box::new(preset::gitlab::Gitlab),
        Provider::Shopify => Box::new(preset::shopify::Shopify),
        Provider::Linear => Box::new(preset::linear::Linear),
        Provider::Sentry => Box::new(preset::sentry::Sentry),
        Provider::Intercom => Box::new(preset::intercom::Intercom),
        Provider::Hubspot => Box::new(preset::hubspot::Hubspot),
        Provider::Docusign => Box::new(preset::docusign::Docusign),
        Provider::Woocommerce => Box::new(preset::woocommerce::Woocommerce),
        Provider::Slack => Box::new(preset::slack::Slack),
        Provider::Twilio => Box::new(preset::twilio::Twilio),
        Provider::StandardWebhooks | Provider::Svix => Box::new(preset::standard_webhooks::StandardWebhooks),
        Provider::Paddle => Box::new(preset::paddle::Paddle),
        Provider::Square => Box::new(preset::square::Square),
        Provider::Zoom => Box::new(preset::zoom::Zoom),
        Provider::Discord => Box::new(preset::discord::Discord),
        Provider::Typeform => Box::new(preset::typeform::Typeform),
        Provider::Mailgun => Box::new(preset::mailgun::Mailgun),
        Provider::Sendgrid => Box::new(preset::sendgrid::SendGrid),
        Provider::Pagerduty => Box::new(preset::pagerduty::PagerDuty),
        Provider::Bitbucket => Box::new(preset::bitbucket::Bitbucket),
        Provider::Dropbox => Box::new(preset::dropbox::Dropbox),
        Provider::Meta => Box::new(preset::meta::Meta::new(options)?),
        Provider::GenericHmac => Box::new(preset::generic_hmac::GenericHmac::new(options)?),
        Provider::Basic => Box::new(preset::basic::Basic::new(options)?),
        Provider::ApiKey => Box::new(preset::api_key::ApiKey::new(options)),
        Provider::None => Box::new(preset::none::Unverified::new(options)),
    })
}
