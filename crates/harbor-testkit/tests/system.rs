//! A few whole journeys with the real programs, on loopback.
#![expect(clippy::unwrap_used, reason = "a test stops where it is surprised")]

mod system {
    mod actions;
    mod bad_input;
    mod cluster;
    mod crash;
    mod drains;
    mod harborctl;
    mod isolation;
    mod jobs;
    mod journey;
    mod ordering;
    mod payloads;
    mod publishers;
    mod purge;
    mod set_up;
    mod sources;
}
