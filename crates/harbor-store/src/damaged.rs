//! Stored values that are not such as we write.

/// Says that a stored value cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the stored {what} cannot be read: {detail}")]
pub(crate) struct Damaged {
    what: &'static str,
    detail: String,
}

impl Damaged {
    /// Names the value, and what is wrong with it.
    pub(crate) fn new(what: &'static str, detail: impl ToString) -> Self {
        Self { what, detail: detail.to_string() }
    }
}
