//! A few whole journeys with the real programs, on loopback.
#![expect(clippy::unwrap_used, reason = "a test stops where it is surprised")]

mod system {
    mod bad_input;
    mod cluster;
    mod crash;
    mod harborctl;
    mod isolation;
    mod journey;
    mod payloads;
    mod publishers;
    mod set_up;
}
