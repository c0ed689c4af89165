//! What follows later: replays, discards, and clearing up.
//!
//! Start with [`dead_letters::DeadLetters`], what people do about deliveries that we stopped trying;
//! [`upkeep::run`] is what the server does by itself, in small batches off the way of events, and
//! [`leadership`] which of several servers does it.
//!
//! This crate knows no database and no HTTP; it meets the store at the ports of `harbor-model`.

pub mod dead_letters;
pub mod leadership;
pub mod upkeep;
