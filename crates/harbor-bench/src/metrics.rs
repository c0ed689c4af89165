//! The server's own counters, read as a Prometheus server would.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;

use crate::control;

/// How often a careful user's Prometheus scrapes.
pub(crate) const SCRAPE_INTERVAL: Duration = Duration::from_secs(5);

/// The deliveries that a server has recorded as final since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Finals {
    pub(crate) delivered: u64,
    pub(crate) dead: u64,
}

/// Adds up what the processes of a server show; of one tenant, if it is named.
pub(crate) async fn finals(ops: &[SocketAddr], tenant_id: Option<&str>) -> Result<Finals> {
    let mut finals = Finals::default();
    for address in ops {
        let text = control::get(*address, "/metrics").await?;
        let sum = |status: &str| {
            let mut labels = vec![format!(r#"status="{status}""#)];
            labels.extend(tenant_id.map(|id| format!(r#"tenant_id="{id}""#)));
            sum(&text, "harborhook_deliveries_total", &labels) as u64
        };
        finals.delivered += sum("delivered");
        finals.dead += sum("dead");
    }
    Ok(finals)
}

/// Returns the mean time of the commits of a server's store, in milliseconds; `None` before the first.
pub(crate) async fn find_commit_mean_ms(ops: &[SocketAddr]) -> Result<Option<f64>> {
    let (mut seconds, mut commits) = (0.0, 0.0);
    for address in ops {
        let text = control::get(*address, "/metrics").await?;
        seconds += sum(&text, "harborhook_store_commit_duration_seconds_sum", &[]);
        commits += sum(&text, "harborhook_store_commit_duration_seconds_count", &[]);
    }
    Ok((commits > 0.0).then(|| seconds * 1e3 / commits))
}

/// Adds up the samples of a metric that bear all these labels; none is zero, as it is before the first count.
fn sum(text: &str, name: &str, wanted: &[String]) -> f64 {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => rest.split_once('}')?,
            None => ("", rest.strip_prefix(' ')?),
        };
        if !wanted.iter().all(|wanted| labels.split(',').any(|pair| pair == wanted)) {
            return None;
        }
        value.split_ascii_whitespace().next()?.parse::<f64>().ok()
    });
    values.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_up_the_samples_with_the_labels() {
        let text = "# TYPE harborhook_deliveries counter\n\
            harborhook_deliveries_total{status=\"delivered\",tenant_id=\"bench\"} 40\n\
            harborhook_deliveries_total{tenant_id=\"other\",status=\"delivered\"} 2 # {trace_id=\"ab\"} 1\n\
            harborhook_deliveries_total{status=\"dead\",tenant_id=\"bench\"} 7\n\
            harborhook_deliveries_total_seconds{status=\"delivered\"} 9\n\
            harborhook_store_commit_duration_seconds_sum 1.5\n";
        let check = |name: &str, labels: &[&str], expected: f64| {
            let labels: Vec<_> = labels.iter().map(|label| (*label).to_owned()).collect();
            assert_eq!(sum(text, name, &labels), expected, "{name} {labels:?}");
        };
        let name = "harborhook_deliveries_total";
        check(name, &[r#"status="delivered""#], 42.0);
        check(name, &[r#"status="delivered""#, r#"tenant_id="bench""#], 40.0);
        check(name, &[r#"status="cancelled""#], 0.0);
        check("harborhook_store_commit_duration_seconds_sum", &[], 1.5);
    }
}
