//! The typed client: one method for each operation of the API.
//!
//! [`Client`] holds what belongs to the instance; [`TenantClient`], from [`Client::tenant`] or
//! [`Client::own`], what belongs to one tenant. Lists are walked page by page with [`Pages`].

mod connection;
mod error;
mod pages;
mod tenant;

use std::sync::Arc;
use std::time::Duration;

use http::Method;

use crate::client::connection::{Connection, Request};
use crate::health::{Health, Ping};
use crate::job::Job;
use crate::list::ListPage;
use crate::tenant::{CreateTenant, Tenant, UpdateTenant};

pub use crate::client::error::ClientError;
pub use crate::client::pages::Pages;
pub use crate::client::tenant::TenantClient;

/// The time for one request where none is set.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// Speaks to one server with one credential. Cheap to clone; connections are kept and shared.
#[derive(Clone, Debug)]
pub struct Client {
    connection: Arc<Connection>,
}

impl Client {
    /// A client of the server at `base_url`, like `http://127.0.0.1:8080`.
    ///
    /// # Errors
    /// The URL is none, or has a scheme that this client does not speak; the credential cannot stand
    /// in a header; the system's certificates cannot be read.
    pub fn new(base_url: &str, bearer: Option<&str>) -> Result<Self, ClientError> {
        Self::with_timeout(base_url, bearer, TIMEOUT_DEFAULT)
    }

    /// As [`Client::new`], with another time for each request.
    ///
    /// # Errors
    /// See [`Client::new`].
    pub fn with_timeout(
        base_url: &str,
        bearer: Option<&str>,
        timeout: Duration,
    ) -> Result<Self, ClientError> {
        let connection = Connection::new(base_url, bearer, timeout)?;
        Ok(Self { connection: Arc::new(connection) })
    }

    /// What belongs to the tenant with this id.
    pub fn tenant(&self, id: &str) -> TenantClient {
        TenantClient::new(Arc::clone(&self.connection), Some(id))
    }

    /// What belongs to the tenant of the credential. For a credential of the instance, only its API keys,
    /// and the jobs that remove tenants.
    pub fn own(&self) -> TenantClient {
        TenantClient::new(Arc::clone(&self.connection), None)
    }

    /// Asks whether the server is there and whom it takes the credential for.
    pub async fn ping(&self) -> Result<Ping, ClientError> {
        self.connection.ask(Request::new(Method::GET, &["v1", "ping"])).await
    }

    /// Asks whether the process is alive.
    pub async fn health(&self) -> Result<Health, ClientError> {
        self.connection.ask(Request::new(Method::GET, &["healthz"])).await
    }

    /// Asks whether what the server needs is reachable.
    pub async fn ready(&self) -> Result<Health, ClientError> {
        self.connection.ask(Request::new(Method::GET, &["readyz"])).await
    }

    /// Makes a tenant.
    pub async fn create_tenant(&self, tenant: &CreateTenant) -> Result<Tenant, ClientError> {
        self.connection.ask(Request::new(Method::POST, &["v1", "tenants"]).json(tenant)).await
    }

    /// Reads a tenant.
    pub async fn find_tenant(&self, id: &str) -> Result<Tenant, ClientError> {
        self.connection.ask(Request::new(Method::GET, &["v1", "tenants", id])).await
    }

    /// Lists tenants.
    pub fn tenants(&self, query: &ListPage) -> Pages<Tenant> {
        Pages::new(Arc::clone(&self.connection), &["v1", "tenants"], query)
    }

    /// Changes a tenant.
    pub async fn update_tenant(&self, id: &str, change: &UpdateTenant) -> Result<Tenant, ClientError> {
        self.connection.ask(Request::new(Method::PATCH, &["v1", "tenants", id]).json(change)).await
    }

    /// Ends all access of a tenant at once. The job removes all that belongs to it.
    pub async fn delete_tenant(&self, id: &str) -> Result<Job, ClientError> {
        self.connection.ask(Request::new(Method::DELETE, &["v1", "tenants", id])).await
    }
}
