//! Signs what we send and verifies what is received.
//!
//! Start with [`SigningKey`], which a secret becomes once, then read [`standard`] (Standard Webhooks) and
//! [`harborhook`] (our own scheme): each has a `sign` and a `verify` that mirror each other.
//! During the rotation of a secret every function takes several keys, the newest first.
//! What providers send to us is verified by [`source`], one preset for each scheme.
//!
//! This crate does no I/O and reads no clock: the time is an argument, in unix seconds.

pub mod harborhook;
pub mod source;
pub mod standard;

mod key;
mod secret;
mod text;
mod verify;

pub use key::SigningKey;
pub use secret::{SECRET_CHARS_MAX, SECRET_CHARS_MIN, SecretError, generate_secret, validate_secret};
pub use verify::{TOLERANCE_SECS, VerifyError};
