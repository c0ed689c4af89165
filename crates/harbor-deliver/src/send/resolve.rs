//! Turns host names into addresses.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Semaphore;

/// Turns host names into addresses. Its answers are not trusted: each address is checked before it is used.
#[async_trait]
pub trait Resolve: Send + Sync {
    /// The addresses of `host`, best first.
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// Asks the operating system, so that `/etc/hosts` and `nsswitch.conf` are obeyed.
#[derive(Debug)]
pub struct SystemResolver {
    lookups: Arc<Semaphore>,
}

/// How many lookups run at once by default.
const LOOKUPS_MAX: usize = 64;

impl SystemResolver {
    /// A resolver that runs at most `lookups_max` lookups at once.
    ///
    /// A lookup cannot be broken off: it holds a thread until the operating system gives up.
    /// Slow name servers must not take all threads on which blocking work is done.
    pub fn new(lookups_max: usize) -> Self {
        Self { lookups: Arc::new(Semaphore::new(lookups_max.max(1))) }
    }
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self::new(LOOKUPS_MAX)
    }
}

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let permit = self.lookups.clone().acquire_owned().await.map_err(io::Error::other)?;
        let host = host.to_owned();
        let lookup = tokio::task::spawn_blocking(move || {
            // Held until the lookup ends, whether or not someone still waits for it.
            let _permit = permit;
            (host.as_str(), 0).to_socket_addrs().map(|found| found.map(|address| address.ip()).collect())
        });
        lookup.await.map_err(io::Error::other)?
    }
}
