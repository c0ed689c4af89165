//! `harborctl ping`

use tokio::time::Instant;

use crate::args::word;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::table::Cell;

/// Asks whether the server is there and whom it takes us for.
pub(crate) async fn run(cx: &Context) -> Result<(), Failure> {
    let began = Instant::now();
    let ping = cx.anybody()?.ping().await?;
    let took = began.elapsed();
    cx.output.show(&ping, |view| {
        view.details(vec![
            ("server", Cell::new(&cx.settings.base_url.value)),
            ("version", Cell::new(&ping.version)),
            ("tenant", Cell::maybe(ping.tenant_id.as_ref())),
            ("role", Cell::maybe(ping.role.as_ref().map(word::print))),
            ("round trip", Cell::new(format_args!("{:.1} ms", took.as_secs_f64() * 1e3))),
        ])
    })
}
