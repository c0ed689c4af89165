//! A whole instance in a test.
//!
//! Start with [`world::World`]: the real store, publisher and worker, with a manual clock and scripted
//! receivers, so that a test says when time moves and what endpoints answer.
//! [`sim`] plays random steps on the same parts, many times, and holds them against what was promised.
//! [`program`] runs the real programs, for the few journeys that need processes and sockets;
//! [`services`] has the databases for both, and [`fault_proxy`] breaks what lies between.

pub mod api;
pub mod clock;
pub mod fault_proxy;
pub mod program;
pub mod receivers;
pub mod services;
pub mod sim;
pub mod stores;
pub mod world;
