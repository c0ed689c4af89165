//! A running receiver, seen from the network.

#![expect(clippy::unwrap_used, reason = "these are tests, helpers and all")]

mod client;
mod hostile;
mod polite;
