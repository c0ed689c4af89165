//! Why a command did not do what it was asked to, and the exit code that says so.

use std::io;
use std::process::ExitCode;

use harbor_wire::client::ClientError;

use crate::settings::SettingsError;

/// Says why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// What was typed or given cannot be used.
    #[error("{0}")]
    Usage(String),
    /// The configuration cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The server refused, or could not be asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Everything was done, and the result is not what it should be.
    #[error("{0}")]
    Unfulfilled(String),
    /// The result could not be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

/// Whether the server may answer the same request later: it is away, starts anew or has too much to do.
pub(crate) fn is_passing(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { .. } => true,
        ClientError::Problem(problem) => [429, 502, 503, 504].contains(&problem.status),
        ClientError::Unexpected { status, .. } => [429, 502, 503, 504].contains(status),
        ClientError::Settings(_) => false,
    }
}

impl Failure {
    /// The exit code: 1 where the server refused or the operation failed, 2 for what the caller did wrong.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) | Self::Settings(_) | Self::Client(ClientError::Settings(_)) => ExitCode::from(2),
            Self::Client(
                ClientError::Problem(_) | ClientError::Unreachable { .. } | ClientError::Unexpected { .. },
            )
            | Self::Unfulfilled(_)
            | Self::Output(_) => ExitCode::from(1),
        }
    }

    /// Whether the reader of the output has gone, like `head` after its lines.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
