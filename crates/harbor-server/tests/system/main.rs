//! The real program, started as a user starts it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod daemon;

mod config;
mod dev;
mod keys;
mod metrics;
mod signals;
mod stopping;
