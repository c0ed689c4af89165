//! `harborctl health`

use harbor_wire::client::ClientError;
use harbor_wire::health::Health;
use serde::Serialize;

use crate::context::Context;
use crate::failure::Failure;
use crate::output::table::{Cell, Tone};

/// How the server is.
#[derive(Serialize)]
struct Report {
    /// The process answers.
    alive: bool,
    /// What it needs is reachable.
    ready: bool,
    /// Why it is not ready.
    detail: Option<String>,
}

/// Asks whether the server has everything it needs.
pub(crate) async fn run(cx: &Context) -> Result<(), Failure> {
    let client = cx.client(None)?;
    let alive = verdict(client.health().await)?;
    let ready = verdict(client.ready().await)?;
    let detail = alive.clone().or(ready.clone());
    let report = Report { alive: alive.is_none(), ready: ready.is_none(), detail };
    cx.output.show(&report, |view| {
        let cell = |well| if well { Cell::toned("yes", Tone::Good) } else { Cell::toned("no", Tone::Bad) };
        let mut rows = vec![("alive", cell(report.alive)), ("ready", cell(report.ready))];
        rows.extend(report.detail.as_ref().map(|detail| ("why not", Cell::new(detail))));
        view.details(rows)
    })?;
    if report.alive && report.ready {
        return Ok(());
    }
    Err(Failure::Unfulfilled("the server is not ready".to_owned()))
}

/// What is wrong, if something is. A server that cannot be asked is a failure.
fn verdict(answer: Result<Health, ClientError>) -> Result<Option<String>, ClientError> {
    match answer {
        Ok(_) => Ok(None),
        Err(ClientError::Problem(problem)) => Ok(Some(problem.detail)),
        Err(error) => Err(error),
    }
}
