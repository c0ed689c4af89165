//! What goes wrong inside a transaction, before it becomes a [`Fault`].

use harbor_model::port::Fault;

use crate::damaged::Damaged;

/// Why a transaction, or one item of it, failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// SQLite said no.
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
    /// A stored value is not one that we write.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// The file system said no.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A bug: part of the transaction panicked.
    #[error("a step of the transaction panicked")]
    Panicked,
    /// The read was cut, so that it does not hold back the checkpoints.
    #[error("the read took too long")]
    ReadTooLong,
    /// Somebody reads what stands in the log alone.
    #[error("the log is in use")]
    LogInUse,
    /// The store no longer takes work.
    #[error("the store is closed")]
    Closed,
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
}
