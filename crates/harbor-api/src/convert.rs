//! Turns what came over the network into what it means, and back.

pub(crate) mod api_key;
pub(crate) mod checks;
pub(crate) mod delivery;
pub(crate) mod endpoint;
pub(crate) mod event;
pub(crate) mod job;
pub(crate) mod lane;
pub(crate) mod policy;
pub(crate) mod source;
pub(crate) mod subscription;
pub(crate) mod tenant;
