//! Changes of tenants, endpoints and subscriptions, whatever store makes them.

use harbor_model::id::TenantId;
use harbor_model::port::registry::Change;

use crate::directory::DirectoryCache;

/// A change with the version of the directory that it made; none where it changed nothing.
pub(crate) struct Changed<T> {
    pub(crate) change: Change<T>,
    pub(crate) directory_version: Option<u64>,
}

impl<T> Changed<T> {
    /// Nothing was changed.
    pub(crate) fn not(change: Change<T>) -> Self {
        Self { change, directory_version: None }
    }

    /// It is done, and the directory is at this version now.
    pub(crate) fn done(value: T, directory_version: u64) -> Self {
        Self { change: Change::Done(value), directory_version: Some(directory_version) }
    }

    /// Makes every later publish and delivery obey the change.
    pub(crate) fn tell(&self, directory: &DirectoryCache, id: &TenantId) {
        if let Some(version) = self.directory_version {
            directory.observe(id, version);
        }
    }
}

/// How a row stands to a change that expects a version of it.
pub(crate) enum Guard {
    Fits,
    Missing,
    Conflict,
}

impl Guard {
    /// Holds the version that is stored, if any, against the one that is expected, if any.
    pub(crate) fn check(stored: Option<u64>, expected: Option<u64>) -> Self {
        match (stored, expected) {
            (None, _) => Self::Missing,
            (Some(stored), Some(expected)) if stored != expected => Self::Conflict,
            (Some(_), _) => Self::Fits,
        }
    }
}
