//! Whether an endpoint's deliveries go one after the other.

use crate::delivery::names;

/// What an endpoint's events are ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Ordering {
    /// By nothing: each goes when it can.
    #[default]
    None,
    /// Those with one ordering key go one after the other. One without a key is unordered.
    Key,
    /// All go one after the other.
    Endpoint,
}

names!(Ordering { None = "none", Key = "key", Endpoint = "endpoint", });

/// What becomes of an ordered lane whose head is dead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnDead {
    /// The next one goes.
    #[default]
    Skip,
    /// Nothing goes until somebody releases the lane.
    Hold,
}

names!(OnDead { Skip = "skip", Hold = "hold", });
