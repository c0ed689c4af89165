//! What goes wrong with the database, before it becomes a [`Fault`].

use harbor_model::port::Fault;
use tokio_postgres::error::SqlState;

use crate::damaged::Damaged;

/// Why something that was asked of the database failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// PostgreSQL said no, or the connection broke.
    #[error("{}", told(.0))]
    Sql(#[from] tokio_postgres::Error),
    /// A stored value is not one that we write.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// The database did not answer in time; whether it did what was asked is not known.
    #[error("the database did not answer in time")]
    TooLate,
    /// All connections were busy for too long.
    #[error("no connection to the database came free in time")]
    Busy,
    /// There is no connection to be had. It was tried a moment ago.
    #[error("the database is away: {0}")]
    Away(String),
    /// Each time it was tried, others were in the way.
    #[error("others were in the way each time")]
    Contended,
    /// The store no longer takes work.
    #[error("the store is closed")]
    Closed,
}

/// The error as PostgreSQL tells it, with its code; never the place where it was asked.
fn told(error: &tokio_postgres::Error) -> String {
    use std::error::Error;

    match error.as_db_error() {
        Some(told) => format!("{} ({})", told.message(), told.code().code()),
        None => match error.source() {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    }
}

impl Trouble {
    /// A stored value that cannot be read.
    pub(crate) fn damaged(what: &'static str, detail: impl ToString) -> Self {
        Self::Damaged(Damaged::new(what, detail))
    }

    /// What the caller gets to see of it.
    pub(crate) fn into_fault(self, doing: &'static str) -> Fault {
        Fault::new(doing, self)
    }

    fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Sql(error) => error.code(),
            _ => None,
        }
    }

    /// Whether another transaction was in the way, so that nothing was done and it may be tried again.
    pub(crate) fn is_conflict(&self) -> bool {
        self.code().is_some_and(|code| {
            [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED].contains(code)
        })
    }

    /// Whether it was given up since others were in the way for too long, or it took too long itself.
    pub(crate) fn is_given_up(&self) -> bool {
        self.is_conflict()
            || self
                .code()
                .is_some_and(|code| [SqlState::LOCK_NOT_AVAILABLE, SqlState::QUERY_CANCELED].contains(code))
    }

    /// Whether a partition for the week of some row is missing.
    pub(crate) fn is_missing_partition(&self) -> bool {
        match self {
            // A table that has a check constraint answers with its name; a missing partition has none.
            Self::Sql(error) => error
                .as_db_error()
                .is_some_and(|told| *told.code() == SqlState::CHECK_VIOLATION && told.constraint().is_none()),
            _ => false,
        }
    }

    /// Whether the statement was refused for what it holds, and another one would not be.
    pub(crate) fn is_of_the_data(&self) -> bool {
        // Data exceptions, integrity constraints, program limits, and what a row alone can cause.
        let of_data = ["22", "23", "54"];
        match self {
            Self::Sql(error) => match error.code() {
                Some(code) => of_data.contains(&&code.code()[..2]),
                // The parameters could not be written: the client's side of the same.
                None => !error.is_closed() && is_of_parameters(error),
            },
            Self::Damaged(_) => true,
            _ => false,
        }
    }

    /// Whether the connection is still good after it.
    pub(crate) fn leaves_the_connection(&self) -> bool {
        match self {
            Self::Sql(error) => match error.code() {
                // Shut down, read-only after a switch-over, statements that the server has forgotten.
                Some(code) => {
                    !["08", "57P", "25", "26", "0A"].iter().any(|class| code.code().starts_with(class))
                }
                None => !error.is_closed() && is_of_parameters(error),
            },
            Self::Damaged(_) => true,
            Self::TooLate | Self::Busy | Self::Away(_) | Self::Contended | Self::Closed => false,
        }
    }
}

/// Whether the client refused a value before anything was sent, or could not read one that came.
fn is_of_parameters(error: &tokio_postgres::Error) -> bool {
    let text = error.to_string();
    text.starts_with("error serializing parameter") || text.starts_with("error deserializing column")
}
