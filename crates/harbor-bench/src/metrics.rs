//! The server's own counters, read as a Prometheus server would.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;

use crate::control;

/// How often a careful user's Prometheus scrapes.
pub(crate) const SCRAPE_INTERVAL: Duration = Duration::from_secs(5);

/// Returns how many deliveries the server has recorded as delivered.
pub(crate) async fn delivered(ops: SocketAddr) -> Result<u64> {
    let text = control::get(ops, "/metrics").await?;
    Ok(sum(&text, "harborhook_deliveries_total", r#"status="delivered""#))
}

/// Adds up the samples of a counter that bear a label; none is zero, as it is before the first count.
fn sum(text: &str, name: &str, label: &str) -> u64 {
    let values = text.lines().filter_map(|line| {
        let (labels, value) = line.strip_prefix(name)?.strip_prefix('{')?.split_once('}')?;
        if !labels.split(',').any(|pair| pair == label) {
            return None;
        }
        value.split_ascii_whitespace().next()?.parse::<f64>().ok()
    });
    values.sum::<f64>() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_up_the_samples_with_the_label() {
        let text = "# TYPE harborhook_deliveries counter\n\
            harborhook_deliveries_total{status=\"delivered\",tenant_id=\"bench\"} 40\n\
            harborhook_deliveries_total{tenant_id=\"other\",status=\"delivered\"} 2 # {trace_id=\"ab\"} 1\n\
            harborhook_deliveries_total{status=\"dead\",tenant_id=\"bench\"} 7\n\
            harborhook_deliveries_total_seconds{status=\"delivered\"} 9\n";
        let label = r#"status="delivered""#;
        assert_eq!(sum(text, "harborhook_deliveries_total", label), 42);
        assert_eq!(sum("", "harborhook_deliveries_total", label), 0);
    }
}
