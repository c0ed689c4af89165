//! What Harborhook's things are, how it decides, and the ports to the outside.
//!
//! Start with [`event`], [`delivery`] and [`endpoint`]; then [`decide`], where every choice is
//! a pure function over values; then [`port`], the traits that a store implements.
//!
//! This crate does no I/O: it reads no clock, draws no randomness and knows no database,
//! no HTTP library and no async runtime.

pub mod id;

pub mod event_type;

pub mod api_key;
pub mod attempt;
pub mod delivery;
pub mod endpoint;
pub mod event;
pub mod header;
pub mod job;
pub mod lane;
pub mod notice;
pub mod source;
pub mod subscription;
pub mod tenant;

pub mod address;
pub mod invalid;
pub mod policy;
pub mod secret;
pub mod text;
pub mod time;

pub mod chance;
pub mod decide;
pub mod directory;
pub mod port;
