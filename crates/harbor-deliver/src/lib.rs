//! Lanes, sending, judging, recording: the worker that takes a leased delivery to its end.
//!
//! Start with [`worker`], then [`lanes`] (who may send next) and [`send`] (the guarded HTTP client).
//! This crate knows no database and nothing of publishing; it meets both at the ports of `harbor-model`.

pub mod worker;

pub mod lanes;

pub mod send;
