//! The receiver that tests deliver to: it keeps what it gets, checks the signatures and answers as it is told.
//!
//! Tests start a [`Receiver`] with [`Settings`] and give it a [`Script`] of [`Answer`]s, the hostile
//! [`Manner`]s among them; what came is a list of [`Request`]s.
//! `harborhook receiver` is the same thing behind [`ReceiverArgs`] and [`run`].
//!
//! It shares no code with the side that sends, except `harbor-signature`.

mod answer;
mod body;
mod clock;
mod command;
mod connection;
mod journal;
mod json;
mod print;
mod receiver;
mod request;
mod respond;
mod script;
mod verdict;

pub use answer::{Answer, Manner};
pub use command::{ReceiverArgs, RunError, Secret, run};
pub use journal::TimedOut;
pub use receiver::{Clock, Observer, Receiver, Settings};
pub use request::Request;
pub use script::Script;
pub use verdict::{Verdict, Verdicts};
