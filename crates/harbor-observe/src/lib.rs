//! What Harborhook shows of itself: metrics for Prometheus, and logs.
//!
//! Start with [`metrics::Metrics`], which watches the engine through its
//! [`Observer`](harbor_model::port::observer::Observer); then [`logs::Logs`].
//! Both are called on the way of every event: neither blocks it, and both are bounded.
//! This crate knows no engine, no store and no HTTP.

pub mod logs;
pub mod metrics;

mod process;
