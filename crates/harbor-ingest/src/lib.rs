//! Publish: validation, idempotency, fan-out, and one transaction.
//!
//! Start with [`publish::Publisher`]. What a request must be is in [`request`], how
//! much of it a tenant may send in [`quota`]. What providers send comes in by [`receive`], and what is refused of
//! it is kept by [`rejections`]. What we publish ourselves is in [`announce`].
//! This crate knows no database and nothing of delivering; it meets both at the ports of `harbor-model`.

pub mod request;

pub mod publish;

pub mod quota;

pub mod receive;

pub mod rejections;

pub mod announce;

#[cfg(test)]
mod kit;
