//! What came of a change, as it is answered.

use harbor_model::port::registry::Change;
use http::HeaderMap;

use crate::etag;
use crate::problem::{Kind, Refusal, Result};

/// How often a change is made anew because somebody else was faster.
pub(crate) const ROUNDS_MAX: usize = 5;

/// What the refusals of a change are called for one kind of thing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kinds {
    pub(crate) missing: Kind,
    pub(crate) exists: Kind,
}

/// What was made, or why it was not.
pub(crate) fn settle<T>(change: Change<T>, kinds: Kinds) -> Result<T> {
    match change {
        Change::Done(made) => Ok(made),
        Change::Missing => Err(Refusal::bare(kinds.missing)),
        Change::Conflict => Err(Refusal::bare(Kind::ChangedMeanwhile)),
        Change::Exists => Err(Refusal::bare(kinds.exists)),
        Change::TooMany => Err(Refusal::bare(Kind::LimitReached)),
    }
}

/// What was changed, or why it was not; none where it is to be changed anew, since the caller did not say
/// which version it meant.
pub(crate) fn settle_update<T>(change: Change<T>, headers: &HeaderMap, kinds: Kinds) -> Result<Option<T>> {
    match change {
        Change::Conflict if etag::is_guarded(headers) => Err(Refusal::bare(Kind::PreconditionFailed)),
        Change::Conflict => Ok(None),
        change => settle(change, kinds).map(Some),
    }
}
