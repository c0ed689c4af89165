//! The two text formats that Prometheus reads.

use std::fmt::Write;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::registry::Registry;

/// A text format for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0, for those who ask for it.
    OpenMetrics,
    /// Prometheus text 0.0.4, for everybody else.
    Prometheus,
}

impl Format {
    /// The format for an `Accept` header. Prometheus itself asks for OpenMetrics.
    pub fn accepted(accept: Option<&str>) -> Self {
        match accept {
            Some(accept) if accept.contains("application/openmetrics-text") => Self::OpenMetrics,
            Some(_) | None => Self::Prometheus,
        }
    }

    /// What the answer's `Content-Type` says.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Writes all families of the registries, which must not share one.
pub(crate) fn write(registries: &[&Registry], format: Format) -> String {
    let mut text = String::new();
    for registry in registries {
        encode_registry(&mut text, registry).expect("writing to a String does not fail");
    }
    match format {
        Format::OpenMetrics => {
            encode_eof(&mut text).expect("writing to a String does not fail");
            text
        }
        Format::Prometheus => as_prometheus(&text),
    }
}

/// Turns OpenMetrics into the older format, where a family of counters is named like its samples.
fn as_prometheus(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len() + 256);
    let mut lines = open_metrics.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(help) = line.strip_prefix("# HELP ") else {
            text.push_str(line);
            text.push('\n');
            continue;
        };
        // The type follows the help and says whether this is a counter.
        let (name, help) = help.split_once(' ').expect("each family has a help text");
        let kind = lines.next().and_then(|line| line.rsplit_once(' ')).map_or("untyped", |(_, kind)| kind);
        let suffix = if kind == "counter" { "_total" } else { "" };
        writeln!(text, "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}")
            .expect("writing to a String does not fail");
    }
    text
}
