//! Ordered lanes: deliveries of one endpoint that go one after the other.
//!
//! Only the head of a lane is ever due. It stays the head until it is delivered, cancelled or dead; a dead one
//! holds the lane where its endpoint's policy says so. Whoever delivers need not know of the order.

use std::fmt;
use std::sync::Arc;

use crate::delivery::DeliveryStatus;
use crate::id::DeliveryId;
use crate::policy::order::Ordering;
use crate::time::Timestamp;

/// Names a lane of an endpoint. The one lane of an endpoint that orders everything has the empty name,
/// which no ordering key is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneKey(Arc<str>);

impl LaneKey {
    /// The one lane of an endpoint that orders everything.
    pub fn of_endpoint() -> Self {
        Self("".into())
    }

    /// The lane of an ordering key; of an endpoint where it is empty.
    pub fn new(key: &str) -> Self {
        Self(key.into())
    }

    /// The name: the ordering key, or nothing.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LaneKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The lane that an event with this ordering key joins at an endpoint; none where it is unordered there.
pub fn lane_of(ordering: Ordering, ordering_key: Option<&str>) -> Option<LaneKey> {
    match ordering {
        Ordering::None => None,
        Ordering::Key => ordering_key.map(LaneKey::new),
        Ordering::Endpoint => Some(LaneKey::of_endpoint()),
    }
}

/// A lane that has somebody in it, or is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderedLane {
    /// Names it.
    pub key: LaneKey,
    /// Who is next, or who holds it dead; none where that one is no longer kept.
    pub head: Option<LaneHead>,
    /// How many wait behind the head, counted up to [`LANE_COUNTED_MAX`].
    pub waiting_count: u64,
    /// Since when its dead head holds it; none where it moves.
    pub held_at: Option<Timestamp>,
}

/// The first of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneHead {
    /// Which delivery.
    pub delivery_id: DeliveryId,
    /// Where it stands.
    pub status: DeliveryStatus,
    /// How many attempts are recorded.
    pub attempt_count: u16,
    /// When it is tried next, while it waits.
    pub next_attempt_at: Option<Timestamp>,
}

/// How far those are counted that wait in a lane.
pub const LANE_COUNTED_MAX: u64 = 10_000;

/// How a lane is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// The head is passed over: one that is open is cancelled, one that is dead stays so. The next one goes.
    Skip,
    /// The head is tried now. For one that is dead, a replay with this id takes its place.
    Retry(DeliveryId),
}

/// What came of releasing a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Released {
    /// It moves. The delivery that was passed over or is tried now; none where it is no longer kept.
    Done(Option<DeliveryId>),
    /// There is no such lane: nobody is in it.
    Missing,
    /// The dead head cannot be repeated: its event is no longer kept. It can be skipped.
    Expired,
    /// The endpoint is deleted or disabled: what is open ends anyhow.
    NoEndpoint,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_joins_the_lane_of_its_key_or_of_the_endpoint() {
        let check = |ordering, key: Option<&str>, expected: Option<&str>| {
            let found = lane_of(ordering, key);
            assert_eq!(found.as_ref().map(LaneKey::as_str), expected, "{ordering} {key:?}");
        };
        check(Ordering::None, Some("a"), None);
        check(Ordering::Key, Some("a"), Some("a"));
        check(Ordering::Key, None, None);
        check(Ordering::Endpoint, Some("a"), Some(""));
        check(Ordering::Endpoint, None, Some(""));
    }
}
