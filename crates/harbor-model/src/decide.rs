//! Decisions: pure functions from values to values, without clock, chance or I/O.

pub mod breaker;
pub mod classify;
pub mod fan_out;
pub mod rate;
pub mod retry;
pub mod share;
