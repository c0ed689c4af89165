//! Ordered lanes.

use harbor_model::lane::{LaneHead, OrderedLane};
use harbor_wire::lane as wire;

use crate::convert::delivery::write_status;

/// Writes out a lane.
pub(crate) fn write(lane: &OrderedLane) -> wire::OrderedLane {
    wire::OrderedLane {
        key: lane.key.to_string(),
        head: lane.head.as_ref().map(write_head),
        waiting_count: lane.waiting_count,
        held_at: lane.held_at.map(|at| at.to_string()),
    }
}

fn write_head(head: &LaneHead) -> wire::LaneHead {
    wire::LaneHead {
        delivery_id: head.delivery_id.to_string(),
        status: write_status(head.status),
        attempt_count: head.attempt_count,
        next_attempt_at: head.next_attempt_at.map(|at| at.to_string()),
    }
}
