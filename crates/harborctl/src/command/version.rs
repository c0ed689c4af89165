//! `harborctl version`

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::context::Context;
use crate::failure::Failure;
use crate::output::table::Cell;

/// A version is not worth a longer wait.
const PATIENCE: Duration = Duration::from_secs(2);

/// Arguments of `harborctl version`.
#[derive(Args)]
pub(crate) struct VersionArgs {
    /// Do not ask the server
    #[arg(long)]
    client: bool,
}

/// The versions at both ends.
#[derive(Serialize)]
struct Versions {
    harborctl: &'static str,
    /// Null if it does not answer.
    server: Option<String>,
}

impl VersionArgs {
    /// Shows the versions. A server that does not answer is no failure.
    pub(crate) async fn run(self, cx: &Context) -> Result<(), Failure> {
        let server = if self.client { None } else { server_version(cx).await };
        let versions = Versions { harborctl: env!("CARGO_PKG_VERSION"), server };
        cx.output.show(&versions, |view| {
            view.details(vec![
                ("harborctl", Cell::new(versions.harborctl)),
                ("server", Cell::maybe(versions.server.as_ref())),
            ])
        })
    }
}

async fn server_version(cx: &Context) -> Option<String> {
    let client = cx.client(None).ok()?;
    let ping = tokio::time::timeout(PATIENCE, client.ping()).await;
    Some(ping.ok()?.ok()?.version)
}
