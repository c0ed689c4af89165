//! Ids: a prefix and a lower-case ULID, one type for each kind of thing.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use ulid::Ulid;

use crate::chance::Rng;
use crate::time::Timestamp;

/// Says why a text is not an id of the expected kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text does not begin with the kind's prefix.
    #[error("must begin with `{expected}`")]
    Prefix {
        /// The prefix of the expected kind, with its underscore.
        expected: &'static str,
    },
    /// What follows the prefix is not a lower-case ULID.
    #[error("must be `{prefix}` followed by 26 characters of a lower-case ULID")]
    Ulid {
        /// The prefix of the expected kind, with its underscore.
        prefix: &'static str,
    },
    /// The text is not a tenant id.
    #[error("must be 1 to 64 of the characters a-z, 0-9, `_` and `-`")]
    Tenant,
}

/// Makes a ULID from the time and 80 random bits.
fn ulid_at(now: Timestamp, rng: &dyn Rng) -> Ulid {
    let random = (u128::from(rng.next_u64()) << 64) | u128::from(rng.next_u64());
    Ulid::from_parts(now.unix_ms().unsigned_abs(), random)
}

fn parse_ulid(text: &str, prefix: &'static str) -> Result<Ulid, IdError> {
    let rest = text.strip_prefix(prefix).ok_or(IdError::Prefix { expected: prefix })?;
    let malformed = IdError::Ulid { prefix };
    if rest.len() != 26 || rest.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(malformed);
    }
    let ulid = Ulid::from_string(rest).map_err(|_| malformed.clone())?;
    // The decoder takes aliases (`i` for `1`) and wraps what exceeds 128 bits; one id has one spelling.
    if ulid.to_string().eq_ignore_ascii_case(rest) { Ok(ulid) } else { Err(malformed) }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Ulid);

        impl $name {
            /// What the text of every such id begins with.
            pub const PREFIX: &str = concat!($prefix, "_");

            /// Makes a new id that sorts by `now`.
            pub fn new(now: Timestamp, rng: &dyn Rng) -> Self {
                Self(ulid_at(now, rng))
            }

            /// The id as a number, for storage and for positions in lists.
            pub fn number(self) -> u128 {
                self.0.0
            }

            /// The id with this number.
            pub fn from_number(number: u128) -> Self {
                Self(Ulid(number))
            }

            /// When the id was made.
            pub fn made_at(self) -> Timestamp {
                Timestamp::from_unix_ms(i64::try_from(self.0.timestamp_ms()).expect("a ULID's time has 48 bits"))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut text = [0; ulid::ULID_LEN];
                self.0.array_to_str(&mut text);
                text.make_ascii_lowercase();
                f.write_str(Self::PREFIX)?;
                f.write_str(std::str::from_utf8(&text).expect("a ULID is ASCII"))
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                parse_ulid(text, Self::PREFIX).map(Self)
            }
        }
    )*};
}

ids! {
    /// Names one event. Prints as `evt_` followed by 26 characters.
    EventId "evt";
    /// Names one endpoint. Prints as `ep_` followed by 26 characters.
    EndpointId "ep";
    /// Names one subscription. Prints as `sub_` followed by 26 characters.
    SubscriptionId "sub";
    /// Names one delivery. Prints as `dlv_` followed by 26 characters.
    DeliveryId "dlv";
    /// Names one source. Prints as `src_` followed by 26 characters.
    SourceId "src";
    /// Names one request that a source refused. Prints as `rej_` followed by 26 characters.
    RejectionId "rej";
    /// Names one attempt. Prints as `att_` followed by 26 characters.
    AttemptId "att";
    /// Names one API key; not the key itself. Prints as `key_` followed by 26 characters.
    ApiKeyId "key";
    /// Names one job. Prints as `job_` followed by 26 characters.
    JobId "job";
    /// Names one job that replays; its number is that of its [`JobId`]. Prints as `rpl_` followed by 26
    /// characters.
    ReplayId "rpl";
    /// Names one notice. Prints as `ntc_` followed by 26 characters.
    NoticeId "ntc";
    /// Names one incarnation of a worker: a process from its start to its end.
    /// Prints as `wrk_` followed by 26 characters.
    WorkerId "wrk";
}

/// Names one tenant: chosen by the operator, or `tn_` followed by 26 characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// Makes a new id for a tenant whose operator chose none.
    pub fn new(now: Timestamp, rng: &dyn Rng) -> Self {
        let text = ulid_at(now, rng).to_string().to_ascii_lowercase();
        Self(format!("tn_{text}").into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TenantId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
        if text.is_empty() || text.len() > 64 || !text.bytes().all(fits) {
            return Err(IdError::Tenant);
        }
        Ok(Self(text.into()))
    }
}

#[cfg(test)]
mod tests;
