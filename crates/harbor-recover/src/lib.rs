//! What follows later: replays, interventions, jobs, and clearing up.
//!
//! Start with [`dead_letters::DeadLetters`] and [`interventions::Interventions`], what people do about single
//! deliveries; [`jobs`] is work on many of them, and [`tenants`] the end of all of a tenant's.
//! [`upkeep::run`] is what the server does by itself, in small batches off the way of events, and
//! [`leadership`] which of several servers does it.
//!
//! This crate knows no database and no HTTP; it meets the store at the ports of `harbor-model`.

pub mod dead_letters;
pub mod interventions;

pub mod jobs;
pub mod tenants;

pub mod leadership;
pub mod upkeep;

#[cfg(test)]
mod fakes;
