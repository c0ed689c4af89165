//! Why a request came to nothing.

use std::error::Error;

use crate::problem::Problem;

/// Says why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The client cannot be made so.
    #[error("{0}")]
    Settings(String),
    /// The server refused, or failed, and says why.
    #[error("{}: {}", .0.code, describe(.0))]
    Problem(Box<Problem>),
    /// The server did not answer.
    #[error("no answer from {base_url}: {reason}")]
    Unreachable {
        /// The server.
        base_url: String,
        /// What went wrong, down to its cause.
        reason: String,
    },
    /// What answered is not Harborhook's API.
    #[error("unexpected answer with status {status} from {base_url}: {reason}")]
    Unexpected {
        /// The server.
        base_url: String,
        /// Its status.
        status: u16,
        /// What is wrong with the answer.
        reason: String,
    },
}

impl ClientError {
    /// What the server said, if it was a problem.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            Self::Settings(_) | Self::Unreachable { .. } | Self::Unexpected { .. } => None,
        }
    }
}

/// The detail of a problem, with each wrong field on a line of its own.
fn describe(problem: &Problem) -> String {
    let mut text = problem.detail.clone();
    for error in &problem.errors {
        text.push_str(&format!("\n  {}: {}", error.field, error.message));
    }
    text
}

/// An error with all its causes in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Many errors print their cause themselves.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
