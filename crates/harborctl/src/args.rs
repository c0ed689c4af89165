//! Arguments that several commands take, and what their texts mean.

pub(crate) mod clear;
pub(crate) mod duration;
pub(crate) mod filter;
pub(crate) mod global;
pub(crate) mod list;
pub(crate) mod moment;
pub(crate) mod pair;
pub(crate) mod policy;
pub(crate) mod scheme;
pub(crate) mod text;
pub(crate) mod word;
