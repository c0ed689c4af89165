//! No verification: whoever knows the address of the source may send to it.
//!
//! For senders that sign nothing, best together with a list of allowed addresses.

use harbor_model::source::SourceOptions;

use crate::source::fresh::Moment;
use crate::source::preset::{Preset, SecretUse};
use crate::source::rejection::Rejection;
use crate::source::request::Request;

pub(crate) struct Unverified {
    event_type_header: Option<String>,
    event_id_header: Option<String>,
}

impl Unverified {
    pub(crate) fn new(options: &SourceOptions) -> Self {
        Self {
            event_type_header: options.event_type_header.clone(),
            event_id_header: options.event_id_header.clone(),
        }
    }
}

impl Preset for Unverified {
    fn secret_use(&self) -> SecretUse {
        SecretUse::None
    }

    fn verify(&self, _request: &Request<'_>, _secrets: &[&str], _at: Moment) -> Result<(), Rejection> {
        Ok(())
    }

    fn event_type(&self, request: &Request<'_>) -> Option<String> {
        request.word(self.event_type_header.as_ref()?)
    }

    fn event_id(&self, request: &Request<'_>) -> Option<String> {
        request.word(self.event_id_header.as_ref()?)
    }
}
