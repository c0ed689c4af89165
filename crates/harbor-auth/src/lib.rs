//! Who is calling, and what they may do.
//!
//! Start with [`authenticator::Authenticator`], which turns an `Authorization` header into a
//! [`caller::Caller`]; then [`permit`], pure decisions of what a caller may do where.
//! [`key`] is what an API key looks like and how it is hashed.
//!
//! This crate knows nothing of HTTP but the text of one header, and nothing of databases.

pub mod authenticator;

pub mod caller;
pub mod key;
pub mod permit;

mod cache;
