//! Notices that wait to be published as operational events.

use async_trait::async_trait;

use crate::id::NoticeId;
use crate::notice::Notice;
use crate::port::Fault;

/// Keeps notices until they are published.
#[async_trait]
pub trait Notices: Send + Sync {
    /// The oldest notices of all tenants, at most `limit`.
    async fn notices(&self, limit: usize) -> Result<Vec<Notice>, Fault>;

    /// Forgets notices that were published, or that nobody wants any more.
    async fn forget_notices(&self, ids: Vec<NoticeId>) -> Result<(), Fault>;
}

/// Publishes notices.
#[async_trait]
pub trait Announcer: Send + Sync {
    /// Publishes a notice to those who subscribe to it by name, once however often it is called.
    ///
    /// # Errors
    /// The store failed. What cannot be published for another reason is dropped.
    async fn announce(&self, notice: &Notice) -> Result<(), Fault>;
}
