//! Claims on idempotency keys: what does not depend on the database.

use aws_lc_rs::digest::{Context, SHA256};
use harbor_model::port::upkeep::NewReplay;

/// What was asked with a key. A key of one scope says nothing in another.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scope {
    Publish,
    Replay,
    Job,
}

impl Scope {
    /// Its name, as it is stored.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Replay => "replay",
            Self::Job => "job",
        }
    }
}

/// What stands against a claim.
pub(crate) enum Held {
    /// The same was asked before, and made this.
    Same { made: u128, fan_out_count: u32 },
    /// The key stands for something else.
    Other,
}

/// What a repeated request for a replay must agree in.
pub(crate) fn replay_fingerprint(replay: &NewReplay) -> [u8; 32] {
    let mut digest = Context::new(&SHA256);
    digest.update(&replay.of.number().to_be_bytes());
    digest.update(&[u8::from(replay.new_webhook_id), u8::from(replay.reason.is_some())]);
    digest.update(replay.reason.as_deref().unwrap_or_default().as_bytes());
    digest.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
}
