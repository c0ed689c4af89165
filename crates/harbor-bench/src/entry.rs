//! How the events of a load come in: published through the API, or sent to sources as their provider does.

use serde::{Deserialize, Serialize};

use crate::provider::Signing;

/// How events come in. Each tenant has a way of its own, and they take turns.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// Through the API.
    Api {
        /// The API key of each tenant.
        keys: Vec<String>,
    },
    /// Through sources, one event with each request.
    Sources {
        /// How all requests are signed.
        signing: Signing,
        /// The path of each tenant's source.
        paths: Vec<String>,
    },
}

impl Entry {
    /// Returns how many tenants there are.
    pub(crate) fn tenants(&self) -> usize {
        match self {
            Self::Api { keys } => keys.len(),
            Self::Sources { paths, .. } => paths.len(),
        }
    }
}
