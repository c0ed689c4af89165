//! What goes over the network: the API's requests and answers, and a typed client.
//!
//! Start with [`event`] (publish), [`endpoint`] and [`delivery`]; every list is a [`list::List`] and
//! every error a [`problem::Problem`]. With feature `client`, [`client::Client`] speaks all of it.
//!
//! This crate knows nothing of the engine: ids and times are texts here, and the server turns them
//! into what they mean.

pub mod event;

pub mod api_key;
pub mod delivery;
pub mod endpoint;
pub mod job;
pub mod lane;
pub mod source;
pub mod subscription;
pub mod tenant;

pub mod health;
pub mod list;
pub mod patch;
pub mod policy;
pub mod problem;

mod debug;
mod object;

#[cfg(feature = "client")]
pub mod client;
