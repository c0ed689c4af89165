//! Keeps everything: the embedded SQLite store, the store in PostgreSQL for several processes, and the suite
//! that every store has to pass.
//!
//! Start with [`store`], what every store does. [`sqlite`] sends every change through one thread,
//! `sqlite/writer.rs`; [`postgres`] gathers them into statements, `postgres/batcher.rs`. [`seal`] keeps
//! secrets unreadable at rest, and [`directory`] keeps tenants' snapshots in memory.
//!
//! This crate must not know HTTP, queues or how deliveries are made.

pub mod store;

pub mod directory;
pub mod postgres;
pub mod seal;
pub mod sqlite;

mod claims;
mod damaged;
mod ending;
mod filters;
mod jobs;
mod keyring;
mod layers;
mod notices;
mod pages;
mod registry;
mod sources;
mod turns;

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;

pub use postgres::PostgresStore;
pub use seal::{MasterKey, MasterKeyError};
pub use sqlite::{OpenError, SqliteStore};
pub use store::Store;
