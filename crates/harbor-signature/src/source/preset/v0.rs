//! The scheme that Slack made and Zoom took over: HMAC-SHA256 in hex over `v0:timestamp:body`, in one header
//! as `v0=…`, with the timestamp in another.

use crate::source::compare::{Hmac, as_keys};
use crate::source::fresh::{Moment, fresh_secs};
use crate::source::rejection::{Reason, Rejection};
use crate::source::request::Request;

/// The headers that one provider uses for it.
pub(crate) struct V0 {
    pub(crate) signature: &'static str,
    pub(crate) timestamp: &'static str,
}

impl V0 {
    pub(crate) fn verify(
        &self,
        request: &Request<'_>,
        secrets: &[&str],
        at: Moment,
    ) -> Result<(), Rejection> {
        let timestamp = request.header(self.timestamp)?;
        let age_s = fresh_secs(self.timestamp, timestamp, at)?;
        self.verify_signature(request, secrets).map_err(|rejection| rejection.aged(age_s))
    }

    /// The one of `secrets` that this request was signed with.
    pub(crate) fn find_signer<'s>(&self, request: &Request<'_>, secrets: &[&'s str]) -> Option<&'s str> {
        secrets.iter().copied().find(|secret| self.verify_signature(request, &[secret]).is_ok())
    }

    fn verify_signature(&self, request: &Request<'_>, secrets: &[&str]) -> Result<(), Rejection> {
        let Some(signature) = request.header(self.signature)?.strip_prefix("v0=") else {
            return Err(Reason::malformed(self.signature, "must begin with `v0=`").into());
        };
        let timestamp = request.header(self.timestamp)?;
        let signed: [&[u8]; 4] = [b"v0:", timestamp.as_bytes(), b":", request.body];
        Hmac::SHA256_HEX.verify(as_keys(secrets), &signed, std::iter::once(signature))
    }
}
