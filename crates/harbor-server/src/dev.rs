//! What `--dev` opens: a tenant, keys in a file, and commands to try.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use harbor_model::api_key::Role;
use harbor_model::id::TenantId;
use harbor_model::port::Fault;
use harbor_model::port::registry::{Change, Tenants};
use harbor_model::secret::Secret;
use harbor_model::tenant::{Tenant, TenantPolicy};
use harbor_model::time::Clock;
use serde::{Deserialize, Serialize};

use crate::environment;
use crate::first_key::KeyMaker;
use crate::keys::{sync_parent, write_private};

/// The tenant of development.
const TENANT: &str = "tn_demo";

/// The name of the credentials in the data directory.
const CREDENTIALS_FILE: &str = "dev-credentials.json";

/// Says why `--dev` does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DevError {
    /// Others could reach it.
    #[error(
        "--dev listens on the loopback address only, because it opens more than others should reach: \
         --{flag} {address} is not allowed"
    )]
    Exposed { flag: &'static str, address: SocketAddr },
    /// The credentials cannot be kept.
    #[error("cannot write {}: {source}", path.display())]
    Credentials { path: PathBuf, source: io::Error },
    /// The store failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Refuses addresses that others could reach.
pub(crate) fn check_addresses(addresses: [(&'static str, SocketAddr); 2]) -> Result<(), DevError> {
    match addresses.into_iter().find(|(_, address)| !address.ip().is_loopback()) {
        Some((flag, address)) => Err(DevError::Exposed { flag, address }),
        None => Ok(()),
    }
}

/// What `harborctl` finds in the data directory when nothing else is configured.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Credentials {
    pub(crate) base_url: String,
    pub(crate) tenant_id: String,
    pub(crate) api_key: String,
    pub(crate) operator_key: String,
}

/// Makes sure that the tenant is there, and that there are keys that work; keeps those of the last start.
pub(crate) async fn prepare(
    tenants: &dyn Tenants,
    keys: &KeyMaker<'_>,
    operator_key: Option<&Secret>,
    data_dir: &Path,
    base_url: String,
) -> Result<Credentials, DevError> {
    let tenant = demo_tenant(tenants, keys.clock).await?;
    let path = data_dir.join(CREDENTIALS_FILE);
    // A file that is missing or spoilt is written anew.
    let last: Option<Credentials> = fs::read(&path).ok().and_then(|json| serde_json::from_slice(&json).ok());
    let (last_api, last_operator) = last.map(|last| (last.api_key, last.operator_key)).unzip();

    let api_key = kept_or_made(keys, last_api, Some(&tenant), Role::Admin).await?;
    let operator_key = match operator_key {
        Some(given) => given.clone(),
        None => kept_or_made(keys, last_operator, None, Role::Operator).await?,
    };
    let credentials = Credentials {
        base_url,
        tenant_id: tenant.to_string(),
        api_key: api_key.expose().to_owned(),
        operator_key: operator_key.expose().to_owned(),
    };
    write(&path, &credentials).map_err(|source| DevError::Credentials { path, source })?;
    Ok(credentials)
}

async fn demo_tenant(tenants: &dyn Tenants, clock: &dyn Clock) -> Result<TenantId, Fault> {
    let id: TenantId = TENANT.parse().expect("the name is a tenant id");
    if tenants.find_tenant(&id).await?.is_none() {
        let now = clock.now();
        let tenant = Tenant {
            id: id.clone(),
            name: "Demo".to_owned(),
            policy: TenantPolicy::default(),
            version: 1,
            created_at: now,
            updated_at: now,
        };
        match tenants.create_tenant(tenant).await? {
            Change::Done(_) | Change::Exists => {}
            Change::Missing | Change::Conflict | Change::TooMany => {
                return Err(Fault::bare("the store did not take the tenant of --dev"));
            }
        }
    }
    Ok(id)
}

/// The key of the last start if it still works, else a new one.
async fn kept_or_made(
    keys: &KeyMaker<'_>,
    last: Option<String>,
    tenant: Option<&TenantId>,
    role: Role,
) -> Result<Secret, Fault> {
    if let Some(last) = last.map(Secret::new)
        && let Some(caller) = keys.caller(&last).await
        && (caller.tenant.as_ref(), caller.role) == (tenant, role)
    {
        return Ok(last);
    }
    keys.make(tenant.cloned(), role, "serve --dev").await
}

/// Writes the file in one step: whoever reads it meanwhile reads the old one or the new one.
fn write(path: &Path, credentials: &Credentials) -> io::Result<()> {
    let draft = path.with_extension(format!("json.{}", std::process::id()));
    let mut json = serde_json::to_vec_pretty(credentials)?;
    json.push(b'\n');
    write_private(&draft, &json)?;
    fs::rename(&draft, path)?;
    sync_parent(path)
}

/// What a newcomer sees.
pub(crate) fn welcome(credentials: &Credentials, ops: SocketAddr, data_dir: &Path) -> String {
    let Credentials { base_url, tenant_id, api_key, .. } = credentials;
    let program = environment::program();
    let file = data_dir.join(CREDENTIALS_FILE);
    let file = file.display();
    format!(
        r#"
Harborhook {version} is ready, for development only.

  API       {base_url}/v1, described at {base_url}/docs
  metrics   http://{ops}/metrics
  tenant    {tenant_id}
  API key   {api_key} (admin; also in {file})

Start a receiver in a second terminal:

  {program} receiver

Then create an endpoint, publish an event and look at its delivery in a third:

  KEY={api_key}
  curl -s {base_url}/v1/endpoints -H "Authorization: Bearer $KEY" --json '{{"url": "http://127.0.0.1:8081/", "event_types": ["*"]}}'
  curl -s {base_url}/v1/events:publish -H "Authorization: Bearer $KEY" --json '{{"event_type": "demo.greeted", "payload": {{"hello": "world"}}}}'
  curl -s {base_url}/v1/deliveries -H "Authorization: Bearer $KEY"

The first command answers with the endpoint's secret; a receiver that is given it (--secret) checks every signature.

"#,
        version = env!("CARGO_PKG_VERSION"),
    )
}
