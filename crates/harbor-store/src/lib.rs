//! Keeps everything: the embedded SQLite store, and the suite that every store has to pass.
//!
//! Start with [`sqlite`], whose [`SqliteStore`] implements every port of `harbor_model::port`;
//! then `sqlite/writer.rs`, the one thread through which every change goes. [`seal`] keeps secrets
//! unreadable at rest, and [`directory`] keeps tenants' snapshots in memory.
//!
//! This crate must not know HTTP, queues or how deliveries are made.

pub mod directory;
pub mod seal;
pub mod sqlite;

mod layers;

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;

pub use seal::{MasterKey, MasterKeyError};
pub use sqlite::{OpenError, Settings, SqliteStore};
