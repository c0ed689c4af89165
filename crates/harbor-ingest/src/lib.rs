//! Publish: validation, idempotency, fan-out, and one transaction.
//!
//! Start with [`publish::Publisher`]. What a request must be is in [`request`].
//! This crate knows no database and nothing of delivering; it meets both at the ports of `harbor-model`.

pub mod request;

pub mod publish;
