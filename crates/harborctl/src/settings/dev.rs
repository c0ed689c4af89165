//! What `harborhook serve --dev` leaves in its data directory.

use serde::Deserialize;

use crate::settings::secret::Secret;

/// The file's name in the data directory.
pub(crate) const FILE_NAME: &str = "dev-credentials.json";
/// The data directory where none is named.
pub(crate) const DATA_DIR_DEFAULT: &str = "harborhook-data";

/// What `harborhook serve --dev` leaves in its data directory. Fields that are not known are for others.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct DevCredentials {
    /// The server.
    pub(crate) base_url: String,
    /// Its tenant.
    pub(crate) tenant_id: String,
    /// An admin of the tenant.
    pub(crate) api_key: Secret,
    /// An operator of the instance.
    pub(crate) operator_key: Secret,
}
