//! Trace context: the W3C `traceparent` that ties a publish to its requests.

use std::fmt;

use crate::chance::Rng;

/// The most bytes of a `tracestate` that are kept.
pub const TRACE_STATE_BYTES_MAX: usize = 512;

/// A trace and the span within it that what follows belongs to (W3C Trace Context, level 1).
///
/// Prints as a `traceparent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// Names the trace; never zero.
    pub trace_id: u128,
    /// Names the span; never zero.
    pub span_id: u64,
    /// Whether the trace is recorded by its beginner.
    pub sampled: bool,
    /// The vendors' own state, passed on as it came.
    pub state: Option<String>,
}

impl TraceContext {
    /// Begins a trace.
    pub fn begin(rng: &dyn Rng) -> Self {
        let trace_id = (u128::from(rng.next_u64()) << 64) | u128::from(rng.next_u64());
        Self { trace_id: trace_id.max(1), span_id: rng.next_u64().max(1), sampled: true, state: None }
    }

    /// Takes up the trace of a caller's `traceparent` and `tracestate`; none where they are malformed.
    ///
    /// A later version than 00 is read as far as 00 goes, as the recommendation asks.
    pub fn parse(parent: &str, state: Option<&str>) -> Option<Self> {
        let mut parts = parent.trim().splitn(5, '-');
        let version = hex(parts.next()?, 2)?;
        let trace_id = hex(parts.next()?, 32)?;
        let span_id = u64::try_from(hex(parts.next()?, 16)?).ok()?;
        let flags = hex(parts.next()?, 2)?;
        let has_more = parts.next().is_some();
        if version == 0xff || (version == 0 && has_more) || trace_id == 0 || span_id == 0 {
            return None;
        }
        let is_visible = |b: u8| (b' '..=b'~').contains(&b);
        let state = state
            .filter(|text| {
                !text.is_empty() && text.len() <= TRACE_STATE_BYTES_MAX && text.bytes().all(is_visible)
            })
            .map(str::to_owned);
        Some(Self { trace_id, span_id, sampled: flags & 1 == 1, state })
    }

    /// The same trace, with a new span.
    #[must_use]
    pub fn child(&self, rng: &dyn Rng) -> Self {
        Self { span_id: rng.next_u64().max(1), ..self.clone() }
    }

    /// The trace's id as 32 hexadecimal digits.
    pub fn trace_id_text(&self) -> String {
        format!("{:032x}", self.trace_id)
    }
}

/// Reads exactly `digits` lower-case hexadecimal digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let fits = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if text.len() != digits || !text.bytes().all(fits) {
        return None;
    }
    u128::from_str_radix(text, 16).ok()
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::SeededRng;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_survives_and_a_child_keeps_its_trace() {
        let trace = TraceContext::parse(PARENT, Some("a=1")).unwrap();
        assert_eq!(trace.to_string(), PARENT);
        assert_eq!(trace.state.as_deref(), Some("a=1"));
        let child = trace.child(&SeededRng::new(1));
        assert_eq!(child.trace_id, trace.trace_id);
        assert_ne!(child.span_id, trace.span_id);
    }

    #[test]
    fn malformed_parents_begin_no_trace() {
        for text in [
            "",
            "00",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        ] {
            assert_eq!(TraceContext::parse(text, None), None, "{text}");
        }
        assert!(
            TraceContext::parse("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", None)
                .is_some()
        );
    }
}
