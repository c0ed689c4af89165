//! What every command has at hand: the settings, a client for the right key, the output.

use harbor_wire::client::{Client, TenantClient};

use crate::failure::Failure;
use crate::output::Output;
use crate::settings::{Secret, Settings};

/// What every command has at hand.
pub(crate) struct Context {
    /// What to go by.
    pub(crate) settings: Settings,
    /// Where results go.
    pub(crate) output: Output,
}

impl Context {
    /// Asks as whoever we are, or as nobody.
    pub(crate) fn anybody(&self) -> Result<Client, Failure> {
        self.client(self.settings.find_key())
    }

    /// Asks for what belongs to the instance.
    pub(crate) fn operator(&self) -> Result<Client, Failure> {
        self.client(Some(self.settings.operator_key()?))
    }

    /// Asks for what belongs to the tenant.
    pub(crate) fn tenant(&self) -> Result<TenantClient, Failure> {
        let client = self.client(Some(self.settings.tenant_key()?))?;
        Ok(self.tenant_of(&client))
    }

    /// What belongs to the tenant, asked by this client.
    pub(crate) fn tenant_of(&self, client: &Client) -> TenantClient {
        match &self.settings.tenant {
            Some(tenant) => client.tenant(&tenant.value),
            None => client.own(),
        }
    }

    /// Asks with this key.
    pub(crate) fn client(&self, key: Option<&Secret>) -> Result<Client, Failure> {
        let (base_url, timeout) = (&self.settings.base_url.value, self.settings.timeout.value);
        Ok(Client::with_timeout(base_url, key.map(Secret::reveal), timeout)?)
    }
}
