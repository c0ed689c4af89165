//! The real binary against a server that answers as it is told.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod config;
mod jobs;
mod lists;
mod problems;
mod publish;
mod quick;
mod run;
mod server;
mod sources;
mod tail;
mod traffic;
mod verify;
