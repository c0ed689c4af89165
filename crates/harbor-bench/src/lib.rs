//! The benchmark program: starts server, load and receiver as processes of their own on one machine
//! and prints what they did.
//!
//! Start reading at [`measure`](measure::measure), the steps of one run; [`noisy`] and [`backlog`] have more steps.
//! The [`load`] and the [`receiver`] run in this same program under subcommands of their own.
//! Nothing here knows how the server works: it is driven by its command line, its API and its metrics.

// What is run.
pub mod bench;
pub mod duration;
pub mod settings;

// One run.
pub mod backlog;
pub mod measure;
pub mod measurement;
pub mod noisy;
pub mod server;
mod stage;
mod traffic;

// The load.
pub mod entry;
pub mod load;
mod payload;
pub mod provider;
mod schedule;

// The receiver.
mod arrivals;
mod event_key;
pub mod receiver;
pub mod tls;

// What the server stands on.
mod database;
mod slow_disk;

// What is read and how it is shown.
pub mod account;
pub mod figure;
pub mod findings;
pub mod histogram;
pub mod machine;
mod metrics;
pub mod probe;
pub mod report;
pub mod usage;

// Homes of effects.
mod child;
mod clock;
mod connection;
mod control;
mod process;
