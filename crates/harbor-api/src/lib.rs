//! The REST API: routes, answers, problems and the OpenAPI document.
//!
//! Start with [`router`], the list of routes, then read one file of `rest`: each resource has its own,
//! and every handler says who may, reads the request, does one thing and answers.
//! `convert` turns what came over the network into what it means, and back; `problem` holds every
//! error that a caller can see.
//!
//! This crate decides nothing about events. It knows no database and reads no environment.

pub mod deps;
pub mod openapi;
pub mod peer;
pub mod router;
pub mod settings;

mod call;
mod rest;

mod answer;
mod budget;
mod convert;
mod cursor;
mod docs;
mod envelope;
mod etag;
mod json;
mod list;
mod merge;
mod problem;
mod query;
mod quota;
