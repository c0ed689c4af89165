//! A whole instance in a test.
//!
//! Start with [`world::World`]: the real store, publisher and worker, with a manual clock and scripted
//! receivers, so that a test says when time moves and what endpoints answer.
//! [`program`] runs the real programs, for the few journeys that need processes and sockets.

pub mod api;
pub mod clock;
pub mod program;
pub mod receivers;
pub mod world;
